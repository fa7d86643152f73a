"""Engines that stand behind a server: exact token ids in, exact token ids out."""
