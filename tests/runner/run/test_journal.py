"""The journal: what is committed stays, whatever happens; nothing else gets in."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from safety_receipts.receipts.canonical import Sha256, sha256_hex
from safety_receipts.receipts.errors import (
    FileAccessError,
    IntegrityError,
    MalformedError,
    UsageError,
)
from safety_receipts.receipts.events.synthetic import Mixture, synthetic_plan, synthetic_points
from safety_receipts.receipts.model.demonstrations import Ordering
from safety_receipts.receipts.model.point import Finish, Outcome, Reason
from safety_receipts.runner.run.journal import Journal, JournalEntry, JournalEvent
from safety_receipts.runner.run.journal_file import remove_journal, run_journal_path

PLAN = synthetic_plan([Mixture(0, 0, None), Mixture(2, 2, Ordering.SUFFIX)], {"alpha": 8}, draws=2)
DIGEST = sha256_hex(b"a plan")
AT = "2026-01-01T00:00:00Z"


def entries() -> list[JournalEntry]:
    return [JournalEntry(*pair) for pair in synthetic_points(PLAN, DIGEST)]


def failed(entry: JournalEntry, reason: Reason) -> JournalEntry:
    finish = Finish.OVERFLOW if reason is Reason.CONTEXT_OVERFLOW else Finish.ERROR
    change = {"outcome": Outcome.FAILED, "reason": reason, "finish": finish}
    return JournalEntry(
        entry.point.model_copy(update=change), entry.record.model_copy(update=change)
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return run_journal_path(tmp_path)


def test_points_come_back_in_plan_order_however_they_were_added(path: Path) -> None:
    written = entries()
    shuffled = random.Random(1).sample(written, len(written))
    with Journal.open(path, DIGEST) as journal:
        journal.add(shuffled[:7], AT)
    with Journal.open(path, DIGEST) as journal:
        assert journal.done() == {entry.point.index for entry in shuffled[:7]}
        journal.add(shuffled[7:], AT)
        assert list(journal.entries()) == [(entry.point, entry.record) for entry in written]


def test_a_point_that_is_there_is_left_as_it_is(path: Path) -> None:
    first = entries()[0]
    other = failed(first, Reason.ENGINE_ERROR)
    with Journal.open(path, DIGEST) as journal:
        journal.add([first], AT)
        journal.add([other], AT)
        assert list(journal.entries()) == [(first.point, first.record)]


def test_the_secret_and_the_event_id_are_drawn_once(tmp_path: Path) -> None:
    with Journal.open(run_journal_path(tmp_path), DIGEST) as journal:
        drawn = journal.secret, journal.event_id
    with Journal.open(run_journal_path(tmp_path), DIGEST) as journal:
        assert (journal.secret, journal.event_id) == drawn
    remove_journal(tmp_path)
    with Journal.open(run_journal_path(tmp_path), DIGEST) as journal:
        assert len(journal.secret) == 32
        assert journal.secret != drawn[0]
        assert journal.event_id != drawn[1]


def test_only_the_owner_can_read_any_of_its_files(path: Path) -> None:
    before = os.umask(0)
    try:
        with Journal.open(path, DIGEST) as journal:
            journal.add(entries()[:1], AT)
            modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    finally:
        os.umask(before)
    assert f"{path.name}-wal" in modes
    assert set(modes.values()) == {0o600}


def test_removing_a_journal_leaves_nothing_of_it(tmp_path: Path) -> None:
    with Journal.open(run_journal_path(tmp_path), DIGEST) as journal:
        journal.add(entries(), AT)
    (tmp_path / "receipt.dsse.json").touch()
    remove_journal(tmp_path)
    remove_journal(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["receipt.dsse.json"]


_WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_journal import AT, DIGEST, entries
from safety_receipts.runner.run.journal import Journal
from safety_receipts.runner.run.journal_file import run_journal_path
written = entries()
with Journal.open(run_journal_path(Path(sys.argv[2])), DIGEST) as journal:
    for entry in written[: int(sys.argv[3])]:
        journal.add([entry], AT)
    print("committed", flush=True)
    sys.stdin.read()
"""


