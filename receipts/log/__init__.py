"""Transparency logs: signed notes, checkpoints, tiles, proofs, cosignatures (C2SP)."""
