"""A witness: keeps the newest consistent view of each log that it knows, and cosigns it.

Source: https://c2sp.org/tlog-witness.  What it decides is here, without a server around it.  Its
state is one SQLite file.  Comparing with the newest size and storing the new one is one
transaction, which is on the disk before anything is answered.
"""

from __future__ import annotations

import sqlite3
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from safety_receipts.receipts.errors import (
    FileAccessError,
    IntegrityError,
    KeyFileError,
    MalformedError,
    UsageError,
)
from safety_receipts.receipts.log.checkpoint import SignedCheckpoint, parse_hash, parse_size
from safety_receipts.receipts.log.cosignature import cosignature_line, cosigned_message
from safety_receipts.receipts.log.note import (
    MAX_NOTE_BYTES,
    NoteKey,
    NoteSignature,
    SignatureKind,
    SignedNote,
    is_key_name,
)
from safety_receipts.receipts.merkle import EMPTY_ROOT, verify_consistency

MAX_REQUEST_BYTES: Final = MAX_NOTE_BYTES + 64 * 1024
"""Longest request that is read."""
_MOST_HASHES: Final = 63
_WAIT_SECONDS: Final = 30.0
_VERSION: Final = 1
_SCHEMA: Final = """\
CREATE TABLE log (
    origin TEXT PRIMARY KEY, size INTEGER NOT NULL, root BLOB NOT NULL, note BLOB NOT NULL
) STRICT;
"""


class CanSign(Protocol):
    """A private key that signs bytes."""

    def sign(self, data: bytes, /) -> bytes:
        """Return the signature."""


@dataclass(frozen=True)
class WitnessSigner:
    """What cosigns for a witness."""

    public: NoteKey
    """The public key, of a kind that makes cosignatures."""
    key: CanSign
    """The private key."""

    @classmethod
    def ed25519(cls, name: str, key: Any, file: Path) -> WitnessSigner:
        """Return an Ed25519 key as that of a witness.

        It has to be for this witness alone: the message that it signs does not name the witness.

        Args:
            name: The witness's name: a URL without its scheme.
            key: The private key.
            file: Its file, for errors.

        Raises:
            UsageError: The name can be no key's.
            KeyFileError: The key is of another kind.
        """
        if not is_key_name(name):
            raise UsageError("the name of a witness is not empty, and holds no blank and no plus")
        if not isinstance(key, Ed25519PrivateKey):
            raise KeyFileError("a witness cosigns with an Ed25519 key", file=file)
        material = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return cls(NoteKey(name, SignatureKind.ED25519_COSIGNATURE, material), key)

    def cosign(self, signed: SignedCheckpoint, time: int) -> NoteSignature:
        """Return the cosignature of a checkpoint."""
        message = cosigned_message(self.public, signed.checkpoint, time)
        return cosignature_line(self.public, time, self.key.sign(message))


class WitnessStatus(IntEnum):
    """How a request ends, as HTTP says it."""

    OK = 200
    """It is cosigned."""
    BAD_REQUEST = 400
    """It is no such request, or the old size is above the new one."""
    FORBIDDEN = 403
    """No known key of the log signed it, or one's signature does not verify."""
    NOT_FOUND = 404
    """The log is not known."""
    CONFLICT = 409
    """The old size is not the newest one."""
    UNPROCESSABLE = 422
    """The new tree is not shown to hold the old one."""


@dataclass(frozen=True)
class WitnessReply:
    """What a witness answers."""

    status: WitnessStatus
    """How it ended."""
    body: bytes = b""
    """Signature lines, the newest size, or a sentence."""


@dataclass(frozen=True)
class AddCheckpoint:
    """A request to cosign a checkpoint."""

    old: int
    """Size that the witness is thought to know."""
    proof: tuple[bytes, ...]
    """Consistency proof from there."""
    signed: SignedCheckpoint
    """The checkpoint."""

    def to_bytes(self) -> bytes:
        """Return the body of the request."""
        lines = [f"old {self.old}", *(b64encode(one).decode("ascii") for one in self.proof), ""]
        return "".join(f"{line}\n" for line in lines).encode() + self.signed.note.to_bytes()

    @classmethod
    def parse(cls, body: bytes) -> AddCheckpoint:
        """Read the body of a request.

        Raises:
            MalformedError: It is none.
        """
        head, blank, note = body.partition(b"\n\n")
        lines = head.decode("ascii", "replace").split("\n")
        old = parse_size(lines[0].removeprefix("old ")) if lines[0].startswith("old ") else None
        proof = [parse_hash(line) for line in lines[1:]]
        known = tuple(one for one in proof if one is not None)
        if not blank or old is None or len(known) != len(proof) or len(proof) > _MOST_HASHES:
            raise MalformedError("expected an old size, hashes, a blank line and a checkpoint")
        return cls(old, known, SignedCheckpoint.parse(note))


