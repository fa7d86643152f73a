"""The model card: a section about a receipt, and its entries in the front matter."""
