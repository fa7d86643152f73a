"""The JSON documents that commands print, as models: each has a published schema."""
