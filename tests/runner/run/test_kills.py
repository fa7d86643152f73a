"""Kills and full disks: a real process is stopped in the middle, and the run goes on."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from studies import write_study

from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.keys import (
    Signer,
    TrustSet,
    generate_key,
    load_signer,
    write_key_pair,
)
from safety_receipts.receipts.model.check import CheckLevel, CheckStatus
from safety_receipts.runner.plan.resolve import resolve_plan
from safety_receipts.runner.plan.sealed import digest_of, write_plan
from safety_receipts.runner.run.journal import Journal
from safety_receipts.runner.run.journal_file import RUN_JOURNAL, run_journal_path
from safety_receipts.verify.integrity import verify_bundle

Receipts = Callable[..., Any]

POINTS = 4 * 208 * 2


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of several units, with a key, and a bundle whose run has just begun."""
    folder = tmp_path_factory.mktemp("study")
    plan = write_study(
        folder,
        queries=200,
        controls=8,
        sampling="{method: seeded, temperature: 1.0, max_new_tokens: 6}",
    )
    signer = generate_key()
    write_key_pair(folder / "key", signer, None)
    resolved = resolve_plan(plan)
    assert resolved.predicate.points == POINTS
    write_plan(resolved, folder / "begun", signer)
    # The secret is drawn here, so that runs that start from copies seal the same bytes.
    with Journal.open(run_journal_path(folder / "begun"), digest_of(resolved.predicate)):
        pass
    return plan


# A shell that puts a job in the background has it ignore SIGINT.
LISTENING = """\
import signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from safety_receipts.runner.engines.answers import SynchronousGeneration
plain, asked = SynchronousGeneration.collect, []
def collect(self):
    asked.append(self)
    # While the second unit is awaited the first is committed: time enough for a signal.  In short
    # naps, as a signal that another thread receives, or that comes just before a nap, does not
    # wake this one.
    for _ in range(6000 if len(asked) > 1 else 0):
        time.sleep(0.01)
    return plain(self)
SynchronousGeneration.collect = collect
"""
KILLED = """\
import os, signal
from safety_receipts.runner.engines.answers import SynchronousGeneration
from safety_receipts.runner.judges.refusal_strings import RefusalStringsJudge
from safety_receipts.runner.run import journal
from safety_receipts.runner.run.units.entries import EntryMaker
def die_in(owner, name, number, after=False):
    plain, calls = getattr(owner, name), []
    def dying(*arguments):
        calls.append(arguments)
        if len(calls) == number and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        found = plain(*arguments)
        if len(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return found
    setattr(owner, name, dying)
"""
STAGES = {
    "engine": "die_in(SynchronousGeneration, 'collect', 2)",
    "judge": "die_in(RefusalStringsJudge, 'judge_many', 2)",
    "entries": "die_in(EntryMaker, 'entry', 700)",
    "in the transaction": "die_in(journal, '_note', 3)",  # after the start and the first commit
    "committed": "die_in(journal.Journal, 'add', 2, after=True)",
}
SMALL_FILES = """\
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (160_000, 160_000))
"""


def command(plan: Path, bundle: Path, *more: str, first: str = "") -> list[str]:
    """Return the command line of a run, with code that is executed before it."""
    code = f"{first}\nfrom safety_receipts.receipts.cli import main\nmain()"
    return [sys.executable, "-c", code, *words(plan, bundle), *more]


def words(plan: Path, bundle: Path) -> list[str]:
    """Return the words of a run, for the runs that nothing stops: they need no process."""
    key = str(plan.parent / "key")
    out = ["--out", str(bundle), "--device", "cpu", "--memory", "64M"]
    return ["run", str(plan), "--key", key, *out]


def begun(study: Path, folder: Path) -> Path:
    return Path(shutil.copytree(study.parent / "begun", folder))


def committed(bundle: Path) -> int:
    """Return how many points a journal holds, without disturbing whoever writes it."""
    path = bundle / RUN_JOURNAL
    copy = bundle.parent / "look"
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir()
    for file in (path, path.with_name(f"{RUN_JOURNAL}-wal")):
        if file.exists():
            shutil.copy(file, copy / file.name)
    try:
        connection = sqlite3.connect(copy / RUN_JOURNAL)
        number = connection.execute("SELECT count(*) FROM point").fetchone()[0]
    except sqlite3.DatabaseError:
        return 0  # copied in the middle of a commit
    finally:
        connection.close()
    return int(number)


def evidence(bundle: Path) -> list[bytes]:
    return [point.to_line() for point in Bundle(bundle).points()]


