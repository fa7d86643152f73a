"""Runs that log what they seal: the plan before the first point, the receipt at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from running import Faulty, Quiet, Study, interrupted, run
from transparency import WitnessedLog, make_log, witnessed_log

from safety_receipts.receipts.bundle import PROOFS, RECEIPT, Bundle
from safety_receipts.receipts.errors import IncompleteError, UsageError
from safety_receipts.receipts.keys import Signer, TrustSet, write_key_pair
from safety_receipts.receipts.log.formats.entry import EntryKind, LogEntry
from safety_receipts.receipts.log.sources import FolderSource
from safety_receipts.receipts.log.survey import entries_of
from safety_receipts.runner.engines.engine import Completion
from safety_receipts.runner.run.event import RunOptions
from safety_receipts.runner.run.journal_file import RUN_JOURNAL
from safety_receipts.verify.integrity import verify_bundle
from safety_receipts.verify.levels.times.logged import LogTerms

PLAN_PROOF, RECEIPT_PROOF = (f"{PROOFS}/{name}.tlog-proof" for name in ("plan", "receipt"))


@pytest.fixture
def logged(tmp_path: Path) -> Iterator[WitnessedLog]:
    """A log with two witnesses."""
    with witnessed_log(tmp_path / "logged") as made:
        yield made


def entries(log: WitnessedLog) -> list[EntryKind]:
    """Return what is logged."""
    leaves = entries_of(FolderSource(log.folder), log.log.size)
    found = [LogEntry.parse(leaf) for leaf in leaves]
    return [entry.type for entry in found if entry is not None]


def statuses(folder: Path, log: WitnessedLog, signer: Signer) -> dict[str, str]:
    """Return what becomes of the checks of a bundle."""
    found = verify_bundle(
        Bundle(folder),
        evaluators=TrustSet([signer.public]),
        log=LogTerms(log.own.policy, FolderSource(log.folder)),
    )
    return {str(check.name): check.status.value for check in found.checks}


def test_a_plan_is_logged_before_its_first_point(
    study: Study, tmp_path: Path, signer: Signer, logged: WitnessedLog
) -> None:
    folder, seen, watcher = tmp_path / "bundle", list[bool](), Quiet()

    def look(completion: Completion) -> Completion:
        seen.append((folder / PLAN_PROOF).exists() and entries(logged) == [EntryKind.PLAN])
        return completion

    run(
        study(queries=10),
        folder,
        signer,
        engine=lambda engine: Faulty(engine, look),
        watcher=watcher,
        log=logged.own,
    )
    assert seen
    assert all(seen)
    assert entries(logged) == [EntryKind.PLAN, EntryKind.RECEIPT]
    assert [one.told() for one in watcher.logged_entries] == [
        "plan is logged as entry 0 of example.com/log, seen by 2 witnesses",
        "receipt is logged as entry 1 of example.com/log, seen by 2 witnesses",
    ]
    found = statuses(folder, logged, signer)
    named = ("plan-logged", "receipt-logged", "best-of-n", "audits-complete")
    assert [found[name] for name in named] == ["passed"] * 4


def test_nothing_is_generated_while_too_few_witnesses_have_seen_the_plan(
    study: Study, tmp_path: Path, signer: Signer, logged: WitnessedLog
) -> None:
    folder, resolved, asked = tmp_path / "bundle", study(queries=10), list[Completion]()

    def count(completion: Completion) -> Completion:
        asked.append(completion)
        return completion

    logged.servers[1].shutdown()
    logged.servers[1].server_close()
    with pytest.raises(IncompleteError, match="too few witnesses have seen it"):
        run(resolved, folder, signer, engine=lambda one: Faulty(one, count), log=logged.own)
    assert asked == []
    assert not (folder / PLAN_PROOF).exists()
    # It waits in the log, and is added no second time when they answer.
    assert entries(logged) == [EntryKind.PLAN]
    policy = logged.policy.read_text("utf-8").replace(" all w0 w1", " any w0 w1")
    logged.policy.write_text(policy, encoding="utf-8")
    run(resolved, folder, signer, log=logged.own)
    assert entries(logged) == [EntryKind.PLAN, EntryKind.RECEIPT]
    assert statuses(folder, logged, signer)["plan-logged"] == "passed"


def test_a_receipt_whose_witnesses_are_away_is_sealed_and_logged_later(
    study: Study, tmp_path: Path, signer: Signer, logged: WitnessedLog
) -> None:
    folder, resolved = tmp_path / "bundle", study(queries=10)
    stranger = logged.strangers[1]

    def leave(completion: Completion) -> Completion:
        """Let a witness forget the log, once the plan is logged."""
        if logged.strangers[1] is stranger:
            logged.swap(1)
        return completion

    with pytest.raises(IncompleteError, match="is in the log, and too few witnesses"):
        run(resolved, folder, signer, engine=lambda one: Faulty(one, leave), log=logged.own)
    assert (folder / RECEIPT).exists()
    assert not (folder / RECEIPT_PROOF).exists()
    logged.swap(1)
    sealed = (folder / RECEIPT).read_bytes()
    assert run(resolved, folder, signer, log=logged.own).before
    assert (folder / RECEIPT).read_bytes() == sealed
    assert not (folder / RUN_JOURNAL).exists()
    found = statuses(folder, logged, signer)
    assert (found["plan-logged"], found["receipt-logged"]) == ("passed", "passed")
    assert entries(logged) == [EntryKind.PLAN, EntryKind.RECEIPT]


def test_a_run_that_began_unlogged_is_not_logged_afterwards(
    study: Study, tmp_path: Path, signer: Signer, logged: WitnessedLog
) -> None:
    folder, resolved = tmp_path / "bundle", study(queries=10)
    interrupted(resolved, folder, signer)
    for options in (None, RunOptions(memory=2**26, restart=True)):
        with pytest.raises(UsageError, match="was not logged before its run began"):
            run(resolved, folder, signer, options=options, log=logged.own)
    assert logged.log.size == 0
    run(resolved, folder, signer)
    with pytest.raises(UsageError, match="was not logged before its run began"):
        run(resolved, folder, signer, log=logged.own)


def test_an_interrupted_run_goes_on_with_its_proof(
    study: Study, tmp_path: Path, signer: Signer, logged: WitnessedLog
) -> None:
    folder, resolved, watcher = tmp_path / "bundle", study(queries=10), Quiet()
    interrupted(resolved, folder, signer, log=logged.own)
    run(resolved, folder, signer, watcher=watcher, log=logged.own)
    assert watcher.logged_entries[0].told().startswith("plan was logged as entry 0")
    assert entries(logged) == [EntryKind.PLAN, EntryKind.RECEIPT]
    assert statuses(folder, logged, signer)["plan-logged"] == "passed"


def test_a_witness_s_clock_that_is_ahead_is_waited_for(
    study: Study, tmp_path: Path, signer: Signer
) -> None:
    """The receipt states when the run began by the clock here, and the plan was seen before."""
    folder = tmp_path / "bundle"
    with witnessed_log(tmp_path / "logged", clock=lambda: int(time.time()) + 2) as logged:
        run(study(queries=10), folder, signer, log=logged.own)
        assert statuses(folder, logged, signer)["plan-logged"] == "passed"


def test_the_commands_take_a_log(
    study: Study,
    tmp_path: Path,
    signer: Signer,
    receipts: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A plan that is sealed and logged is run later; a policy without witnesses is told of."""
    log = make_log(tmp_path / "logged")
    key, folder = tmp_path / "key", tmp_path / "bundle"
    write_key_pair(key, signer)
    plan = study(queries=10).file
    words = ("--key", key, "--out", folder, "--device", "cpu")
    done = receipts("plan", plan, "--seal", *words, "--log", log.settings)
    assert done.code == 0, done.err
    assert "plan is logged as entry 0 of example.com/log, seen by 0 witnesses" in done.err
    assert "asks for no witness" in done.err
    for words_ in (("plan", plan), ("run", plan, "--limit", "4")):
        done = receipts(*words_, "--log", log.settings)
        assert (done.code, "--log" in done.err) == (2, True)
    monkeypatch.setenv("RECEIPTS_LOG", str(log.settings))
    done = receipts("run", plan, *words)
    assert done.code == 0, done.err
    assert "receipt is logged as entry 1" in done.err
    assert entries(log) == [EntryKind.PLAN, EntryKind.RECEIPT]
    monkeypatch.setenv("RECEIPTS_LOG", str(tmp_path / "absent.yaml"))
    done = receipts("run", plan, "--key", key, "--out", tmp_path / "other", "--device", "cpu")
    assert done.code == 2
    assert "absent.yaml" in done.err
    assert not (tmp_path / "other").exists()
