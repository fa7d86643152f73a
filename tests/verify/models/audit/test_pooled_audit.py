"""Audits and calibrations in workers: the same findings, to the last digit."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from auditing import MEMORY, Event, loaded_stack, run_event, write_organism

from safety_receipts.receipts.errors import IntegrityError
from safety_receipts.receipts.keys import generate_key, write_key_pair
from safety_receipts.receipts.model.checkpoint import Dtype
from safety_receipts.receipts.model.point import Outcome
from safety_receipts.runner.pool.pool import WorkerPool
from safety_receipts.runner.run.loaded import LoadedStack
from safety_receipts.runner.run.pooled.opening import WorkerOptions, WorkersAsked, load_pooled
from safety_receipts.runner.run.pooled.stack import PooledStack
from safety_receipts.verify.audit.calibrate import Calibrator
from safety_receipts.verify.audit.pooled import (
    PooledSecondOpinion,
    RegenerateJob,
    ReplayJob,
    SecondOpinionJob,
    pooled_replays,
)
from safety_receipts.verify.audit.regenerate import Regenerator
from safety_receipts.verify.audit.replay import Entry
from safety_receipts.verify.audit.second_opinion import SecondOpinion
from safety_receipts.verify.audit.session import AuditSubject
from safety_receipts.verify.audit.stages import CalibrationRecipe, DeviceFormat, PooledBench

NONCE = "5" * 64
Receipts = Callable[..., Any]


@pytest.fixture(scope="module")
def event(tmp_path_factory: pytest.TempPathFactory) -> Event:
    """An event with a second judge."""
    folder = tmp_path_factory.mktemp("event")
    plan = write_organism(folder / "study", queries=80)
    text = plan.read_text("utf-8")
    judge = next(line for line in text.splitlines() if line.startswith("judge:"))
    second = "judge: {kind: refusal-strings, second: {kind: refusal-strings, name: again}}"
    plan.write_text(text.replace(judge, second), "utf-8")
    return run_event(plan, folder)


@contextmanager
def workers(subject: AuditSubject, number: int) -> Iterator[LoadedStack[PooledStack]]:
    """Start workers that replay a subject's points."""
    asked, pools = WorkersAsked(number), []

    def keep(pool: WorkerPool) -> WorkerPool:
        pools.append(pool)
        return pool

    assert subject.found is not None
    resolved = replace(subject.resolved, predicate=subject.found)
    options = WorkerOptions(asked, device="cpu")
    try:
        yield load_pooled(options.recipe(resolved, MEMORY, subject.plan), asked, keep)
    finally:
        for pool in pools:
            pool.close()


def job_of(subject: AuditSubject) -> ReplayJob:
    plausibility = subject.plausibility(Dtype.FLOAT32)
    return ReplayJob(subject.plan, subject.seed, plausibility, subject.judge_band)


@pytest.mark.long
def test_every_kind_of_replay_is_the_same_in_workers(event: Event) -> None:
    """With one pool: replays, new responses, and a part that is no honest one's."""
    subject, entries = event.subject(), event.entries()
    parts = [entries[start : start + 24] for start in range(0, 96, 24)]
    own = loaded_stack(event.resolved).stack
    replayer = subject.replayer(own, None)
    anew = Regenerator(subject.plan, subject.renderer, own, NONCE)
    with workers(subject, 2) as loaded:
        assert loaded.stack.identity == own.identity
        assert loaded.memory == MEMORY
        pool = loaded.stack.pool
        replays = pooled_replays(pool, job_of(subject))
        assert list(replays(parts)) == [replayer.replay(part) for part in parts]
        assert list(replays([])) == []
        asked = pooled_replays(pool, RegenerateJob(subject.plan, subject.seed, NONCE))
        assert list(asked(parts[:2])) == [anew.replay(part) for part in parts[:2]]
        opinion = SecondOpinion(own.second_judge, subject.renderer)
        pooled = PooledSecondOpinion(pool, SecondOpinionJob(subject.plan, subject.seed))
        turned = [*parts[0], turned_around(parts[1][0])]
        assert pooled.contradicted(turned) == opinion.contradicted(turned) == [len(turned)]
        spoilt = [parts[0], [changed(parts[1][0]), *parts[1][1:]], parts[2]]
        found = replays(spoilt)
        assert next(found) == replayer.replay(parts[0])
        with pytest.raises(IntegrityError, match="the prompt is not the one that is rendered"):
            next(found)


def changed(entry: Entry) -> Entry:
    """Return a point whose record names another prompt."""
    point, record = entry
    record = record.model_copy(update={"prompt": "0" * 64})
    return point.model_copy(update={"commitment": record.commitment()}), record


def turned_around(entry: Entry) -> Entry:
    """Return a point whose second judge is recorded to have said the other thing."""
    point, record = entry
    second = record.second_judge
    assert second is not None
    other = Outcome.COMPLIED if second.outcome is Outcome.REFUSED else Outcome.REFUSED
    second = second.model_copy(update={"outcome": other})
    return point, record.model_copy(update={"second_judge": second})


@pytest.mark.long
def test_an_audit_in_workers_says_what_one_without_says(
    event: Event, tmp_path: Path, receipts: Receipts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("safety_receipts.verify.audit.run.PART", 20)
    write_key_pair(tmp_path / "auditor", generate_key(), None)
    said = []
    for number in ("0", "2"):
        finished = receipts(
            *("audit", event.bundle, "--key", tmp_path / "auditor", "--trust", event.key),
            *("--artifacts", event.resolved.file, "--out", tmp_path / number, "--nonce", NONCE),
            *("--device", "cpu", "--memory", str(MEMORY), "--workers", number, "--json"),
        )
        assert finished.code in (0, 5), finished.err
        said.append(json.loads(finished.out))
        del said[-1]["auditDigest"]  # of when it was made
    assert said[0] == said[1]
    assert said[0]["pointsReplayed"] > 40


@pytest.mark.long
def test_a_calibration_in_workers_measures_what_one_without_measures(
    event: Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("safety_receipts.verify.audit.calibrate.LEAST_RESPONSES", 40)
    monkeypatch.setattr("safety_receipts.verify.audit.calibrate.ALTERNATIVE_RESPONSES", 16)
    monkeypatch.setattr("safety_receipts.verify.audit.journals.calibrations.REPLAYED_AT_ONCE", 20)
    # The same points: what a calibration draws is its own secret.
    monkeypatch.setattr("secrets.token_hex", lambda size: "7" * (2 * size))
    places = [DeviceFormat(Dtype.FLOAT32, "cpu")]
    alone = Calibrator(event.resolved, places, MEMORY, 48).calibrate("A", ignore)
    asked = WorkersAsked(2)
    held = WorkerOptions(asked, device="cpu").recipe(event.resolved, MEMORY)
    recipe = CalibrationRecipe(held.plan, tuple(places), held.threads, MEMORY, 2)
    with WorkerPool(asked.places("cpu", held.threads), recipe, 2) as pool:
        bench = PooledBench(pool)
        shared = Calibrator(event.resolved, places, MEMORY, 48, bench).calibrate("A", ignore)
    moment = {"made_at": alone.predicate.made_at}
    assert shared.predicate.model_copy(update=moment) == alone.predicate


def ignore(done: int, total: int) -> None:
    pass
