"""A witness: keeps the newest consistent view of each log that it knows, and cosigns it.

Source: https://c2sp.org/tlog-witness (July 2026).  What it decides is here, without a server around
it.  Its state is one SQLite file.  Comparing with the newest size and storing the new one is one
transaction, which is on the disk before anything is answered.
"""

from __future__ import annotations

import os
import sqlite3
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import IntEnum
from hashlib import sha256
from pathlib import Path
from tempfile import mkdtemp
from threading import Lock
from typing import Final

from safety_receipts.receipts.errors import (
    FileAccessError,
    IncompleteError,
    IntegrityError,
    MalformedError,
    UsageError,
)
from safety_receipts.receipts.io.files import sync_folder
from safety_receipts.receipts.log.formats.checkpoint import SignedCheckpoint, parse_hash, parse_size
from safety_receipts.receipts.log.formats.cosignature import (
    MAX_NAME_BYTES,
    WitnessSigner,
    log_signed,
)
from safety_receipts.receipts.log.formats.note import (
    MAX_NOTE_BYTES,
    NoteKey,
    NoteSignature,
    SignatureKind,
    SignedNote,
)
from safety_receipts.receipts.merkle import EMPTY_ROOT, verify_consistency

MAX_REQUEST_BYTES: Final = MAX_NOTE_BYTES + 64 * 1024
"""Longest request that is read."""
_MOST_HASHES: Final = 63
_WAIT_SECONDS: Final = 30.0
_CLOCK_SECONDS: Final = 60
"""How far a clock may have gone back, as clocks that are set right do."""
_VERSION: Final = 1
_TABLES: Final = (
    "CREATE TABLE key (vkey TEXT PRIMARY KEY) STRICT",
    "CREATE TABLE log (origin TEXT PRIMARY KEY, size INTEGER NOT NULL, root BLOB NOT NULL, "
    "time INTEGER NOT NULL, note BLOB NOT NULL) STRICT",
)
# FULL leaves a moment in which a power cut undoes a transaction that was answered already: the
# folder that holds the journal is not synced.  EXTRA does that, too.
_DURABLE: Final = "PRAGMA synchronous = EXTRA"


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
    UNAVAILABLE = 503
    """Nothing can be cosigned now: the clock went back, or a signature's kind is not known."""


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

    The state belongs to the keys for which it was made.  It is what keeps a key from signing two
    views of a log, so a key that signs elsewhere has no place here, nor this state under another
    name: two names would count as two witnesses, and be one view.

    Args:
        state: Its SQLite file, which :func:`init_witness` makes.
        signers: What cosigns; each makes one line.
        logs: Keys of the logs that it knows, by their origins.
        clock: Returns the time in seconds since 1970.

    Raises:
        FileAccessError: The state cannot be opened.
        MalformedError: It is none.
        UsageError: It belongs to other keys, a key is a log's too, or an origin is too long.
    """

    def __init__(
        self,
        state: Path,
        signers: tuple[WitnessSigner, ...],
        logs: Mapping[str, tuple[NoteKey, ...]],
        clock: Callable[[], int],
    ) -> None:
        self._state, self._signers, self._logs, self._clock = state, signers, logs, clock
        self._turn = Lock()
        _check_logs(signers, logs)
        with self._connected() as database:
            if database.execute("PRAGMA user_version").fetchone() != (_VERSION,):
                raise MalformedError("is no state of a witness of this version", file=state)
            known = {vkey for (vkey,) in database.execute("SELECT vkey FROM key")}
        if known != {signer.public.vkey for signer in signers}:
            names = ", ".join(sorted("+".join(vkey.split("+", 2)[:2]) for vkey in known))
            raise UsageError(
                f"belongs to other keys: {names}",
                file=state,
                hint="give the name and the keys that it was made with; "
                "another witness needs a state of its own",
            )

    def add_checkpoint(self, body: bytes) -> WitnessReply:
        """Answer ``add-checkpoint``.

        Raises:
            FileAccessError: The state cannot be read or written: nothing is cosigned.
        """
        try:
            asked = AddCheckpoint.parse(body)
        except MalformedError as error:
            return _refused(WitnessStatus.BAD_REQUEST, error.message)
        keys = self._logs.get(asked.signed.checkpoint.origin)
        if keys is None:
            return _refused(WitnessStatus.NOT_FOUND, "this log is not known here")
        if (refused := _unsigned(asked.signed, keys)) is not None:
            return refused
        if asked.old > asked.signed.checkpoint.size:
            return _refused(WitnessStatus.BAD_REQUEST, "the old size is above the new one")
        return self._advance(asked, _kept_lines(asked.signed, keys))

    def _advance(self, asked: AddCheckpoint, kept: tuple[NoteSignature, ...]) -> WitnessReply:
        """Compare with the newest view, and store the new one, in one transaction."""
        checkpoint = asked.signed.checkpoint
        with self._turn, self._connected() as database:
            database.execute("BEGIN IMMEDIATE")
            row = database.execute(
                "SELECT size, root, time FROM log WHERE origin = ?", (checkpoint.origin,)
            ).fetchone()
            size, root, last = row or (0, EMPTY_ROOT, 1)
            # Whatever is refused ends with the connection, which rolls the transaction back.
            if asked.old != size:
                return WitnessReply(WitnessStatus.CONFLICT, f"{size}\n".encode())
            if (problem := _inconsistency(asked, root)) is not None:
                return _refused(WitnessStatus.UNPROCESSABLE, problem)
            now = self._clock()
            if now < last - _CLOCK_SECONDS:
                return _refused(WitnessStatus.UNAVAILABLE, "the clock here went back")
            # At each time one tree is the largest, so a later one has no earlier time.
            time = max(now, last)
            lines = tuple(signer.cosign(checkpoint, time) for signer in self._signers)
            note = SignedNote(asked.signed.note.text, (*kept, *lines)).to_bytes()
            database.execute(
                "INSERT INTO log VALUES (?, ?, ?, ?, ?) ON CONFLICT (origin) DO UPDATE SET size = "
                "excluded.size, root = excluded.root, time = excluded.time, note = excluded.note",
                (checkpoint.origin, checkpoint.size, checkpoint.root, time, note),
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
            raise FileAccessError(
                f"cannot be opened: {error}",
                file=self._state,
                hint="receipts log witness init makes one, for keys that never cosigned",
            ) from None
        try:
            database.execute(_DURABLE)
            yield database
        except sqlite3.Error as error:
            raise FileAccessError(f"cannot be used: {error}", file=self._state) from None
        finally:
            database.close()


def init_witness(state: Path, keys: Sequence[NoteKey]) -> None:
    """Make the state of a witness that has seen nothing.

    Args:
        state: The file, which appears at once, or not at all.
        keys: Public keys of the witness, which never cosigned anything.

    Raises:
        FileAccessError: There is something of its name, or it cannot be made.
        UsageError: There are no keys, two of a kind, or keys of two names.
    """
    kinds = {key.kind for key in keys}
    if not keys or len(kinds) < len(keys) or len({key.name for key in keys}) > 1:
        raise UsageError("a witness has one name, and of each kind one key at most")
    try:
        folder = Path(mkdtemp(prefix=f".{state.name}.", dir=state.parent))
    except OSError as error:
        raise FileAccessError.from_os(error, "create", state) from None
    made = folder / "state"
    try:
        _make_state(made, keys)
        os.link(made, state)  # of a name that is taken nothing is lost
        sync_folder(state.parent)
    except FileExistsError:
        raise FileAccessError("already exists", file=state, hint="name a new file") from None
    except sqlite3.Error as error:
        raise FileAccessError(f"cannot be made: {error}", file=state) from None
    except OSError as error:
        raise FileAccessError.from_os(error, "create", state) from None
    finally:
        with suppress(OSError):
            made.unlink(missing_ok=True)
            folder.rmdir()


def _make_state(path: Path, keys: Sequence[NoteKey]) -> None:
    database = sqlite3.connect(path, isolation_level=None)
    try:
        database.execute(_DURABLE)
        database.execute("BEGIN")
        for table in _TABLES:
            database.execute(table)
        database.executemany("INSERT INTO key VALUES (?)", [(key.vkey,) for key in keys])
        database.execute(f"PRAGMA user_version = {_VERSION}")
        database.execute("COMMIT")
    finally:
        database.close()


def _check_logs(
    signers: tuple[WitnessSigner, ...], logs: Mapping[str, tuple[NoteKey, ...]]
) -> None:
    own = {signer.public.material for signer in signers}
    kinds = {signer.public.kind for signer in signers}
    for origin, keys in logs.items():
        if any(key.material in own for key in keys):
            raise UsageError(
                f"a key of the witness is a key of the log {origin}",
                hint="a witness has keys for nothing else",
            )
        long = len(origin.encode("utf-8")) > MAX_NAME_BYTES
        if long and SignatureKind.MLDSA44_COSIGNATURE in kinds:
            raise UsageError(
                f"an ML-DSA-44 key cosigns no log whose origin has more than {MAX_NAME_BYTES} bytes"
            )


def _unsigned(signed: SignedCheckpoint, keys: tuple[NoteKey, ...]) -> WitnessReply | None:
    """Return the refusal of a checkpoint that the log did not sign; None: it did."""
    try:
        if log_signed(signed, keys):
            return None
    except IntegrityError as error:
        return _refused(WitnessStatus.FORBIDDEN, error.message)
    except IncompleteError as error:
        return _refused(WitnessStatus.UNAVAILABLE, error.message)
    return _refused(WitnessStatus.FORBIDDEN, "no known key of the log signed it")


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
        if checkpoint.root != root:
            return "this size is known here with another root"
        return "from a size to itself there is nothing to prove" if asked.proof else None
    holds = verify_consistency(asked.old, checkpoint.size, root, checkpoint.root, asked.proof)
    return None if holds else "the consistency proof does not hold"


def _refused(status: WitnessStatus, why: str) -> WitnessReply:
    return WitnessReply(status, f"{why}\n".encode())