def test_what_was_committed_survives_a_kill(tmp_path: Path) -> None:
    here = str(Path(__file__).parent)
    with subprocess.Popen(
        [sys.executable, "-c", _WRITER, here, str(tmp_path), "5"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "committed\n"
        with (
            pytest.raises(UsageError, match="another run is using it"),
            Journal.open(run_journal_path(tmp_path), DIGEST),
        ):
            pass
        process.send_signal(signal.SIGKILL)
    with Journal.open(run_journal_path(tmp_path), DIGEST) as journal:
        assert journal.done() == set(range(5))


def test_a_journal_of_another_plan_is_refused(path: Path) -> None:
    with Journal.open(path, DIGEST):
        pass
    with (
        pytest.raises(UsageError, match="another plan"),
        Journal.open(path, Sha256("0" * 64)),
    ):
        pass


def test_the_signature_of_a_round_is_kept_once_it_is_known(path: Path) -> None:
    """Its SHA-256 is the value, which is what a resumed run is held to."""
    signature, other = "8a" * 48, "8b" * 48
    value = hashlib.sha256(bytes.fromhex(signature)).hexdigest()
    with Journal.open(path, DIGEST, value) as journal:
        assert (journal.beacon, journal.beacon_signature) == (value, None)
        with pytest.raises(UsageError, match="the beacon value"):
            journal.hold_to_beacon(other)
        assert journal.beacon_signature is None
        journal.hold_to_beacon(signature)
    with Journal.open(path, DIGEST) as journal:
        assert (journal.beacon, journal.beacon_signature) == (value, signature)
        journal.hold_to_beacon(value)
        assert journal.beacon_signature == signature
        with pytest.raises(UsageError, match="the beacon value"):
            journal.hold_to_beacon(other)


def test_the_beacon_value_is_the_one_it_was_started_with(path: Path) -> None:
    with Journal.open(path, DIGEST, "a" * 64):
        pass
    with Journal.open(path, DIGEST, "b" * 64) as journal:
        assert journal.beacon == "a" * 64
        journal.hold_to_beacon(None)
        journal.hold_to_beacon("a" * 64)
        with pytest.raises(UsageError, match="the beacon value a"):
            journal.hold_to_beacon("b" * 64)
        journal.start_over(AT, {}, "b" * 64)
        journal.hold_to_beacon("b" * 64)


@pytest.mark.parametrize(
    ("now", "named"),
    [
        ({"torch": "2.14", "device": "cpu"}, "torch 2.13.*2.14"),
        ({"torch": "2.13"}, "device cpu.*none"),
        ({"torch": "2.13", "device": "cpu", "driver": "550"}, "driver none.*550"),
    ],
)
def test_a_resumed_run_has_the_stack_it_was_started_with(
    path: Path, now: dict[str, str], named: str
) -> None:
    before = {"torch": "2.13", "device": "cpu"}
    with Journal.open(path, DIGEST) as journal:
        assert journal.stack is None
        journal.hold_to(before)
        # Nothing was answered yet: a first try with the wrong device binds nobody.
        journal.hold_to(now)
        journal.hold_to(before)
        journal.add(entries()[:1], AT)
    with Journal.open(path, DIGEST) as journal:
        assert journal.stack == before
        journal.hold_to(before)
        with pytest.raises(UsageError, match=named):
            journal.hold_to(now)
        assert journal.start_over(AT, now, None) == 1
        assert journal.stack == now


def test_retrying_drops_what_might_succeed_and_counts_it(path: Path) -> None:
    written = entries()
    reasons = [Reason.ENGINE_ERROR, Reason.OUT_OF_MEMORY, Reason.CONTEXT_OVERFLOW]
    broken = [failed(entry, reason) for entry, reason in zip(written, reasons, strict=False)]
    unjudged = {"outcome": Outcome.UNSCORED, "reason": Reason.JUDGE_ERROR}
    broken.append(replace(written[3], point=written[3].point.model_copy(update=unjudged)))
    good = [entry for entry in written[4:] if entry.point.outcome is not Outcome.FAILED]
    with Journal.open(path, DIGEST) as journal:
        journal.add(broken + good, AT)
        assert journal.outcomes()[Outcome.FAILED, "out_of_memory"] == 1
        assert journal.forget_failed(AT) == 3
        assert journal.done() == {2, *(entry.point.index for entry in good)}
        assert journal.forget_failed(AT) == 0
        assert journal.numbered(JournalEvent.RETRY) == 3
        assert journal.start_over(AT, {}, None) == len(good) + 1
        assert journal.done() == set()
        # What happened is not forgotten with the points.
        assert journal.numbered(JournalEvent.RETRY) == 3
        assert journal.happened(JournalEvent.DISCARD) == 1
        assert journal.numbered(JournalEvent.DISCARD) == len(good) + 1


def test_a_run_lasts_from_its_first_start_to_its_last_commit(path: Path) -> None:
    def at(second: int) -> str:
        return f"2026-01-01T00:00:{second:02d}Z"

    with Journal.open(path, DIGEST) as journal:
        journal.note(JournalEvent.START, at(1))
        assert journal.span() == (at(1), at(1))
        journal.note(JournalEvent.LOOK, at(2))
        journal.add(entries()[:1], at(7))
        # Killed; and resumed only to be sealed.
        journal.note(JournalEvent.START, at(30))
        assert journal.span() == (at(1), at(7))
        assert journal.happened(JournalEvent.START) == 2
        assert journal.happened(JournalEvent.LOOK) == 1


def test_a_journal_moved_without_its_log_keeps_its_secret(path: Path) -> None:
    with Journal.open(path, DIGEST) as journal:
        secret = journal.secret
        alone = path.with_name("alone.sqlite")
        alone.write_bytes(path.read_bytes())
    with Journal.open(alone, DIGEST) as journal:
        assert journal.secret == secret


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM run",
        "UPDATE run SET stack = '{'",
        "UPDATE run SET stack = '[]'",
        "UPDATE run SET stack = '{\"torch\": 2}'",
        "UPDATE run SET secret = x'00'",
        "INSERT INTO run SELECT * FROM run",
    ],
)
def test_a_damaged_account_of_the_run_is_refused(path: Path, damage: str) -> None:
    with Journal.open(path, DIGEST) as journal:
        journal._connection.execute(damage)
        journal._connection.commit()
    with pytest.raises(MalformedError, match="damaged"), Journal.open(path, DIGEST):
        pass


