"""The journal's file: where it lies, how it is opened, and what SQLite's errors mean."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safety_receipts.receipts.errors import FileAccessError, MalformedError, UsageError
from safety_receipts.receipts.io.files import make_private
from safety_receipts.receipts.unfinished import RUN_JOURNAL, RUN_PROMPTS

_PARTS = ("-wal", "-shm", "")
"""What SQLite adds to the name of a file for those it keeps beside it, and the file itself."""

DAMAGED_JOURNAL = "is damaged, or is not a journal"

START_OVER = "move it away to start over"


def remove_journal(folder: Path) -> None:
    """Delete a sealed event's journal, and its prompts: all they hold is in the bundle."""
    (folder / RUN_PROMPTS).unlink(missing_ok=True)
    for suffix in _PARTS:
        (folder / (RUN_JOURNAL + suffix)).unlink(missing_ok=True)


def connect(path: Path) -> sqlite3.Connection:
    """Open a journal's file, for this process alone.

    Raises:
        UsageError: Another run is using it.
        MalformedError: It is no journal.
        FileAccessError: It cannot be read or written.
    """
    # SQLite follows links and would write to wherever one points.
    if path.is_symlink() or not path.is_file():
        raise FileAccessError("is not a regular file", file=path, hint="name a new folder")
    for suffix in _PARTS:
        part = path.with_name(path.name + suffix)
        if part.exists() or part.is_symlink():
            make_private(part)  # a copy, or a backup that was put back, may be anybody's to read
    with translated(path):
        # Threads take turns with it: a run commits in one, and looks at it from another.
        connection = sqlite3.connect(path, timeout=0, check_same_thread=False)
        try:
            # One run at a time: the lock is held until the connection closes.
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA trusted_schema = OFF")
            connection.execute("BEGIN IMMEDIATE")
            connection.rollback()
        except BaseException:
            connection.close()
            raise
    return connection


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into this project's."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", None)
        code = None if code is None else code & 0xFF  # the primary code
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise UsageError(
                "another run is using it", file=path, hint="wait for it to end, or stop it"
            ) from None
        if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
            raise MalformedError(DAMAGED_JOURNAL, file=path, hint=START_OVER) from None
        if code == sqlite3.SQLITE_FULL:
            raise FileAccessError(
                "cannot write: no space left",
                file=path,
                hint="make room and run again: what was committed is there",
            ) from None
        reason = " ".join(str(error).split())
        raise FileAccessError(f"cannot use the journal: {reason}", file=path) from None


def run_journal_path(folder: Path) -> Path:
    """Return where the journal of a bundle lies."""
    return Path(os.fspath(folder)) / RUN_JOURNAL
