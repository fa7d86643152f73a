"""Runs of a mock engine that have begun: copies of their folder hold the same secret."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from studies import write_study

from safety_receipts.receipts.canonical import event_seed
from safety_receipts.receipts.dsse import Envelope
from safety_receipts.receipts.keys import Signer, generate_key
from safety_receipts.receipts.model.plan import EngineKind
from safety_receipts.runner.engines.engine import Engine
from safety_receipts.runner.engines.mock import MockEngine
from safety_receipts.runner.judges.judge import ResponseJudge
from safety_receipts.runner.judges.make import load_judge
from safety_receipts.runner.plan.resolve import resolve_plan
from safety_receipts.runner.plan.resolved import ResolvedPlan
from safety_receipts.runner.plan.sealed import digest_of, renderer_of, write_plan
from safety_receipts.runner.prompts.responses import reader_of
from safety_receipts.runner.run.counting import RenderedPlan, render_plan
from safety_receipts.runner.run.execute import CommittedCounts, RunStack, run_of
from safety_receipts.runner.run.journal import Journal, JournalEvent
from safety_receipts.runner.run.journal_file import run_journal_path
from safety_receipts.runner.run.judging import UnitStack
from safety_receipts.runner.run.seal import environment_of, seal_journal

BATCH = 7
NOON = "2026-01-31T12:00:00Z"
Watch = Callable[[CommittedCounts], None]
"""Hears of commits."""


def unheard(_: CommittedCounts) -> None:
    """Hear of a commit, and do nothing."""


class StopAfter:
    """Stops a run, as a user does, after so many commits."""

    def __init__(self, commits: int) -> None:
        self._left = commits

    def __call__(self, _: CommittedCounts) -> None:
        self._left -= 1
        if not self._left:
            raise KeyboardInterrupt


@dataclass(frozen=True)
class Begun:
    """A study whose run has begun."""

    resolved: ResolvedPlan
    rendered: RenderedPlan
    signer: Signer
    envelope: Envelope
    folder: Path

    def copied(self, folder: Path) -> Path:
        """Copy the run's folder to another, which must not be there yet; return that."""
        return Path(shutil.copytree(self.folder, folder))

    def go_on(self, folder: Path, stack: UnitStack, watch: Watch = unheard) -> None:
        """Go on with the run in a copy of the folder."""
        with Journal.open(run_journal_path(folder), self.envelope.digest) as journal:
            journal.note(JournalEvent.START, NOON)
            seed = event_seed(self.envelope.digest, None)
            run = run_of(self.resolved, stack, journal.secret, seed)
            run.execute(self.rendered.points, journal, watch, lambda: NOON)

    def seal(self, folder: Path) -> dict[str, bytes]:
        """Seal a finished run; return the bundle's files."""
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
        names = ("points.jsonl.zst", "responses.jsonl.zst", "receipt.dsse.json")
        return {path.name: path.read_bytes() for path in folder.iterdir() if path.name in names}


class BegunHere(Begun):
    """One that an engine of this process goes on with, in batches of :data:`BATCH`."""

    def engine(self) -> MockEngine:
        """Return the engine."""
        vocabulary = self.resolved.artifacts.checkpoint.facts.architecture.widths.vocabulary
        return MockEngine(vocabulary, self.resolved.predicate.prompt.context_limit, batch=BATCH)

    def stack(self, engine: Engine) -> RunStack:
        """Return what the run is made with."""
        plan = self.resolved.predicate
        reader = reader_of(self.resolved.artifacts.texts.chat, plan)
        return RunStack(engine, load_judge(plan.judge, None), None, reader)

    def execute(
        self,
        folder: Path,
        engine: Engine,
        watch: Watch = unheard,
        judge: Callable[[ResponseJudge], ResponseJudge] = lambda judge: judge,
    ) -> None:
        """Go on with the run in a copy of the folder."""
        stack = self.stack(engine)
        self.go_on(folder, replace(stack, judge=judge(stack.judge)), watch)


AnyBegun = TypeVar("AnyBegun", bound=Begun)


def begin(folder: Path, kind: type[AnyBegun]) -> AnyBegun:
    """Write a small study, and begin its run."""
    sampling = "{method: seeded, temperature: 1.0, max_new_tokens: 6}"
    written = resolve_plan(write_study(folder, sampling=sampling))
    mock = written.predicate.model_copy(update={"engine": EngineKind.MOCK})
    resolved, signer = replace(written, predicate=mock), generate_key()
    envelope = write_plan(resolved, folder / "begun", signer)
    with Journal.open(run_journal_path(folder / "begun"), digest_of(resolved.predicate)):
        pass
    rendered = render_plan(renderer_of(resolved, None), lambda _, __: None)
    return kind(resolved, rendered, signer, envelope, folder / "begun")


def rows(folder: Path, *tables: str) -> dict[str, list[Any]]:
    """Return what some tables of a journal hold, or all, in the order in which it was written."""
    connection = sqlite3.connect(run_journal_path(folder))
    try:
        return {
            table: connection.execute(f"SELECT * FROM {table}").fetchall()
            for table in tables or ("run", "point", "event")
        }
    finally:
        connection.close()
