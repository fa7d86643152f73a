"""A log on disk with what its owner and its readers hold."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class KeptLog:
    """A log, and the files beside it."""

    folder: Path
    key: Path
    """Its private key."""
    policy: Path
    """A policy that accepts it, and asks for no witness."""
    vkey: str
