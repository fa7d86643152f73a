"""Audits: drawn points are replayed, and what that says of the recorded rates."""
