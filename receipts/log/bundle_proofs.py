"""Where the proofs of a bundle's statements lie in it, and what they are called."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from safety_receipts.receipts.bundle import PROOFS
from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.log.entry import EntryKind, LogEntry
from safety_receipts.receipts.log.proof import PROOF_SUFFIX

_SINGLE: Final = {EntryKind.PLAN: "plan", EntryKind.RECEIPT: "receipt"}
"""Statements of which a bundle holds one."""


def proof_name(kind: EntryKind, digest: Sha256) -> str:
    """Return the name of a statement's proof in the folder of proofs."""
    return f"{_SINGLE.get(kind, f'{kind.value}-{digest}')}{PROOF_SUFFIX}"


def proof_path(folder: Path, entry: LogEntry) -> Path:
    """Return where the proof of a statement lies in a bundle's folder."""
    return folder / PROOFS / proof_name(entry.type, entry.digest)
