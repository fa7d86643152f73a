"""Operators of a model that are computed in another way than by its own code."""
