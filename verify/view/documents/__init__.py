"""The JSON documents that the verifier's commands print, as models."""
