"""Signed notes: a text, and lines of signatures over it.

Source: https://c2sp.org/signed-note (version 1).  A key is known by its name and a 32-bit id, which
binds name, kind and key material; what unknown keys signed is ignored, and what a known key is said
to have signed, and did not, makes the whole note false.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from os import PathLike
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from safety_receipts.receipts.algorithms.ed25519 import is_weak_ed25519
from safety_receipts.receipts.errors import IntegrityError, MalformedError

MAX_NOTE_BYTES: Final = 1_000_000
"""Longest note that is read."""
MAX_SIGNATURE_LINES: Final = 100
"""Most signature lines; the specification wants at least 16, and these can be long."""
_ID_BYTES: Final = 4
_BEGIN: Final = "— "
_NOT_IN_NAMES: Final = ("Cc", "Cs", "Zs", "Zl", "Zp")

File = str | PathLike[str] | None


class SignatureKind(IntEnum):
    """Kinds of signatures, by the byte that the specification assigns."""

    ED25519 = 0x01
    """Ed25519 over the note's text."""
    ED25519_COSIGNATURE = 0x04
    """Ed25519 over a header, a time and the note's text."""
    MLDSA44_COSIGNATURE = 0x06
    """ML-DSA-44 over a structure that names cosigner, time, log and tree."""


KEY_BYTES: Final = {
    SignatureKind.ED25519: 32,
    SignatureKind.ED25519_COSIGNATURE: 32,
    SignatureKind.MLDSA44_COSIGNATURE: 1312,
}
"""Length of the key material of each kind."""
_OF_ED25519: Final = (SignatureKind.ED25519, SignatureKind.ED25519_COSIGNATURE)


@dataclass(frozen=True)
class NoteKey:
    """A public key of signed notes."""

    name: str
    """Who it is of: for a log its origin."""
    kind: SignatureKind
    """What its signatures are."""
    material: bytes
    """The key: 32 bytes of Ed25519, 1,312 of ML-DSA-44."""

    @property
    def id(self) -> bytes:
        """The first four bytes of the hash of name, kind and key."""
        return key_id(self.name, bytes([self.kind]) + self.material)

    @property
    def vkey(self) -> str:
        """The key as text: ``name+hex id+base64(kind ‖ key)``."""
        encoded = base64.b64encode(bytes([self.kind]) + self.material).decode("ascii")
        return f"{self.name}+{self.id.hex()}+{encoded}"

    @classmethod
    def parse(cls, vkey: str, *, file: File = None, place: str | None = None) -> NoteKey:
        """Read a key that is written as text.

        Raises:
            MalformedError: It is none, of an unknown kind, or its id is another key's.
        """

        def refuse(why: str) -> MalformedError:
            return MalformedError(f"not a vkey of a signed note: {why}", file=file, place=place)

        parts = vkey.split("+", 2)  # base64 may hold a plus
        if len(parts) != 3:
            raise refuse("expected NAME+ID+KEY")
        name, claimed, encoded = parts
        if not is_key_name(name):
            raise refuse("its name is empty, or holds a blank")
        data = _decoded(encoded)
        if data is None or not data:
            raise refuse("its key is not base64 in canonical form")
        try:
            kind = SignatureKind(data[0])
        except ValueError:
            raise refuse(f"signatures of kind 0x{data[0]:02x} are not known here") from None
        key = cls(name, kind, data[1:])
        if len(key.material) != KEY_BYTES[kind]:
            raise refuse(f"its key has {len(key.material):,} bytes, and not {KEY_BYTES[kind]:,}")
        if key.id.hex() != claimed:
            raise refuse("its id does not follow from name and key")
        if kind in _OF_ED25519 and is_weak_ed25519(key.material):
            raise refuse("its key is a weak one: under it false signatures hold")
        return key


def key_id(name: str, typed_key: bytes) -> bytes:
    """Return the id of a key: SHA-256(name ‖ LF ‖ kind ‖ key), the first four bytes."""
    return hashlib.sha256(name.encode("utf-8") + b"\n" + typed_key).digest()[:_ID_BYTES]


def is_key_name(name: str) -> bool:
    """Say whether a text can be a key's name: not empty, without blanks, controls and plus.

    Nor may it hold what UTF-8 has no bytes for, as a command line's words can.
    """
    return bool(name) and not any(
        char == "+" or char.isspace() or unicodedata.category(char) in _NOT_IN_NAMES
        for char in name
    )


