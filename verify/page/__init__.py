"""The page: one file for people that verifies itself in the reader's browser."""
