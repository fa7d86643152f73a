"""Runs in workers: the same journal and the same root, however many there are and whoever dies."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from crew import Deaths, Meddled
from light_runs import LightRecipe
from studies import write_study

from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.canonical import Sha256, event_seed
from safety_receipts.receipts.dsse import Envelope
from safety_receipts.receipts.errors import IntegrityError
from safety_receipts.receipts.keys import Signer, generate_key
from safety_receipts.receipts.model.plan import EngineKind
from safety_receipts.runner.engines.mock import MockEngine
from safety_receipts.runner.plan.resolve import resolve_plan
from safety_receipts.runner.plan.resolved import ResolvedPlan
from safety_receipts.runner.plan.sealed import digest_of, renderer_of, write_plan
from safety_receipts.runner.pool.messages import Did, Reply
from safety_receipts.runner.pool.places import Places
from safety_receipts.runner.pool.pool import Pool
from safety_receipts.runner.pool.processes import Processes
from safety_receipts.runner.run.counting import RenderedPlan, render_plan
from safety_receipts.runner.run.event import run_of
from safety_receipts.runner.run.execute import CommittedCounts
from safety_receipts.runner.run.journal import Journal, JournalEvent
from safety_receipts.runner.run.journal_file import run_journal_path
from safety_receipts.runner.run.judging import UnitStack
from safety_receipts.runner.run.pooled.stack import PooledStack
from safety_receipts.runner.run.seal import environment_of, seal_journal

BATCH = 14
NOON = "2026-01-31T12:00:00Z"


@dataclass(frozen=True)
class Begun:
    """A study whose run has begun: copies of its folder hold the same secret."""

    resolved: ResolvedPlan
    rendered: RenderedPlan
    signer: Signer
    envelope: Envelope
    folder: Path

    @property
    def recipe(self) -> LightRecipe:
        """What workers load."""
        widths = self.resolved.artifacts.checkpoint.facts.architecture.widths
        plan = self.resolved.predicate
        return LightRecipe(widths.vocabulary, plan.prompt.context_limit, BATCH)

    @property
    def batches(self) -> int:
        """How many units there are."""
        return -(-self.resolved.predicate.points // BATCH)

    def copied(self, folder: Path) -> Path:
        return Path(shutil.copytree(self.folder, folder))

    def execute(
        self,
        folder: Path,
        stack: UnitStack,
        stop: Callable[[list[CommittedCounts]], bool] = lambda _: False,
    ) -> None:
        """Go on with the run in a folder."""
        seen: list[CommittedCounts] = []

        def watch(what: CommittedCounts) -> None:
            seen.append(what)
            if stop(seen):
                raise KeyboardInterrupt

        with Journal.open(run_journal_path(folder), self.envelope.digest) as journal:
            journal.note(JournalEvent.START, NOON)
            seed = event_seed(self.envelope.digest, None)
            run = run_of(self.resolved, stack, journal.secret, seed)
            run.execute(self.rendered.points, journal, watch, lambda: NOON)

    def in_workers(
        self,
        folder: Path,
        workers: int,
        *,
        deaths: Deaths | None = None,
        places: Places | None = None,
        **options: Any,
    ) -> int:
        """The same, in workers; return how many were replaced."""
        recipe = replace(self.recipe, deaths=deaths)
        with Pool(places or Processes(), recipe, workers) as pool:
            pool.open()
            self.execute(folder, PooledStack(pool, MockEngine().identity), **options)
            return pool.replacements

    def root(self, folder: Path) -> Sha256:
        """Seal a finished run, and return the root of its evidence."""
        plan = self.resolved.predicate
        with Journal.open(run_journal_path(folder), self.envelope.digest) as journal:
            seal_journal(
                folder,
                journal,
                plan_envelope=self.envelope,
                plan=plan,
                environment=environment_of(MockEngine().identity, plan, None),
                signer=self.signer,
            )
        return Bundle(folder).receipt.statement.predicate.evidence.root


def rows(folder: Path, *tables: str) -> list[Any]:
    """Return what a journal holds, in the order in which it was written."""
    connection = sqlite3.connect(run_journal_path(folder))
    try:
        return [connection.execute(f"SELECT * FROM {table}").fetchall() for table in tables]
    finally:
        connection.close()


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Begun:
    folder = tmp_path_factory.mktemp("study")
    sampling = "{method: seeded, temperature: 1.0, max_new_tokens: 6}"
    written = resolve_plan(write_study(folder, sampling=sampling))
    mock = written.predicate.model_copy(update={"engine": EngineKind.MOCK})
    resolved, signer = replace(written, predicate=mock), generate_key()
    envelope = write_plan(resolved, folder / "begun", signer)
    with Journal.open(run_journal_path(folder / "begun"), digest_of(resolved.predicate)):
        pass
    rendered = render_plan(renderer_of(resolved, None), lambda _, __: None)
    return Begun(resolved, rendered, signer, envelope, folder / "begun")


@pytest.fixture(scope="module")
def alone(begun: Begun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run in this process."""
    folder = begun.copied(tmp_path_factory.mktemp("alone") / "bundle")
    begun.execute(folder, begun.recipe.stack())
    return folder


