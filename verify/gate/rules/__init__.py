"""The rules of a gate, one a file: what a policy writes of it, and how it is decided."""
