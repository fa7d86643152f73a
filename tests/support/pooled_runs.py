"""Runs of the mock in workers, begun with one secret, so that their bytes can be compared."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from crew import Deaths
from light_runs import LightRecipe
from studies import write_study

from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.canonical import Sha256, event_seed
from safety_receipts.receipts.dsse import Envelope
from safety_receipts.receipts.keys import Signer, generate_key
from safety_receipts.receipts.model.plan import EngineKind
from safety_receipts.runner.engines.mock import MockEngine
from safety_receipts.runner.plan.resolve import resolve_plan
from safety_receipts.runner.plan.resolved import ResolvedPlan
from safety_receipts.runner.plan.sealed import digest_of, renderer_of, write_plan
from safety_receipts.runner.pool.places import WorkerPlaces
from safety_receipts.runner.pool.pool import WorkerPool
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
        places: WorkerPlaces | None = None,
        seconds: float = 0.0,
        **options: Any,
    ) -> int:
        """The same, in workers; return how many were replaced."""
        recipe = replace(self.recipe, deaths=deaths, seconds=seconds)
        with WorkerPool(places or Processes(), recipe, workers) as pool:
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


def begin_run(folder: Path) -> Begun:
    """Write a study, and begin its run."""
    sampling = "{method: seeded, temperature: 1.0, max_new_tokens: 6}"
    written = resolve_plan(write_study(folder, sampling=sampling))
    mock = written.predicate.model_copy(update={"engine": EngineKind.MOCK})
    resolved, signer = replace(written, predicate=mock), generate_key()
    envelope = write_plan(resolved, folder / "begun", signer)
    with Journal.open(run_journal_path(folder / "begun"), digest_of(resolved.predicate)):
        pass
    rendered = render_plan(renderer_of(resolved, None), lambda _, __: None)
    return Begun(resolved, rendered, signer, envelope, folder / "begun")
