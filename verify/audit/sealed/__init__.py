"""Audits that hang on a receipt, checked without a model."""
