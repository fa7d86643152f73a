"""Figures of the findings, drawn with matplotlib."""
