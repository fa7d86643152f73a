"""Proofs that an entry is in a log, which need no network.

Source: https://c2sp.org/tlog-proof (version 1): an index, an audit path, and a checkpoint with its
signatures and cosignatures.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from safety_receipts.receipts.errors import MalformedError
from safety_receipts.receipts.log.formats.checkpoint import SignedCheckpoint, parse_hash, parse_size
from safety_receipts.receipts.log.formats.note import MAX_NOTE_BYTES, File
from safety_receipts.receipts.merkle import leaf_hash, verify_inclusion

PROOF_SUFFIX: Final = ".tlog-proof"
"""Ending of a proof's file."""
MAX_LOG_PROOF_BYTES: Final = MAX_NOTE_BYTES + 64 * 1024
"""Longest proof that is read."""
_FIRST: Final = "c2sp.org/tlog-proof@v1"
_MOST_HASHES: Final = 63


@dataclass(frozen=True)
class LogProof:
    """A proof as it is read; nothing of it is verified."""

    index: int
    """Place of the entry in the log, from 0."""
    path: tuple[bytes, ...]
    """Audit path, from the leaf upward."""
    signed: SignedCheckpoint
    """The checkpoint to whose root it leads."""

    def to_bytes(self) -> bytes:
        """Return the proof as it is stored."""
        lines = [_FIRST, f"index {self.index}"]
        lines += [base64.b64encode(one).decode("ascii") for one in self.path]
        return "".join(f"{line}\n" for line in [*lines, ""]).encode() + self.signed.note.to_bytes()

    def holds(self, leaf: bytes) -> bool:
        """Say whether an entry is in the tree of the checkpoint, at that place."""
        checkpoint = self.signed.checkpoint
        return verify_inclusion(
            leaf_hash(leaf), self.index, checkpoint.size, self.path, checkpoint.root
        )

    @classmethod
    def parse(cls, data: bytes, *, file: File = None) -> LogProof:
        """Read a proof.

        Raises:
            MalformedError: It is none.
        """

        def refuse(why: str) -> MalformedError:
            return MalformedError(f"not a log proof (tlog-proof@v1): {why}", file=file)

        head, blank, note = data.partition(b"\n\n")
        try:
            lines = head.decode("ascii").split("\n")
        except UnicodeDecodeError:
            raise refuse("its head is not ASCII") from None
        if lines[0] != _FIRST or not blank:
            raise refuse(f"expected {_FIRST}, an index, hashes, a blank line and a checkpoint")
        body = lines[1:]
        if body and body[0].startswith("extra "):
            body = body[1:]  # nobody authenticates it, and nothing here needs it
        if not body or not body[0].startswith("index "):
            raise refuse("no index")
        index = parse_size(body[0].removeprefix("index "))
        hashes = [parse_hash(line) for line in body[1:]]
        if index is None or len(hashes) > _MOST_HASHES:
            raise refuse("its index is no number, or there are too many hashes")
        if (path := _whole(hashes)) is None:
            raise refuse("a line is no hash in base64")
        return cls(index, path, SignedCheckpoint.parse(note, file=file))


def _whole(hashes: Sequence[bytes | None]) -> tuple[bytes, ...] | None:
    found = tuple(one for one in hashes if one is not None)
    return found if len(found) == len(hashes) else None
