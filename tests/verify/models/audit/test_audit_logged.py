"""Audits that log what they sign: the announcement before the first draw, the result at the end."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from auditing import MEMORY, Event, make_event
from transparency import WitnessedLog, witnessed_log

from safety_receipts.receipts.bundle import AUDITS, PROOFS
from safety_receipts.receipts.errors import IntegrityError
from safety_receipts.receipts.keys import generate_key, write_key_pair
from safety_receipts.receipts.log.formats.entry import EntryKind, LogEntry
from safety_receipts.receipts.log.sources import FolderSource
from safety_receipts.receipts.log.survey import entries_of
from safety_receipts.verify.audit import replay

Receipts = Callable[..., Any]


@pytest.fixture(scope="module")
def event(tmp_path_factory: pytest.TempPathFactory) -> Event:
    made = make_event(tmp_path_factory.mktemp("event"), queries=80)
    write_key_pair(made.folder / "auditor", generate_key(), None)
    return made


@pytest.fixture
def logged(tmp_path: Path) -> Iterator[WitnessedLog]:
    """A log with a witness."""
    with witnessed_log(tmp_path / "logged", witnesses=1) as made:
        yield made


@pytest.fixture
def audit(event: Event, receipts: Receipts, logged: WitnessedLog) -> Receipts:
    """Audit a bundle and log it."""

    def call(bundle: Path, *words: str | Path) -> Any:
        who = ("--key", event.folder / "auditor", "--artifacts", event.resolved.file)
        machine = ("--device", "cpu", "--memory", str(MEMORY), "--epsilon", "0.2")
        named = ("--trust", event.key, "--log", logged.settings)
        return receipts("audit", bundle, *who, *named, *machine, *words)

    return call


def entries(log: WitnessedLog) -> list[EntryKind]:
    """Return what is logged."""
    leaves = entries_of(FolderSource(log.folder), log.log.size)
    found = [LogEntry.parse(leaf) for leaf in leaves]
    return [entry.type for entry in found if entry is not None]


def verified(receipts: Receipts, event: Event, bundle: Path, log: WitnessedLog) -> dict[str, Any]:
    """Return the checks of a bundle, by name."""
    trust = ("--trust", event.key, "--trust-auditor", event.folder / "auditor.pub")
    terms = ("--log-policy", log.policy, "--log", log.folder, "--allow-instrument", "--json")
    return {
        check["name"]: check
        for check in json.loads(receipts("verify", bundle, *trust, *terms).out)["checks"]
    }


def test_an_audit_is_announced_in_the_log_before_it_draws(
    *,
    event: Event,
    receipts: Receipts,
    audit: Receipts,
    logged: WitnessedLog,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bundle, before = event.copy(tmp_path / "bundle"), list[list[EntryKind]]()
    score = replay.Replayer.replay

    def look(self: replay.Replayer, *arguments: Any) -> Any:
        before.append(entries(logged))
        return score(self, *arguments)

    monkeypatch.setattr(replay.Replayer, "replay", look)
    done = audit(bundle)
    assert done.code == 0, done.err
    assert "audit start is logged as entry 0 of example.com/log, seen by 1 witness\n" in done.err
    assert before
    assert all(one == [EntryKind.AUDIT_START] for one in before)
    # The result in both of its forms: under `auditors` the public one alone is published.
    assert sorted(entries(logged)) == ["audit", "audit", "audit-start"]
    found = verified(receipts, event, bundle, logged)
    assert (found["audits-logged"]["status"], found["audits-complete"]["status"]) == (
        "passed",
        "passed",
    )
    # The same again shows the result, and adds nothing.
    assert audit(bundle).code == 0
    assert logged.log.size == 3


def test_an_audit_waits_for_witnesses_and_then_goes_on(
    event: Event, audit: Receipts, logged: WitnessedLog, tmp_path: Path
) -> None:
    bundle = event.copy(tmp_path / "bundle")
    logged.swap(0)
    done = audit(bundle)
    assert done.code == 5
    assert "is in the log, and too few witnesses have seen it" in done.err
    assert not (bundle / PROOFS).exists()
    (start,) = (bundle / AUDITS).glob("*.dsse.json")
    logged.swap(0)
    done = audit(bundle, "--out", tmp_path / "elsewhere")
    assert done.code == 0, done.err
    assert f"going on with audit {start.name.partition('.')[0]}" in done.err
    assert sorted(entries(logged)) == ["audit", "audit", "audit-start"]


def test_a_spoilt_record_is_logged_too(
    event: Event,
    audit: Receipts,
    logged: WitnessedLog,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What an evaluator spoils is signed, and nobody can drop it unseen."""

    def spoilt(*_: Any) -> Any:
        raise IntegrityError("a drawn point does not follow")

    monkeypatch.setattr(replay.Replayer, "replay", spoilt)
    done = audit(event.copy(tmp_path / "bundle"))
    assert done.code == 3
    assert "signed as audit" in done.err
    assert sorted(entries(logged)) == ["audit", "audit", "audit-start"]