def test_a_full_disk_loses_nothing_that_was_committed(path: Path) -> None:
    written = entries()
    with Journal.open(path, DIGEST) as journal:
        journal.add(written[:4], AT)
        pages = journal._connection.execute("PRAGMA page_count").fetchone()[0]
        journal._connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(FileAccessError, match="no space left"):
            journal.add(written[4:], AT)
        assert journal.done() == set(range(4))
    with Journal.open(path, DIGEST) as journal:
        journal.add(written[4:], AT)
        assert journal.done() == set(range(PLAN.points))


def test_a_row_that_was_changed_is_not_sealed(path: Path) -> None:
    with Journal.open(path, DIGEST) as journal:
        journal.add(entries()[:2], AT)
        journal._connection.execute("UPDATE point SET line = substr(line, 2) WHERE idx = 1")
        with pytest.raises(IntegrityError, match="point 1 is damaged"):
            list(journal.entries())


@pytest.mark.parametrize("content", [b"no journal at all" * 100, b"\x00" * 4096])
def test_another_file_in_its_place_is_refused_and_kept(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(MalformedError, match="is not a journal"), Journal.open(path, DIGEST):
        pass
    assert path.read_bytes() == content


def test_a_journal_of_a_newer_version_is_refused(path: Path) -> None:
    with Journal.open(path, DIGEST) as journal:
        journal._connection.execute("PRAGMA user_version = 2")
    with pytest.raises(MalformedError, match="version 2"), Journal.open(path, DIGEST):
        pass


def test_a_database_of_another_program_is_refused(path: Path) -> None:
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE cats (name TEXT)")
    other.close()
    with pytest.raises(MalformedError, match="damaged"), Journal.open(path, DIGEST):
        pass


@pytest.mark.parametrize("mode", [0o644, 0o666, 0o640])
def test_one_that_is_gone_on_with_is_its_owner_s_alone_again(path: Path, mode: int) -> None:
    """So are the files that a kill leaves beside it: they hold points as well."""
    parts = [path.with_name(path.name + suffix) for suffix in ("", "-wal", "-shm")]
    with Journal.open(path, DIGEST) as journal:
        journal.add(entries()[:3], AT)
    for part in parts:
        part.touch()
        part.chmod(mode)
    with Journal.open(path, DIGEST) as journal:
        assert len(journal.done()) == 3
        modes = {part.name: stat.S_IMODE(part.stat().st_mode) for part in parts if part.exists()}
    assert set(modes.values()) == {0o600}


def test_a_link_beside_it_is_refused(path: Path, tmp_path: Path) -> None:
    with Journal.open(path, DIGEST):
        pass
    (tmp_path / "elsewhere").touch(mode=0o644)
    path.with_name(path.name + "-wal").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileAccessError), Journal.open(path, DIGEST):
        pass
    assert stat.S_IMODE((tmp_path / "elsewhere").stat().st_mode) == 0o644


def test_a_link_in_its_place_is_refused(path: Path, tmp_path: Path) -> None:
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileAccessError), Journal.open(path, DIGEST):
        pass
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_to_is_named(path: Path) -> None:
    path.parent.chmod(0o500)
    with pytest.raises(FileAccessError), Journal.open(path, DIGEST):
        pass