@dataclass(frozen=True)
class NoteSignature:
    """One line of signature."""

    name: str
    """Name of the key."""
    id: bytes
    """Id of the key, four bytes."""
    signature: bytes
    """What the key made; its form is that of the key's kind."""

    def line(self) -> str:
        """Return the line, with its line feed."""
        encoded = base64.b64encode(self.id + self.signature).decode("ascii")
        return f"{_BEGIN}{self.name} {encoded}\n"

    def is_of(self, key: NoteKey) -> bool:
        """Say whether it is said to be a key's."""
        return (self.name, self.id) == (key.name, key.id)


@dataclass(frozen=True)
class SignedNote:
    """A text with its signatures; none of them is verified by being read."""

    text: str
    """The text, which ends with a line feed."""
    signatures: tuple[NoteSignature, ...]
    """Its signatures, in order."""

    @classmethod
    def parse(cls, data: bytes, *, file: File = None) -> SignedNote:
        """Read a note.

        Raises:
            MalformedError: It is none, too long, or has too many signatures.
        """

        def refuse(why: str) -> MalformedError:
            return MalformedError(f"not a signed note: {why}", file=file)

        if len(data) > MAX_NOTE_BYTES:
            raise refuse(f"longer than {MAX_NOTE_BYTES:,} bytes")
        try:
            whole = data.decode("utf-8")
        except UnicodeDecodeError:
            raise refuse("not UTF-8") from None
        if any(char < " " and char != "\n" for char in whole):
            raise refuse("it holds a control character")
        text, blank, rest = whole.rpartition("\n\n")
        if not blank or not rest.endswith("\n"):
            raise refuse("no blank line, or no signature after it")
        lines = rest[:-1].split("\n")
        if len(lines) > MAX_SIGNATURE_LINES:
            raise refuse(f"more than {MAX_SIGNATURE_LINES} signatures")
        return cls(text + "\n", tuple(parse_signature(line, file=file) for line in lines))

    def to_bytes(self) -> bytes:
        """Return the note as it is stored and sent."""
        return (self.text + "\n" + "".join(one.line() for one in self.signatures)).encode("utf-8")

    def with_lines(self, lines: Iterable[NoteSignature]) -> SignedNote:
        """Return the note with further lines of signatures, one a key: the first stays.

        With a line more each time that a witness is asked, a note would grow longer than anybody
        reads; and some verifiers refuse two lines of one key.
        """
        first: dict[tuple[str, bytes], NoteSignature] = {}
        for line in (*self.signatures, *lines):
            first.setdefault((line.name, line.id), line)
        return SignedNote(self.text, tuple(first.values()))

    def said_by(self, key: NoteKey) -> tuple[NoteSignature, ...]:
        """Return the signatures that are said to be a key's."""
        return tuple(one for one in self.signatures if one.is_of(key))

    def signed_by(self, keys: Iterable[NoteKey]) -> tuple[NoteKey, ...]:
        """Return the keys of kind Ed25519 that signed the text.

        Raises:
            IntegrityError: A line is said to be one of the keys', and is not.
        """
        found = []
        for key in keys:
            lines = self.said_by(key) if key.kind is SignatureKind.ED25519 else ()
            for line in lines:
                if not ed25519_verifies(key.material, line.signature, self.text.encode("utf-8")):
                    raise IntegrityError(f"a signature of {key.name} does not verify")
            if lines:
                found.append(key)
        return tuple(found)


def parse_signature(line: str, *, file: File = None) -> NoteSignature:
    """Read one line of signature, without its line feed.

    Raises:
        MalformedError: It is none.
    """
    parts = line.removeprefix(_BEGIN).split(" ")
    data = _decoded(parts[1]) if len(parts) == 2 else None
    if not line.startswith(_BEGIN) or data is None or not is_key_name(parts[0]):
        raise MalformedError("not a signature line of a signed note", file=file)
    if len(data) <= _ID_BYTES:
        raise MalformedError("a signature line without a signature", file=file)
    return NoteSignature(parts[0], data[:_ID_BYTES], data[_ID_BYTES:])


def ed25519_verifies(public: bytes, signature: bytes, message: bytes) -> bool:
    """Say whether an Ed25519 signature is a key's (RFC 8032).

    Args:
        public: The key, 32 bytes.
        signature: 64 bytes, or it is not.
        message: What was signed.
    """
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def _decoded(text: str) -> bytes | None:
    """Return what base64 stands for, in its one form; None: it is none."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if base64.b64encode(data) == text.encode("utf-8") else None
