"""Policies of a log in memory and of its witnesses, and checkpoints that these have seen."""

from __future__ import annotations

from pathlib import Path

from witnessing import MemoryLog, log_signer, witness_signer

from safety_receipts.receipts.log.formats.checkpoint import SignedCheckpoint
from safety_receipts.receipts.log.formats.note import NoteSignature, SignedNote
from safety_receipts.receipts.log.formats.policy import LogPolicy, load_log_policy

LOG = log_signer()
MEMORY = MemoryLog(LOG)
SIGNERS = tuple(witness_signer(name=f"example.com/w{number}") for number in range(8))
V = [signer.public.vkey for signer in SIGNERS]
VLOG = LOG.public.vkey


def load(text: str | bytes, folder: Path) -> LogPolicy:
    path = folder / "policy"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return load_log_policy(path)


def with_lines(signed: SignedCheckpoint, *lines: NoteSignature) -> SignedCheckpoint:
    note = SignedNote(signed.note.text, (*signed.note.signatures, *lines))
    return SignedCheckpoint(note, signed.checkpoint)


def seen(times: dict[int, int], size: int = 5) -> SignedCheckpoint:
    """Return a checkpoint that some of the witnesses cosigned, each at its time."""
    signed = MEMORY.signed(size)
    lines = (SIGNERS[who].cosign(signed.checkpoint, time) for who, time in times.items())
    return with_lines(signed, *lines)
