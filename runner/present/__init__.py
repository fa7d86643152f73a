"""Plans and prompts for a terminal."""
