"""Evaluations side by side: may they be compared, and what differs."""
