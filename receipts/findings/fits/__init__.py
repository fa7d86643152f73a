"""Fits and their tests: floats, which are sealed rounded."""
