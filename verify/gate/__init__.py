"""The gate: are verified receipts what a release policy asks for?"""
