"""Prompts rendered ahead of the engine: in processes, portion by portion, and kept for a resume."""