class Witness:
    """A witness with its state.

    Args:
        state: Its SQLite file, which :func:`init_witness` makes.
        signers: What cosigns; each makes one line.
        logs: Keys of the logs that it knows, by their origins.
        clock: Returns the time in seconds since 1970.
    """

    def __init__(
        self,
        state: Path,
        signers: tuple[WitnessSigner, ...],
        logs: Mapping[str, tuple[NoteKey, ...]],
        clock: Callable[[], int],
    ) -> None:
        self._state, self._signers, self._logs, self._clock = state, signers, logs, clock
        with self._connected() as database:
            if database.execute("PRAGMA user_version").fetchone() != (_VERSION,):
                raise MalformedError("is no state of a witness of this version", file=state)

    def add_checkpoint(self, body: bytes) -> WitnessReply:
        """Answer ``add-checkpoint``.

        Raises:
            FileAccessError: The state cannot be read or written: nothing is cosigned.
        """
        try:
            asked = AddCheckpoint.parse(body)
        except MalformedError as error:
            return _refused(WitnessStatus.BAD_REQUEST, error.message)
        checkpoint = asked.signed.checkpoint
        keys = self._logs.get(checkpoint.origin)
        if keys is None:
            return _refused(WitnessStatus.NOT_FOUND, "this log is not known here")
        try:
            signed = asked.signed.note.signed_by(keys)
        except IntegrityError as error:
            return _refused(WitnessStatus.FORBIDDEN, error.message)
        if not signed:
            return _refused(WitnessStatus.FORBIDDEN, "no known key of the log signed it")
        if asked.old > checkpoint.size:
            return _refused(WitnessStatus.BAD_REQUEST, "the old size is above the new one")
        return self._advance(asked, _kept_lines(asked.signed, keys))

    def _advance(self, asked: AddCheckpoint, kept: tuple[NoteSignature, ...]) -> WitnessReply:
        """Compare with the newest view, and store the new one, in one transaction."""
        checkpoint = asked.signed.checkpoint
        with self._connected() as database:
            database.execute("BEGIN IMMEDIATE")
            row = database.execute(
                "SELECT size, root FROM log WHERE origin = ?", (checkpoint.origin,)
            ).fetchone()
            size, root = row or (0, EMPTY_ROOT)
            if asked.old != size:
                database.rollback()
                return WitnessReply(WitnessStatus.CONFLICT, f"{size}\n".encode())
            if (problem := _inconsistency(asked, root)) is not None:
                database.rollback()
                return _refused(WitnessStatus.UNPROCESSABLE, problem)
            time = self._clock()
            lines = tuple(signer.cosign(asked.signed, time) for signer in self._signers)
            note = SignedNote(asked.signed.note.text, (*kept, *lines)).to_bytes()
            database.execute(
                "INSERT INTO log VALUES (?, ?, ?, ?) ON CONFLICT (origin) DO UPDATE SET "
                "size = excluded.size, root = excluded.root, note = excluded.note",
                (checkpoint.origin, checkpoint.size, checkpoint.root, note),
            )
            database.commit()  # on the disk before it is answered
        body = "".join(line.line() for line in lines).encode("utf-8")
        return WitnessReply(WitnessStatus.OK, body)

    def newest(self, origin_hash: str) -> bytes | None:
        """Return the newest cosigned checkpoint of a log; None: there is none.

        Args:
            origin_hash: SHA-256 of the log's origin, 64 lower-case hex digits.

        Raises:
            FileAccessError: The state cannot be read.
        """
        for origin in self._logs:
            if sha256(origin.encode("utf-8")).hexdigest() == origin_hash:
                with self._connected() as database:
                    row = database.execute(
                        "SELECT note FROM log WHERE origin = ?", (origin,)
                    ).fetchone()
                return None if row is None else bytes(row[0])
        return None

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        """Open the state for a block; several threads and processes may."""
        try:
            database = sqlite3.connect(
                f"{self._state.absolute().as_uri()}?mode=rw",
                uri=True,
                isolation_level=None,
                timeout=_WAIT_SECONDS,
            )
        except sqlite3.Error as error:
            raise FileAccessError(f"cannot be opened: {error}", file=self._state) from None
        try:
            database.execute("PRAGMA synchronous = FULL")
            yield database
        except sqlite3.Error as error:
            raise FileAccessError(f"cannot be used: {error}", file=self._state) from None
        finally:
            database.close()


def init_witness(state: Path) -> None:
    """Make the state of a witness that has seen nothing.

    Raises:
        FileAccessError: There is something of its name, or it cannot be made.
    """
    if state.exists() or state.is_symlink():
        raise FileAccessError("already exists", file=state, hint="name a new file")
    try:
        database = sqlite3.connect(state, isolation_level=None)
        try:
            database.execute("PRAGMA synchronous = FULL")
            database.execute("BEGIN")
            database.execute(_SCHEMA)
            database.execute(f"PRAGMA user_version = {_VERSION}")
            database.execute("COMMIT")
        finally:
            database.close()
    except sqlite3.Error as error:
        raise FileAccessError(f"cannot be made: {error}", file=state) from None


def _kept_lines(signed: SignedCheckpoint, keys: tuple[NoteKey, ...]) -> tuple[NoteSignature, ...]:
    """Return the log's own lines: others nobody here has verified."""
    return tuple(line for line in signed.note.signatures if any(line.is_of(key) for key in keys))


def _inconsistency(asked: AddCheckpoint, root: bytes) -> str | None:
    """Return why the new tree is not shown to hold the old one, or None."""
    checkpoint = asked.signed.checkpoint
    if not checkpoint.is_possible:
        return "a log without entries has the root of the empty tree"
    if asked.old == 0:
        return "from no entries there is nothing to prove" if asked.proof else None
    if asked.old == checkpoint.size:
        same = checkpoint.root == root and not asked.proof
        return None if same else "this size is known here with another root"
    holds = verify_consistency(asked.old, checkpoint.size, root, checkpoint.root, asked.proof)
    return None if holds else "the consistency proof does not hold"


def _refused(status: WitnessStatus, why: str) -> WitnessReply:
    return WitnessReply(status, f"{why}\n".encode())
