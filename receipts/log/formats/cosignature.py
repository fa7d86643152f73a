"""Cosignatures: a witness says when it saw a checkpoint, consistent with all it saw before.

Source: https://c2sp.org/tlog-cosignature (July 2026).  Two kinds: Ed25519, whose message is the
checkpoint's text with a time before it, and ML-DSA-44, whose message names cosigner and log.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from safety_receipts.receipts.algorithms.ml_dsa import has_ml_dsa, ml_dsa_name
from safety_receipts.receipts.errors import (
    IncompleteError,
    IntegrityError,
    KeyFileError,
    UsageError,
)
from safety_receipts.receipts.keys import Signer
from safety_receipts.receipts.log.formats.checkpoint import LogCheckpoint, SignedCheckpoint
from safety_receipts.receipts.log.formats.note import (
    NoteKey,
    NoteSignature,
    SignatureKind,
    ed25519_verifies,
    is_key_name,
)

_TIME_BYTES: Final = 8
_LATEST: Final = 2**63 - 1
_LABEL: Final = b"subtree/v1\n\0"
MAX_NAME_BYTES: Final = 255
"""Longest name of a cosigner or a log that a message of ML-DSA-44 can hold, in UTF-8."""
COSIGNING: Final = (SignatureKind.ED25519_COSIGNATURE, SignatureKind.MLDSA44_COSIGNATURE)
"""Kinds of signatures that are cosignatures."""


@dataclass(frozen=True)
class SeenBy:
    """A cosignature that holds."""

    key: NoteKey
    """The witness's key."""
    time: int
    """When the witness saw the checkpoint, in seconds since 1970 (UTC); 0: it does not say."""


def cosigned_message(key: NoteKey, checkpoint: LogCheckpoint, time: int) -> bytes:
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
    if not 1 <= len(data) <= MAX_NAME_BYTES:
        raise ValueError(f"a name has 1 to {MAX_NAME_BYTES} bytes")
    return bytes([len(data)]) + data


class CanSign(Protocol):
    """A private key that signs bytes."""

    def sign(self, data: bytes, /) -> bytes:
        """Return the signature."""


@dataclass(frozen=True, repr=False)
class WitnessSigner:
    """What cosigns for a witness.

    It has no text form, so that no log can print one.
    """

    public: NoteKey
    """The public key, of a kind that makes cosignatures."""
    key: CanSign
    """The private key."""

    @classmethod
    def of(cls, name: str, signer: Signer, file: Path) -> WitnessSigner:
        """Return a key as that of a witness.

        It has to be for this witness alone: the message that an Ed25519 key signs does not name
        the witness.

        Args:
            name: The witness's name: a URL without its scheme, as ``example.com/witness``.
            signer: The key, Ed25519 or ML-DSA-44.
            file: Its file, for errors.

        Raises:
            UsageError: The name can be no key's, or is too long.
            KeyFileError: The key is of another kind.
        """
        if not is_key_name(name) or len(name.encode("utf-8")) > MAX_NAME_BYTES:
            raise UsageError(
                f"the name of a witness has 1 to {MAX_NAME_BYTES} bytes, no blank and no plus",
                hint="--name example.com/witness",
            )
        key: Any = signer.key
        if isinstance(key, Ed25519PrivateKey):
            kind = SignatureKind.ED25519_COSIGNATURE
        elif ml_dsa_name(key) == "ml-dsa-44":
            kind = SignatureKind.MLDSA44_COSIGNATURE
        else:
            raise KeyFileError(
                "a witness cosigns with an Ed25519 or an ML-DSA-44 key",
                file=file,
                hint="receipts keygen KEY --key-type ml-dsa-44",
            )
        material = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return cls(NoteKey(name, kind, material), key)

    def cosign(self, checkpoint: LogCheckpoint, time: int) -> NoteSignature:
        """Return the cosignature of a checkpoint.

        Args:
            checkpoint: The checkpoint.
            time: Seconds since 1970 (UTC), above zero: a witness has to say when.

        Raises:
            ValueError: The origin is longer than the message can hold.
        """
        message = cosigned_message(self.public, checkpoint, time)
        return cosignature_line(self.public, time, self.key.sign(message))


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


def log_signed(signed: SignedCheckpoint, keys: Iterable[NoteKey]) -> bool:
    """Say whether one of a log's keys signed a checkpoint, of whichever kind it is.

    Args:
        signed: The checkpoint.
        keys: The log's known keys, of kind Ed25519 or of a kind that makes cosignatures.

    Raises:
        IntegrityError: A line is said to be one of the keys', and is not.
        IncompleteError: One is of a kind that the installed ``cryptography`` cannot verify.
    """
    mine = tuple(keys)
    plain = signed.note.signed_by(mine)
    return bool(cosignatures(signed, [key for key in mine if key.kind in COSIGNING]) or plain)


def _time_of(line: NoteSignature, key: NoteKey, checkpoint: LogCheckpoint) -> int:
    time = int.from_bytes(line.signature[:_TIME_BYTES], "big")
    signature = line.signature[_TIME_BYTES:]
    if time > _LATEST or not _holds(key, signature, checkpoint, time):
        raise IntegrityError(f"a cosignature of {key.name} does not verify")
    return time


def _holds(key: NoteKey, signature: bytes, checkpoint: LogCheckpoint, time: int) -> bool:
    try:
        message = cosigned_message(key, checkpoint, time)
    except ValueError:  # a name that no message can hold: nobody signed one
        return False
    return _verifies(key, signature, message)


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
        IncompleteError: The installed release has none, or cannot use it.
    """
    if not has_ml_dsa():
        raise IncompleteError(
            "ML-DSA needs cryptography 48 or later", hint="pip install 'cryptography>=48'"
        )
    from cryptography.hazmat.primitives.asymmetric import mldsa as module  # noqa: PLC0415

    return module