def hold(bundle: Path, signer: Signer) -> None:
    found = verify_bundle(
        Bundle(bundle), evaluators=TrustSet([signer.public]), wanted=CheckLevel.BOUND
    )
    assert [c.name for c in found.checks if c.status is CheckStatus.FAILED] == []


@pytest.mark.long
def test_a_run_killed_at_random_moments_seals_what_an_unbroken_one_does(
    study: Path, tmp_path: Path, receipts: Receipts
) -> None:
    unbroken, broken = begun(study, tmp_path / "unbroken"), begun(study, tmp_path / "broken")
    assert receipts(*words(study, unbroken)).code == 0
    dice, kills = random.Random(20260101), 0
    for target in (1, POINTS // 2):
        with subprocess.Popen(
            command(study, broken), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            deadline = time.monotonic() + 120
            while process.poll() is None and time.monotonic() < deadline:
                if committed(broken) >= target:
                    time.sleep(dice.random() * 0.05)
                    process.send_signal(signal.SIGKILL)
                    break
                time.sleep(0.02)
            process.wait()
            kills += process.returncode == -signal.SIGKILL
    assert kills >= 1
    finished = receipts(*words(study, broken))
    assert finished.code == 0, finished.err
    assert evidence(broken) == evidence(unbroken)
    records = [[r.to_line() for r in Bundle(b).responses()] for b in (broken, unbroken)]
    assert records[0] == records[1]
    sealed = [Bundle(bundle).receipt.statement.predicate for bundle in (broken, unbroken)]
    assert sealed[0].evidence == sealed[1].evidence
    assert sealed[0].conditions == sealed[1].conditions
    assert sealed[0].event.restarts == kills
    hold(broken, load_signer(study.parent / "key"))


@pytest.fixture(scope="module")
def unbroken(study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of a run that nothing stopped."""
    bundle = begun(study, tmp_path_factory.mktemp("unbroken") / "bundle")
    subprocess.run(command(study, bundle), check=True, capture_output=True)
    return bundle


@pytest.mark.long
@pytest.mark.parametrize("stage", STAGES)
def test_a_run_killed_at_any_stage_seals_what_an_unbroken_one_does(
    study: Path, unbroken: Path, tmp_path: Path, receipts: Receipts, stage: str
) -> None:
    bundle = begun(study, tmp_path / "bundle")
    dying = command(study, bundle, first=f"{KILLED}{STAGES[stage]}")
    killed = subprocess.run(dying, check=False, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    whole = committed(bundle)
    assert 0 <= whole < POINTS
    assert stage != "committed" or whole > 0
    finished = receipts(*words(study, bundle))
    assert finished.code == 0, finished.err
    sealed = [Bundle(one).receipt.statement.predicate.evidence for one in (bundle, unbroken)]
    assert sealed[0] == sealed[1]
    records = [list(Bundle(one).response_lines()) for one in (bundle, unbroken)]
    assert records[0] == records[1]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_ends_with_130_and_says_how_to_go_on(
    study: Path, tmp_path: Path, how: signal.Signals
) -> None:
    bundle = begun(study, tmp_path / "bundle")
    with subprocess.Popen(
        command(study, bundle, "--json", first=LISTENING),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        deadline = time.monotonic() + 120
        while committed(bundle) == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(how)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    error = json.loads(out)["error"]
    assert error["exitCode"] == 130
    assert f"of {POINTS:,} points are kept" in error["message"]
    assert "run the same command again" in error["hint"]
    assert not (bundle / "receipt.dsse.json").exists()
    assert committed(bundle) > 0


def test_a_full_disk_ends_with_one_line_and_the_run_goes_on(
    study: Path, tmp_path: Path, receipts: Receipts
) -> None:
    bundle = begun(study, tmp_path / "bundle")

    limited = command(study, bundle, first=SMALL_FILES)
    finished = subprocess.run(limited, check=False, capture_output=True, text=True)
    assert finished.returncode == 2, finished.stderr
    assert finished.stderr.count("\n") == 1
    assert str(bundle) in finished.stderr
    assert not (bundle / "receipt.dsse.json").exists()
    assert [file for file in bundle.iterdir() if file.name.endswith(".tmp")] == []
    assert receipts(*words(study, bundle)).code == 0
    hold(bundle, load_signer(study.parent / "key"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_to_is_named(study: Path, tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    bundle = tmp_path / "closed" / "bundle"
    finished = subprocess.run(command(study, bundle), check=False, capture_output=True, text=True)
    assert finished.returncode == 2
    assert str(bundle) in finished.stderr
