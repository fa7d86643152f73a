"""What a folder without a receipt holds: a run that is under way, or one that was stopped.

The runner records points in a journal, one SQLite file in the bundle's folder, until the event is
sealed.  Whoever meets such a folder is told how far it came.  The folder may come from anywhere, so
the file is opened to read, nothing in it is trusted, and what is asked of it is bounded.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from safety_receipts.receipts.io.text import printable

RUN_JOURNAL: Final = "journal.sqlite"
"""Name of a run's journal in the bundle's folder, until the event is sealed."""

RUN_PROMPTS: Final = f"{RUN_JOURNAL}-prompts"
"""Name of the file in which a run's rendered prompts are kept, as long as the journal."""

_BESIDE: Final = ("-journal", "-wal", "-shm")
"""Ends of the names of files that SQLite opens beside a journal."""
_STEPS: Final = 10_000
_MOST_STEPS: Final = 20_000_000
"""Instructions of SQLite's machine after which no answer is waited for; a count takes one a row."""


@dataclass(frozen=True)
class UnfinishedRun:
    """What is known of a run without a receipt."""

    words: str
    """How far it came."""
    hint: str
    """What to do."""
    begun: bool = True
    """Whether there is a journal."""


class _JournalInUseError(Exception):
    """A run writes to the journal."""


def unfinished_run(folder: Path, planned: int | None) -> UnfinishedRun | None:
    """Return how far the run in a folder without a receipt came; None: nothing was begun there.

    Args:
        folder: The folder.
        planned: Number of points of its plan; None: there is no plan that can be read.
    """
    journal = folder / RUN_JOURNAL
    of, again = ("" if planned is None else f" of {planned:,}"), "run the same `receipts run` again"
    if not _is_regular(journal):
        if planned is None:
            return None
        run = f"run it: receipts run PLAN --key KEY --out {printable(str(folder))}"
        words = f"the plan of {planned:,} points is sealed, and nothing was run yet"
        return UnfinishedRun(words, run, begun=False)
    try:
        recorded = _recorded(journal)
    except _JournalInUseError:
        points = f" of {planned:,} points" if planned else ""
        return UnfinishedRun(
            f"a run{points} is under way here, and nothing is sealed yet",
            "wait until it ends, or stop it and go on later with the same command",
        )
    if recorded is None:
        return UnfinishedRun("a run was begun here, and its journal cannot be read", again)
    return UnfinishedRun(
        f"the run has {recorded:,}{of} points, and nothing is sealed yet", f"{again} to go on"
    )


def _recorded(journal: Path) -> int | None:
    """Return how many points a journal holds; None: it cannot be read.

    Raises:
        _JournalInUseError: A run writes to it.
    """
    beside = [journal.with_name(f"{journal.name}{suffix}") for suffix in _BESIDE]
    if any(os.path.lexists(file) and not _is_regular(file) for file in beside):
        return None  # SQLite would wait for a pipe's writer
    try:
        return _count(f"{journal.absolute().as_uri()}?mode=ro")
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", None)
        if code is not None and code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise _JournalInUseError from None
        return None


def _is_regular(file: Path) -> bool:
    try:
        return stat.S_ISREG(file.lstat().st_mode)
    except OSError:
        return False


def _count(uri: str) -> int | None:
    steps = 0

    def too_many() -> bool:
        nonlocal steps
        steps += _STEPS
        return steps > _MOST_STEPS

    with closing(sqlite3.connect(uri, uri=True, timeout=0)) as connection:
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.set_progress_handler(too_many, _STEPS)
        tables = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'point'"
        if connection.execute(tables).fetchone() is None:
            return None
        return int(connection.execute("SELECT count(*) FROM point").fetchone()[0])
