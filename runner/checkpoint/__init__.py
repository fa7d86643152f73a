"""The model's folder: its files, what they say, and what is sealed of them."""
