"""Checkpoints: what a log says of itself at one size.

Source: https://c2sp.org/tlog-checkpoint (version 1).
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Final

from safety_receipts.receipts.errors import MalformedError
from safety_receipts.receipts.log.formats.note import File, SignedNote
from safety_receipts.receipts.merkle import EMPTY_ROOT

_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,18}")
_MOST: Final = 2**63 - 1
ROOT_BYTES: Final = 32
"""Length of a root."""


@dataclass(frozen=True)
class LogCheckpoint:
    """Size and root of a log's tree."""

    origin: str
    """Which log it is of."""
    size: int
    """Number of entries."""
    root: bytes
    """Root of the RFC 6962 tree over them, 32 bytes."""
    extensions: tuple[str, ...] = ()
    """Further lines, of which nothing is known here."""

    @property
    def is_possible(self) -> bool:
        """Whether a tree of this size can have this root: no entries have one root alone."""
        return self.size > 0 or self.root == EMPTY_ROOT

    def text(self) -> str:
        """Return the text that is signed."""
        root = base64.b64encode(self.root).decode("ascii")
        lines = (self.origin, str(self.size), root, *self.extensions)
        return "".join(f"{line}\n" for line in lines)

    @classmethod
    def parse(cls, text: str, *, file: File = None) -> LogCheckpoint:
        """Read the text of a checkpoint.

        Raises:
            MalformedError: It is none.
        """

        def refuse(why: str) -> MalformedError:
            return MalformedError(f"not a checkpoint: {why}", file=file)

        lines = text.split("\n")
        if len(lines) < 4 or lines[-1] or not all(lines[:-1]):
            raise refuse("expected origin, size and root, a line each")
        origin, size, root, *extensions = lines[:-1]
        number = parse_size(size)
        if number is None:
            raise refuse("its size is no number")
        digest = parse_hash(root)
        if digest is None:
            raise refuse("its root is not a hash in base64")
        return cls(origin, number, digest, tuple(extensions))


@dataclass(frozen=True)
class SignedCheckpoint:
    """A checkpoint as it was signed; no signature is verified by reading it."""

    note: SignedNote
    """As it was signed."""
    checkpoint: LogCheckpoint
    """What it says."""

    @classmethod
    def parse(cls, data: bytes, *, file: File = None) -> SignedCheckpoint:
        """Read a signed checkpoint.

        Raises:
            MalformedError: It is none.
        """
        note = SignedNote.parse(data, file=file)
        return cls(note, LogCheckpoint.parse(note.text, file=file))


def parse_size(text: str) -> int | None:
    """Return a size or an index in decimal, without leading zeros; None: it is none."""
    if _SIZE.fullmatch(text) is None or int(text) > _MOST:
        return None
    return int(text)


def parse_hash(text: str) -> bytes | None:
    """Return a SHA-256 hash in base64; None: it is none."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    exact = len(data) == ROOT_BYTES and base64.b64encode(data).decode("ascii") == text
    return data if exact else None
