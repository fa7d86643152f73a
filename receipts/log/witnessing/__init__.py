"""Witnesses of logs: what one decides, its service, and asking some."""
