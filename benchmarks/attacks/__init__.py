"""Attacks on a sealed evaluation of the embedded organism, and what becomes of each.

The tests import them too (tests/attacks).  What is attacked are harmless proxies.
"""
