"""Whose signatures count, and within which times: trust files, and what their keys are held to."""