@pytest.fixture(scope="module")
def root(begun: Begun, alone: Path) -> Sha256:
    return begun.root(alone)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_any_number_of_workers_gives_the_same_journal_and_root(
    begun: Begun, alone: Path, root: Sha256, tmp_path: Path, workers: int
) -> None:
    folder = begun.copied(tmp_path / "bundle")
    assert begun.in_workers(folder, workers) == 0
    assert rows(folder, "run", "point", "event") == rows(alone, "run", "point", "event")
    assert begun.root(folder) == root


@pytest.mark.parametrize(("every", "late"), [(1, False), (2, False), (2, True)])
def test_a_worker_killed_at_every_kth_batch_changes_nothing(
    begun: Begun, alone: Path, tmp_path: Path, every: int, late: bool
) -> None:
    """In the middle of it, or after its result was sent."""
    folder = begun.copied(tmp_path / "bundle")
    (tmp_path / "deaths").mkdir()
    keys = range(0, begun.resolved.predicate.points, every * BATCH)
    deaths = Deaths(tmp_path / "deaths", frozenset(f"request-{key}" for key in keys), late=late)
    replaced = begun.in_workers(folder, 2, deaths=deaths)
    assert deaths.happened == len(keys) >= 3
    assert rows(folder, "point") == rows(alone, "point")
    starts = [row for row in rows(folder, "event")[0] if row[1] == JournalEvent.START]
    if late:  # the last may die when all is done
        assert 1 <= len(starts) - 1 <= replaced <= len(keys)
    else:
        assert len(starts) - 1 == replaced == len(keys)


def test_a_worker_killed_while_loading_changes_nothing(
    begun: Begun, alone: Path, tmp_path: Path
) -> None:
    folder = begun.copied(tmp_path / "bundle")
    (tmp_path / "deaths").mkdir()
    deaths = Deaths(tmp_path / "deaths", frozenset({"loading-0"}), times=2)
    assert begun.in_workers(folder, 1, deaths=deaths) == 2
    assert rows(folder, "point") == rows(alone, "point")


def test_a_result_delivered_twice_changes_nothing(
    begun: Begun, alone: Path, tmp_path: Path
) -> None:
    folder = begun.copied(tmp_path / "bundle")
    twice = Meddled(lambda reply: [reply, reply] if isinstance(reply, Did) else [reply])
    begun.in_workers(folder, 2, places=twice)
    assert rows(folder, "run", "point", "event") == rows(alone, "run", "point", "event")


def test_a_result_that_comes_again_and_otherwise_stops_the_run(
    begun: Begun, alone: Path, tmp_path: Path
) -> None:
    def otherwise(reply: Reply) -> list[Reply]:
        if not isinstance(reply, Did) or reply.key != 1:
            return [reply]
        first, *others = reply.result
        longer = replace(first.completion, tokens=(*first.completion.tokens, 1))
        return [reply, replace(reply, result=[replace(first, completion=longer), *others])]

    folder = begun.copied(tmp_path / "bundle")
    with pytest.raises(IntegrityError, match="answered twice"):
        begun.in_workers(folder, 1, places=Meddled(otherwise))
    # What was committed before stands, and nothing of the batch in question does.
    kept = sorted(rows(folder, "point")[0], key=lambda row: row[1])
    assert kept == sorted(rows(alone, "point")[0], key=lambda row: row[1])[: len(kept)]
    assert len(kept) <= BATCH


def test_a_stopped_driver_goes_on_with_another_number_of_workers(
    begun: Begun, alone: Path, root: Sha256, tmp_path: Path
) -> None:
    folder = begun.copied(tmp_path / "bundle")
    with pytest.raises(KeyboardInterrupt):
        begun.in_workers(folder, 2, stop=lambda seen: len(seen) == 2)
    assert len(rows(folder, "point")[0]) == 2 * BATCH
    begun.in_workers(folder, 3, stop=lambda seen: False)
    assert rows(folder, "point") == rows(alone, "point")
    assert begun.root(folder) == root
