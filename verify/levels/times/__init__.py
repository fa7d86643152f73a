"""When signatures were made, as far as others than their makers show it."""
