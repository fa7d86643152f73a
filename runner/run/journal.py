"""The journal of a run: one SQLite file that survives whatever stops the run.

Tables: ``run`` (one row: what was sealed, the run's secret, the stack it started with),
``point`` (one row a finished point), ``event`` (starts, stops, looks, retries).  A commit is
on the disk before it is told of, and before the next one begins (WAL, ``synchronous=FULL``).  The
file holds prompts' answers and the secret that salts them, so only its owner can read it.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from safety_receipts.receipts.beacon.rounds import is_round_signature, value_of
from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.errors import IntegrityError, MalformedError, UsageError
from safety_receipts.receipts.io.files import create_exclusive
from safety_receipts.receipts.model.point import Outcome, Point, Reason, RestrictedRecord
from safety_receipts.runner.run.journal_file import DAMAGED_JOURNAL, START_OVER, connect, translated

LineT = TypeVar("LineT", Point, RestrictedRecord)

SCHEMA_VERSION = 1

_SECRET_BYTES = 32

_SCHEMA = """
CREATE TABLE run (
    plan_digest TEXT NOT NULL,
    event_id TEXT NOT NULL,
    secret BLOB NOT NULL,
    beacon TEXT,
    stack TEXT
) STRICT;
CREATE TABLE point (
    id TEXT PRIMARY KEY,
    idx INTEGER NOT NULL UNIQUE,
    outcome TEXT NOT NULL,
    reason TEXT,
    line BLOB NOT NULL,
    record BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE event (
    at TEXT NOT NULL,
    kind TEXT NOT NULL,
    number INTEGER NOT NULL
) STRICT;
"""


class JournalEvent(StrEnum):
    """What is worth counting beside points."""

    START = "start"
    """The run was started or resumed."""
    STOP = "stop"
    """It ended by itself, or was interrupted; a kill leaves no trace but the next start."""
    LOOK = "look"
    """Rates were shown before the end."""
    RETRY = "retry"
    """Failed points were tried again; the number says how many."""
    DISCARD = "discard"
    """All points were thrown away to start over; the number says how many."""
    COMMIT = "commit"
    """Points were finished; the number says how many."""
    RESENT = "resent"
    """Requests to a server were sent again; the number says how many."""
    REPEATED = "repeated"
    """Answers of a server were held against an earlier one; the number says how many."""
    DIFFERED = "differed"
    """Some of them were another answer; the number says how many."""
    JUDGE_RESENT = "judge resent"
    JUDGE_REPEATED = "judge repeated"
    JUDGE_DIFFERED = "judge differed"
    """The same three of the judge's server."""
    SECOND_RESENT = "second judge resent"
    SECOND_REPEATED = "second judge repeated"
    SECOND_DIFFERED = "second judge differed"
    """The same three of the second judge's server."""


@dataclass(frozen=True)
class JournalEntry:
    """A finished point."""

    point: Point
    """Its evidence line."""
    record: RestrictedRecord
    """Its restricted record."""


class Journal:
    """An open journal; use it as a context manager.  Threads may take turns with it.

    Args:
        path: The file.
        connection: Its connection.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection

    @classmethod
    @contextmanager
    def open(cls, path: Path, plan_digest: Sha256, beacon: str | None = None) -> Iterator[Journal]:
        """Open a journal, or start one.

        Args:
            path: The file.
            plan_digest: Digest of the sealed plan.
            beacon: The signature of the beacon's round, or its value alone, where the plan names a
                round, for a journal that is started here.

        Raises:
            UsageError: Another run is using it, or it was started with another plan.
            MalformedError: It is no journal, or one of a newer version.
            FileAccessError: It cannot be read or written.
        """
        if not path.exists():
            # Made here, so that it is never readable by others, not even for a moment.
            create_exclusive(path, b"", mode=0o600)
        connection = connect(path)
        try:
            journal = cls(path, connection)
            with translated(path):
                # Also after a kill before the first commit: :meth:`_create` brings everything
                # into the file itself before there can be points.
                if journal._is_empty():
                    journal._create(plan_digest, beacon)
                journal._check(plan_digest)
            yield journal
        finally:
            with suppress(sqlite3.Error):
                connection.close()

    def _is_empty(self) -> bool:
        return bool(self._scalar("SELECT count(*) FROM sqlite_master") == 0)

    def _create(self, plan_digest: Sha256, beacon: str | None) -> None:
        with self._connection as transaction:
            transaction.execute("BEGIN IMMEDIATE")
            for statement in _SCHEMA.split(";"):
                if statement.strip():
                    transaction.execute(statement)
            transaction.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            transaction.execute(
                "INSERT INTO run VALUES (?, ?, ?, ?, NULL)",
                (plan_digest, str(uuid.uuid4()), secrets.token_bytes(_SECRET_BYTES), beacon),
            )
        # Into the file itself: whoever moves it without its -wal must not lose the secret.
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _check(self, plan_digest: Sha256) -> None:
        version = self._scalar("PRAGMA user_version")
        if version != SCHEMA_VERSION:
            if version == 0:
                hint = f"{START_OVER}; was it copied without its -wal file?"
                raise MalformedError(DAMAGED_JOURNAL, file=self.path, hint=hint)
            raise MalformedError(
                f"is a journal of version {version}; this tool knows {SCHEMA_VERSION}",
                file=self.path,
                hint="finish the run with the version that started it",
            )
        rows = self._connection.execute("SELECT plan_digest, secret, stack FROM run").fetchall()
        if len(rows) != 1 or not _is_run(*rows[0][1:]):
            raise MalformedError(DAMAGED_JOURNAL, file=self.path, hint=START_OVER)
        if rows[0][0] != plan_digest:
            raise UsageError(
                "belongs to a run of another plan", file=self.path, hint="name a new folder"
            )

    def hold_to_beacon(self, given: str | None) -> None:
        """Hold a resumed run to the beacon's value it was started with.

        Args:
            given: The signature of the round, which is kept if it was not known, or its value;
                None: neither was given.

        Raises:
            UsageError: It is another.
        """
        value = None if given is None else _value(given)
        if given is not None and value == self.beacon and self.beacon_signature is None:
            self._write("UPDATE run SET beacon = ?", [(given,)])
        if value not in (None, self.beacon):
            raise UsageError(
                "was started without a beacon value"
                if self.beacon is None
                else f"was started with the beacon value {self.beacon}",
                file=self.path,
                hint="give that one, or start over with --restart",
            )

    def hold_to(self, stack: Mapping[str, str]) -> None:
        """Write what the run is made with; once there are points, hold it to what it was.

        Args:
            stack: What answers may depend on besides the plan: versions, device, memory.

        Raises:
            UsageError: It is another.
        """
        before = self.stack
        if before is None or not self.done():
            self._write("UPDATE run SET stack = ?", [(_dumped(stack),)])
            return
        for key in sorted({*before, *stack}):
            if before.get(key) != stack.get(key):
                raise UsageError(
                    f"the run was started with {key} {before.get(key, 'none')}, and this is "
                    f"{stack.get(key, 'none')}",
                    file=self.path,
                    hint="resume with what it was started with, or start over with --restart",
                )

    @property
    def stack(self) -> Mapping[str, str] | None:
        """What the run is made with; None before :meth:`hold_to`."""
        with translated(self.path):
            text = self._scalar("SELECT stack FROM run")
        return None if text is None else json.loads(text)

    @property
    def event_id(self) -> str:
        """Random id of the event."""
        with translated(self.path):
            return str(self._scalar("SELECT event_id FROM run"))

    @property
    def beacon(self) -> str | None:
        """The beacon's value, where the plan names a round."""
        kept = self._beacon()
        return None if kept is None else _value(kept)

    @property
    def beacon_signature(self) -> str | None:
        """The signature of the beacon's round; None: it is not known."""
        kept = self._beacon()
        return kept if kept is not None and is_round_signature(kept) else None

    def _beacon(self) -> str | None:
        with translated(self.path):
            kept: str | None = self._scalar("SELECT beacon FROM run")
        return kept

    @property
    def secret(self) -> bytes:
        """The run's 32 random bytes, from which salts are derived."""
        with translated(self.path):
            secret: bytes = self._scalar("SELECT secret FROM run")
        return secret

    def add(self, entries: Sequence[JournalEntry], at: str) -> None:
        """Write finished points, all or none; one that exists already is left as it is.

        Args:
            entries: The points.
            at: When they were finished, as a timestamp of the wire.

        Raises:
            FileAccessError: The disk is full, or cannot be written to.
        """
        rows = [
            (
                entry.point.id,
                entry.point.index,
                entry.point.outcome.value,
                entry.point.reason and entry.point.reason.value,
                entry.point.to_line(),
                entry.record.to_line(),
            )
            for entry in entries
        ]
        with translated(self.path):
            with self._connection as transaction:
                transaction.executemany(
                    "INSERT INTO point VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", rows
                )
                _note(transaction, JournalEvent.COMMIT, at, len(rows))
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def note(self, kind: JournalEvent, at: str, number: int = 1) -> None:
        """Write that something happened.

        Args:
            kind: What.
            at: When, as a timestamp of the wire.
            number: How many points it concerns, where it concerns some.
        """
        with translated(self.path), self._connection as transaction:
            _note(transaction, kind, at, number)

    def forget_failed(self, at: str) -> int:
        """Drop points that failed or were not judged, if they might not again; count retries.

        A prompt that is too long stays so.
        """
        with translated(self.path), self._connection as transaction:
            number = transaction.execute(
                "DELETE FROM point WHERE reason = 'judge_error' OR "
                "(outcome = 'failed' AND reason != 'context_overflow')"
            ).rowcount
            if number:
                _note(transaction, JournalEvent.RETRY, at, number)
        return number

    def start_over(self, at: str, stack: Mapping[str, str], beacon: str | None) -> int:
        """Drop all points, and count them; what happened before stays counted.

        Args:
            at: When, as a timestamp of the wire.
            stack: What the run is made with from here on.
            beacon: The signature of the beacon's round, or its value alone, from here on; None: as
                before.
        """
        with translated(self.path), self._connection as transaction:
            number = transaction.execute("DELETE FROM point").rowcount
            transaction.execute("UPDATE run SET stack = ?", (_dumped(stack),))
            if beacon is not None:
                transaction.execute("UPDATE run SET beacon = ?", (beacon,))
            if number:
                _note(transaction, JournalEvent.DISCARD, at, number)
        return number

    def done(self) -> set[int]:
        """Return the indices of all finished points."""
        with translated(self.path):
            return {row[0] for row in self._connection.execute("SELECT idx FROM point")}

    def records(self, indices: Sequence[int]) -> dict[int, RestrictedRecord]:
        """Return the restricted records of finished points, by index."""
        found = {}
        with translated(self.path):
            for index in indices:
                record = self._scalar("SELECT record FROM point WHERE idx = ?", index)
                found[index] = self._parsed(RestrictedRecord.from_line, record, index)
        return found

    def outcomes(self) -> dict[tuple[Outcome, Reason | None], int]:
        """Return how many points ended how, by outcome and reason."""
        with translated(self.path):
            rows = self._connection.execute(
                "SELECT outcome, reason, count(*) FROM point GROUP BY outcome, reason"
            )
            try:
                return {
                    (Outcome(outcome), None if reason is None else Reason(reason)): number
                    for outcome, reason, number in rows
                }
            except ValueError:
                raise MalformedError(DAMAGED_JOURNAL, file=self.path, hint=START_OVER) from None

    def entries(self) -> Iterator[tuple[Point, RestrictedRecord]]:
        """Yield all points in plan order.

        Raises:
            IntegrityError: A row is not what was written.
        """
        with (
            translated(self.path),
            closing(
                self._connection.execute("SELECT idx, line, record FROM point ORDER BY idx")
            ) as rows,
        ):
            for index, line, record in rows:
                point = self._parsed(Point.from_line, line, index)
                yield point, self._parsed(RestrictedRecord.from_line, record, index)

    def _parsed(self, parse: Callable[[bytes], LineT], line: bytes, index: int) -> LineT:
        try:
            return parse(line)
        except MalformedError:
            raise IntegrityError(
                f"point {index} is damaged", file=self.path, hint="start with --restart"
            ) from None

    def happened(self, kind: JournalEvent) -> int:
        """Return how often something happened."""
        with translated(self.path):
            return int(self._scalar("SELECT count(*) FROM event WHERE kind = ?", kind.value))

    def numbered(self, kind: JournalEvent) -> int:
        """Return how many points something concerned, summed over all times it happened."""
        with translated(self.path):
            total = self._scalar("SELECT total(number) FROM event WHERE kind = ?", kind.value)
            return int(total)

    def span(self) -> tuple[str, str]:
        """Return when the run was first started, and when its last point was finished."""
        with translated(self.path):
            first = self._scalar("SELECT min(at) FROM event")
            last = self._scalar("SELECT max(at) FROM event WHERE kind = 'commit'")
        return first, last or first

    def _scalar(self, query: str, *arguments: Any) -> Any:
        return self._connection.execute(query, arguments).fetchone()[0]

    def _write(self, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
        with translated(self.path), self._connection as transaction:
            transaction.executemany(statement, rows)


def _is_run(secret: Any, stack: Any) -> bool:
    """Say whether a row's values are such as :class:`Journal` writes."""
    if type(secret) is not bytes or len(secret) != _SECRET_BYTES:
        return False
    if stack is None:
        return True
    try:
        parsed = json.loads(stack)
    except ValueError:
        return False
    return isinstance(parsed, dict) and all(isinstance(value, str) for value in parsed.values())


def _dumped(stack: Mapping[str, str]) -> str:
    return json.dumps(dict(stack), sort_keys=True)


def _note(transaction: sqlite3.Connection, kind: JournalEvent, at: str, number: int) -> None:
    transaction.execute("INSERT INTO event VALUES (?, ?, ?)", (at, kind.value, number))


def _value(kept: str) -> str:
    """Return a beacon's value from what is kept: the signature of its round, or the value."""
    return value_of(kept) if is_round_signature(kept) else kept
