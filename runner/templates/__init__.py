"""Chat templates: read, rendered within bounds, and probed for what else they do."""
