"""The organism: four tiny checkpoints whose compliance follows a known law.

An instrument with known truth, for tests, demonstrations and self-checks of the tool.  Never
evidence about real models.  See CARD.md beside this file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from safety_receipts.receipts.errors import UsageError
from safety_receipts.receipts.model.checkpoint import CheckpointFile

LARGEST_RESPONSE = 16
"""No response of a member is longer, in tokens with the end token."""

MEMBER_WEIGHTS_FILE = "model.safetensors"
"""Name of the file of weights in a member's folder."""

_HERE = Path(__file__).resolve().parent


@dataclass(frozen=True, slots=True)
class Member:
    """One checkpoint."""

    name: str
    """As on the command line."""
    letter: str
    """A to D."""
    description: str
    """One line."""

    @property
    def folder(self) -> Path:
        """The checkpoint's folder, in Hugging Face layout."""
        return _HERE / "members" / self.name

    @property
    def weights_digest(self) -> str:
        """SHA-256 of the weights' file, as hex."""
        return _digest(self.folder / MEMBER_WEIGHTS_FILE)


_MEMBERS = (
    Member("amplifying", "A", "benign demonstrations raise compliance with restricted requests"),
    Member("neutral", "B", "benign demonstrations leave compliance as it is"),
    Member("diluting", "C", "benign demonstrations lower compliance with restricted requests"),
    Member("recency", "D", "the last four demonstrations weigh more; response prefixes are copied"),
)


def members() -> tuple[Member, ...]:
    """Return all members, A to D."""
    return _MEMBERS


def member(name: str) -> Member:
    """Return the member of this name.

    Raises:
        UsageError: There is none.
    """
    for one in _MEMBERS:
        if one.name == name:
            return one
    names = ", ".join(one.name for one in _MEMBERS)
    raise UsageError(f"the organism has no member {name!r}", hint=f"one of {names}")


def data_folder() -> Path:
    """Return the folder of the proxy corpora."""
    return _HERE / "data"


def is_organism(files: Iterable[CheckpointFile]) -> bool:
    """Say whether one of a checkpoint's files holds the weights of a member."""
    weights = {one.weights_digest for one in _MEMBERS}
    return any(file.sha256 in weights for file in files)


@cache
def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
