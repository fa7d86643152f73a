"""The JSON documents that the runner's commands print, as models."""
