"""What an event is before it has results: its grid, its coherence; and made-up events."""
