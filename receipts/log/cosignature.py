"""Cosignatures: a witness says when it saw a checkpoint, consistent with all it saw before.

Source: https://c2sp.org/tlog-cosignature (July 2026).  Two kinds: Ed25519, whose message is the
checkpoint's text with a time before it, and ML-DSA-44, whose message names cosigner and log.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from cryptography.exceptions import InvalidSignature

from safety_receipts.receipts.errors import IncompleteError, IntegrityError
from safety_receipts.receipts.log.checkpoint import Checkpoint, SignedCheckpoint
from safety_receipts.receipts.log.note import (
    NoteKey,
    NoteSignature,
    SignatureKind,
    ed25519_verifies,
)

_TIME_BYTES: Final = 8
_LATEST: Final = 2**63 - 1
_LABEL: Final = b"subtree/v1\n\0"
COSIGNING: Final = (SignatureKind.ED25519_COSIGNATURE, SignatureKind.MLDSA44_COSIGNATURE)
"""Kinds of signatures that are cosignatures."""


@dataclass(frozen=True)
class SeenBy:
    """A cosignature that holds."""

    key: NoteKey
    """The witness's key."""
    time: int
    """When the witness saw the checkpoint, in seconds since 1970 (UTC); 0: it does not say."""


def cosigned_message(key: NoteKey, checkpoint: Checkpoint, time: int) -> bytes:
    """Return what a witness signs.

    Args:
        key: The witness's key.
        checkpoint: The checkpoint.
        time: Seconds since 1970 (UTC).

    Raises:
        ValueError: The key is no witness's, or a name is longer than 255 bytes.
    """
    if key.kind is SignatureKind.ED25519_COSIGNATURE:
        return f"cosignature/v1\ntime {time}\n{checkpoint.text()}".encode()
    if key.kind is SignatureKind.MLDSA44_COSIGNATURE:
        return b"".join(
            (
                _LABEL,
                _vector(key.name),
                time.to_bytes(8, "big"),
                _vector(checkpoint.origin),
                (0).to_bytes(8, "big"),
                checkpoint.size.to_bytes(8, "big"),
                checkpoint.root,
            )
        )
    raise ValueError("this kind of key makes no cosignatures")


def _vector(text: str) -> bytes:
    """Return a text as ``opaque<1..2^8-1>`` of RFC 8446, section 3."""
    data = text.encode("utf-8")
    if not 1 <= len(data) <= 255:
        raise ValueError("a name has 1 to 255 bytes")
    return bytes([len(data)]) + data


def cosignature_line(key: NoteKey, time: int, signature: bytes) -> NoteSignature:
    """Return a cosignature as a line of its checkpoint."""
    return NoteSignature(key.name, key.id, time.to_bytes(_TIME_BYTES, "big") + signature)


def cosignatures(signed: SignedCheckpoint, keys: Iterable[NoteKey]) -> tuple[SeenBy, ...]:
    """Return the cosignatures of known witnesses, one a key: of several the earliest.

    Args:
        signed: The checkpoint.
        keys: Keys of known witnesses.

    Raises:
        IntegrityError: A line is said to be a known witness's, and is not.
        IncompleteError: One is of a kind that the installed ``cryptography`` cannot verify.
    """
    found = []
    for key in keys:
        times = [_time_of(line, key, signed.checkpoint) for line in signed.note.said_by(key)]
        if times:
            found.append(SeenBy(key, min(times)))
    return tuple(found)


def _time_of(line: NoteSignature, key: NoteKey, checkpoint: Checkpoint) -> int:
    time = int.from_bytes(line.signature[:_TIME_BYTES], "big")
    signature = line.signature[_TIME_BYTES:]
    if time > _LATEST or not _verifies(key, signature, cosigned_message(key, checkpoint, time)):
        raise IntegrityError(f"a cosignature of {key.name} does not verify")
    return time


def _verifies(key: NoteKey, signature: bytes, message: bytes) -> bool:
    if key.kind is SignatureKind.ED25519_COSIGNATURE:
        return ed25519_verifies(key.material, signature, message)
    public = mldsa().MLDSA44PublicKey.from_public_bytes(key.material)
    try:
        public.verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def mldsa() -> Any:
    """Return cryptography's module of ML-DSA (FIPS 204), which earlier releases have not.

    Raises:
        IncompleteError: The installed release has none.
    """
    try:
        from cryptography.hazmat.primitives.asymmetric import mldsa as module  # noqa: PLC0415
    except ImportError:
        raise IncompleteError(
            "ML-DSA needs cryptography 48 or later", hint="pip install 'cryptography>=48'"
        ) from None
    return module
