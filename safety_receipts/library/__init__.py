"""The public library: what ``import safety_receipts`` offers, in Python's own terms."""
