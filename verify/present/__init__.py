"""Verifications, audits and comparisons for a terminal."""
