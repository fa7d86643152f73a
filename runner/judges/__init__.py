"""Judges: what decides whether a response refuses."""
