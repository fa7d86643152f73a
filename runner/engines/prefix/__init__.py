"""Prefixes that prompts share, computed once."""
