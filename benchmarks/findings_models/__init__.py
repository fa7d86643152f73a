"""Models that generate points without a language model, for ``benchmarks/findings.py``."""
