"""From points to prompts, and from responses to the text that is judged."""
