"""The commands that verify, audit and compare receipts."""
