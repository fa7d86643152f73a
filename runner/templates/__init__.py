"""Chat templates, and the folders they come from, tried and run within bounds."""
