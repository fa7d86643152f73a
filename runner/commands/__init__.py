"""The commands that make receipts."""
