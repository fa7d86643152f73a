"""What every command that reads a bundle says of a folder without a receipt."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from safety_receipts.receipts.bundle import PLAN, POINTS_FILE, RECEIPT, RESPONSES_FILE
from safety_receipts.receipts.unfinished import RUN_JOURNAL

COMMANDS: dict[str, Callable[[Path, Path], list[str | Path]]] = {
    "show": lambda bundle, _: ["show", bundle],
    "verify": lambda bundle, key: ["verify", bundle, "--trust", key],
    "compare": lambda bundle, key: ["compare", bundle, bundle, "--trust", key],
    "prove": lambda bundle, _: ["prove", bundle, "7"],
    "publish": lambda bundle, _: ["publish", bundle, "--out", bundle.parent / "out"],
}


def journal(bundle: Path, points: int) -> Path:
    """Make a journal with so many points, as far as a reader looks into it."""
    path = bundle / RUN_JOURNAL
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE point (id TEXT PRIMARY KEY) STRICT, WITHOUT ROWID")
        connection.executemany("INSERT INTO point VALUES (?)", ((str(n),) for n in range(points)))
        connection.commit()
    return path


@pytest.fixture
def stopped(bundle: Path) -> Path:
    """A bundle whose run was stopped: a sealed plan and a journal."""
    (bundle / RECEIPT).unlink()
    journal(bundle, 1048)
    return bundle


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_says_how_far_a_run_came(
    command: str, stopped: Path, receipts: Any, golden: Path
) -> None:
    done = receipts(*COMMANDS[command](stopped, golden / "ed25519.pub"))
    assert (done.code, done.out, done.err.count("\n")) == (5, "", 1), done
    assert "the run has 1,048 of " in done.err
    assert (
        "points, and nothing is sealed yet (run the same `receipts run` again to go on)" in done.err
    )


def test_a_run_that_is_under_way_is_not_disturbed(stopped: Path, receipts: Any) -> None:
    with closing(sqlite3.connect(stopped / RUN_JOURNAL)) as connection:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("BEGIN IMMEDIATE")
        done = receipts("show", stopped)
        connection.execute("INSERT INTO point VALUES ('more')")
        connection.commit()
    assert done.code == 5
    assert "points is under way here, and nothing is sealed yet (wait until it ends" in done.err


def test_a_receipt_that_is_gone_is_not_called_a_run(bundle: Path, receipts: Any) -> None:
    (bundle / RECEIPT).unlink()
    done = receipts("show", bundle)
    assert done.code == 2
    assert f"{RECEIPT}: is not in this folder" in done.err


def test_a_plan_that_was_sealed_and_not_run(bundle: Path, receipts: Any) -> None:
    for name in (RECEIPT, POINTS_FILE, RESPONSES_FILE):
        (bundle / name).unlink(missing_ok=True)
    done = receipts("show", bundle)
    assert done.code == 5
    assert "points is sealed, and nothing was run yet (run it: receipts run PLAN" in done.err


def test_a_journal_without_a_plan(stopped: Path, receipts: Any) -> None:
    (stopped / PLAN).unlink()
    assert "the run has 1,048 points, and" in receipts("show", stopped).err


def _garbage(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\0" + b"\xff" * 4000)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _view(path: Path) -> None:
    """Leave a view that counts for ever where the table should be."""
    path.unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(
            "CREATE VIEW point AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
            "SELECT i FROM n"
        )
        connection.commit()


@pytest.mark.parametrize("spoil", [_garbage, _empty, _view])
def test_a_journal_that_is_none_is_said_to_be_unreadable(
    spoil: Callable[[Path], None], stopped: Path, receipts: Any
) -> None:
    spoil(stopped / RUN_JOURNAL)
    done = receipts("show", stopped)
    assert (done.code, done.err.count("\n")) == (5, 1)
    assert "a run was begun here, and its journal cannot be read" in done.err


def test_a_link_in_the_place_of_a_journal_is_not_followed(
    stopped: Path, tmp_path: Path, receipts: Any
) -> None:
    (stopped / RUN_JOURNAL).rename(tmp_path / "elsewhere.sqlite")
    for part in stopped.glob(f"{RUN_JOURNAL}-*"):
        part.unlink()
    (stopped / RUN_JOURNAL).symlink_to(tmp_path / "elsewhere.sqlite")
    assert "is not in this folder" in receipts("show", stopped).err


@pytest.mark.parametrize("suffix", ["-journal", "-wal", "-shm"])
def test_pipes_beside_a_journal_are_not_waited_for(
    suffix: str, stopped: Path, receipts: Any
) -> None:
    for part in stopped.glob(f"{RUN_JOURNAL}-*"):
        part.unlink()
    os.mkfifo(stopped / f"{RUN_JOURNAL}{suffix}")
    done = receipts("show", stopped)
    assert (done.code, done.err.count("\n")) == (5, 1)
    assert "its journal cannot be read" in done.err


def test_a_folder_that_is_no_bundle_is_called_none(tmp_path: Path, receipts: Any) -> None:
    done = receipts("show", tmp_path)
    assert done.code == 2
    assert f"a bundle is the folder that holds {RECEIPT}" in done.err
