"""Audits in several processes, and killed ones: one announcement has one result."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from auditing import MEMORY, Event, make_event
from dishonest import Pair, seal_again

from safety_receipts.receipts.bundle import AUDITS, Bundle
from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.dsse import Envelope
from safety_receipts.receipts.errors import UsageError
from safety_receipts.receipts.keys import Signer, generate_key, write_key_pair
from safety_receipts.receipts.model.point import Outcome, Point, RestrictedRecord
from safety_receipts.receipts.model.statement import AUDIT_START_TYPE, AUDIT_TYPE, PUBLIC_AUDIT_TYPE
from safety_receipts.verify.audit.lock import announcement_lock, audit_lock
from safety_receipts.verify.audit.run import AnnouncedAudit
from safety_receipts.verify.audit.terms import AuditOptions, begin

Receipts = Callable[..., Any]

STOP = """\
import os, pathlib, signal, time
def stop(*arguments, **settings):
    pathlib.Path(os.environ["REACHED"]).touch()
    while True:
        time.sleep(0.01)
def kill(*arguments, **settings):
    os.kill(os.getpid(), signal.SIGKILL)
"""
PLACES = {
    "before the announcement": "from safety_receipts.verify.commands.auditing import"
    " conducting as a; a.begin = stop",
    "while points are replayed": "from safety_receipts.verify.audit import replay as r;"
    " r.Replayer.replay = stop",
}
ENDS = {
    "before its public form": "from safety_receipts.receipts import audit_forms as f;"
    " f.sign_public_form = kill",
    "before the journal goes": "from safety_receipts.verify.audit.journals import replays as j;"
    " j.AuditJournal.remove = kill",
    "before it is told": "from safety_receipts.verify.commands.auditing import conducting as a;"
    " a._report = kill",
}


@pytest.fixture(scope="module")
def event(tmp_path_factory: pytest.TempPathFactory) -> Event:
    made = make_event(tmp_path_factory.mktemp("event"), queries=40)
    write_key_pair(made.folder / "auditor", generate_key(), None)
    return made


def words(event: Event, bundle: Path, *more: str | Path) -> list[str]:
    key = ("--key", event.folder / "auditor", "--artifacts", event.resolved.file)
    trust = ("--trust", event.key, "--epsilon", "0.3")
    given = ("audit", bundle, *key, *trust, "--device", "cpu", "--memory", MEMORY)
    return [str(word) for word in (*given, *more)]


def started(event: Event, bundle: Path, code: str, reached: Path) -> subprocess.Popen[bytes]:
    """Start an audit in a process of its own, with code that is executed before it."""
    run = f"{STOP}{code}\nfrom safety_receipts.receipts.cli import main\nmain()"
    command = [sys.executable, "-c", run, *words(event, bundle)]
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(command, env={**os.environ, "REACHED": str(reached)}, **streams)


def statements(folder: Path, kind: str) -> list[Envelope]:
    envelopes = [
        Envelope.from_json(path.read_bytes(), file=path) for path in Bundle(folder).audit_files()
    ]
    return [each for each in envelopes if json.loads(each.payload)["predicateType"] == kind]


def left_behind(folder: Path) -> list[str]:
    """Return what lies in a bundle that is neither sealed nor signed."""
    return [
        path.name
        for path in (*folder.iterdir(), *(folder / AUDITS).iterdir())
        if path.name.startswith(".") or path.name.endswith(".replayed.jsonl")
    ]


@pytest.mark.parametrize("place", PLACES, ids=lambda name: name.replace(" ", "-"))
def test_a_second_process_is_told_who_is_at_it_and_a_kill_frees_the_lock(
    event: Event, tmp_path: Path, receipts: Receipts, place: str
) -> None:
    bundle, reached = event.copy(tmp_path / "bundle"), tmp_path / "reached"
    with started(event, bundle, PLACES[place], reached) as process:
        deadline = time.monotonic() + 120
        while not reached.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        announced = len(statements(bundle, AUDIT_START_TYPE))
        second = receipts(*words(event, bundle))
        new = receipts(*words(event, bundle, "--new", "--json"))
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert announced == (place != "before the announcement")
    told = f"another audit is using it: process {process.pid} on "
    assert (second.code, second.out) == (2, "")
    assert [told in line for line in second.err.splitlines()[-1:]] == [True]
    assert (new.code, told in json.loads(new.out)["error"]["message"]) == (2, True)
    assert len(statements(bundle, AUDIT_START_TYPE)) == announced
    finished = receipts(*words(event, bundle))
    assert (finished.code, "going on with" in finished.err) == (0, bool(announced))
    assert [len(statements(bundle, kind)) for kind in (AUDIT_START_TYPE, AUDIT_TYPE)] == [1, 1]
    assert left_behind(bundle) == []


@pytest.mark.parametrize("place", ENDS, ids=lambda name: name.replace(" ", "-"))
def test_an_audit_that_is_killed_after_its_result_has_that_result(
    event: Event, tmp_path: Path, receipts: Receipts, place: str
) -> None:
    bundle = event.copy(tmp_path / "bundle")
    with started(event, bundle, ENDS[place], tmp_path / "reached") as process:
        assert process.wait(timeout=120) == -signal.SIGKILL
    [result] = statements(bundle, AUDIT_TYPE)
    assert bool(left_behind(bundle)) == (place != "before it is told")
    again = receipts(*words(event, bundle, "--json"))
    document = json.loads(again.out)
    assert (again.code, document["verdict"]) == (0, "confirmed")
    assert document["auditDigest"] == result.digest
    assert [len(statements(bundle, kind)) for kind in (AUDIT_START_TYPE, AUDIT_TYPE)] == [1, 1]
    assert left_behind(bundle) == []
    assert len(statements(bundle, PUBLIC_AUDIT_TYPE)) == 1
    told = receipts(*words(event, bundle))
    assert len(statements(bundle, PUBLIC_AUDIT_TYPE)) == 1
    assert f"finished before, as audit {result.digest}; --new announces another" in told.err
    assert "draws at best" not in told.err  # what an audit would take says nothing of one that is
    assert receipts(*words(event, bundle, "--new", "--json")).code == 0
    assert [len(statements(bundle, kind)) for kind in (AUDIT_START_TYPE, AUDIT_TYPE)] == [2, 2]


def test_a_result_is_told_again_with_its_own_exit_code(
    event: Event, tmp_path: Path, receipts: Receipts
) -> None:
    bundle = event.copy(tmp_path / "bundle")
    few = ("--max-points", "2", "--identity-points", "1", "--json")
    first, again = (receipts(*words(event, bundle, *few)) for _ in range(2))
    assert (first.code, again.code, again.out) == (5, 5, first.out)
    # Other terms make another audit, as before.
    assert receipts(*words(event, bundle)).code == 0
    assert len(statements(bundle, AUDIT_START_TYPE)) == 2
    # Of two results on these terms the latest is told.
    assert receipts(*words(event, bundle, *few, "--new")).code == 5
    latest = json.loads(receipts(*words(event, bundle, *few)).out)["auditDigest"]
    assert latest in {each.digest for each in statements(bundle, AUDIT_TYPE)}
    # A nonce, or a round, that was asked for is not another one's.
    assert receipts(*words(event, bundle, "--nonce", "5e" * 32)).code == 0
    assert len(statements(bundle, AUDIT_START_TYPE)) == 4


def test_a_point_that_does_not_follow_is_said_again(
    event: Event, tmp_path: Path, receipts: Receipts
) -> None:
    bundle = event.copy(tmp_path / "bundle")

    def spoil(point: Point, record: RestrictedRecord) -> Pair:
        if point.outcome is not Outcome.REFUSED or point.condition == "h0-b0":
            return point, record
        return point, record.model_copy(update={"prompt": Sha256("0" * 64)})

    seal_again(bundle, event.signer, spoil)
    subject, auditor = event.subject(bundle), generate_key()
    write_key_pair(tmp_path / "auditor", auditor, None)
    told = []
    for _ in range(2):
        given = words(event, bundle, "--json")
        given[given.index("--key") + 1] = str(tmp_path / "auditor")
        finished = receipts(*given)
        assert finished.code == 3
        told.append(json.loads(finished.out))
    assert subject.digest == Bundle(bundle).receipt_envelope.digest
    assert told[0] == told[1]


def held(folder: Path, signer: Signer) -> str:
    with (
        pytest.raises(UsageError) as caught,
        audit_lock(folder, Sha256("a" * 64), signer),
    ):
        pass
    return caught.value.one_line()


def test_only_one_key_s_audits_of_one_receipt_are_held(tmp_path: Path) -> None:
    one, other = generate_key(), generate_key()
    with audit_lock(tmp_path / "out", Sha256("a" * 64), one):
        assert f"process {os.getpid()} on " in held(tmp_path / "out", one)
        with (
            audit_lock(tmp_path / "out", Sha256("a" * 64), other),
            audit_lock(tmp_path / "out", Sha256("b" * 64), one),
            audit_lock(tmp_path / "elsewhere", Sha256("a" * 64), one),
        ):
            assert len(list((tmp_path / "out").iterdir())) == 3
    # Nothing is left, not even the folders that were made for it.
    assert list(tmp_path.iterdir()) == []
    with audit_lock(tmp_path / "out", Sha256("a" * 64), one):
        (tmp_path / "out" / "kept").touch()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["kept"]


def test_a_lock_file_that_a_kill_left_is_taken_over(tmp_path: Path) -> None:
    signer = generate_key()
    with audit_lock(tmp_path, Sha256("a" * 64), signer):
        [path] = tmp_path.iterdir()
        told = path.read_text("utf-8")
    path.write_text(f"{told} and much more", "utf-8")
    with audit_lock(tmp_path, Sha256("a" * 64), signer):
        assert f"process {os.getpid()} on " in path.read_text("utf-8")
        assert "much more" not in path.read_text("utf-8")
    assert not path.exists()


def test_an_announcement_is_held_from_every_folder(event: Event, tmp_path: Path) -> None:
    """It may be gone on with in another folder than the one it was announced in."""
    bundle, signer = event.copy(tmp_path / "bundle"), generate_key()
    announced, _ = begin(event.subject(bundle), AuditOptions(epsilon="0.3"), signer, bundle)
    folders = [bundle, tmp_path / "elsewhere"]
    unknown = AnnouncedAudit(Envelope(b"{}", announced.envelope.signatures), announced.terms)

    def hold(which: AnnouncedAudit) -> None:
        with announcement_lock(which, folders):
            pass

    hold(announced)
    with announcement_lock(announced, folders):
        hold(unknown)
        with pytest.raises(UsageError, match="another audit is using it"):
            hold(announced)
