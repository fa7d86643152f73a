"""Batches in flight at once: the order in which they are finished leaves no trace."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shuffled import Shuffled
from studies import write_study

from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.canonical import event_seed
from safety_receipts.receipts.dsse import Envelope
from safety_receipts.receipts.keys import Signer, generate_key
from safety_receipts.receipts.model.plan import EngineKind
from safety_receipts.runner.engines.engine import Engine
from safety_receipts.runner.engines.mock import MockEngine
from safety_receipts.runner.judges.make import load_judge
from safety_receipts.runner.plan.resolve import resolve_plan
from safety_receipts.runner.plan.resolved import ResolvedPlan
from safety_receipts.runner.plan.sealed import digest_of, renderer_of, write_plan
from safety_receipts.runner.prompts.responses import reader_of
from safety_receipts.runner.run.counting import RenderedPlan, render_plan
from safety_receipts.runner.run.event import run_of
from safety_receipts.runner.run.execute import CommittedCounts, RunStack
from safety_receipts.runner.run.journal import Journal, JournalEvent
from safety_receipts.runner.run.journal_file import run_journal_path
from safety_receipts.runner.run.seal import environment_of, seal_journal

BATCH = 7
NOON = "2026-01-31T12:00:00Z"


@dataclass(frozen=True)
class Begun:
    """A study whose run has begun: copies of its folder hold the same secret."""

    resolved: ResolvedPlan
    rendered: RenderedPlan
    signer: Signer
    envelope: Envelope
    folder: Path

    def engine(self) -> MockEngine:
        vocabulary = self.resolved.artifacts.checkpoint.facts.architecture.widths.vocabulary
        return MockEngine(vocabulary, self.resolved.predicate.prompt.context_limit, batch=BATCH)

    def execute(self, folder: Path, engine: Engine, commits: int | None = None) -> None:
        """Go on with the run in a copy of the folder; stop after so many commits."""
        seen: list[CommittedCounts] = []

        def watch(what: CommittedCounts) -> None:
            seen.append(what)
            if len(seen) == commits:
                raise KeyboardInterrupt

        plan = self.resolved.predicate
        reader = reader_of(self.resolved.artifacts.texts.chat, plan)
        stack = RunStack(engine, load_judge(plan.judge, None), None, reader)
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
                environment=environment_of(self.engine().identity, plan, None),
                signer=self.signer,
            )
        names = ("points.jsonl.zst", "responses.jsonl.zst", "receipt.dsse.json")
        return {path.name: path.read_bytes() for path in folder.iterdir() if path.name in names}


def rows(folder: Path) -> dict[str, list[Any]]:
    """Return everything that a journal holds, in the order in which it was written."""
    connection = sqlite3.connect(run_journal_path(folder))
    try:
        return {
            table: connection.execute(f"SELECT * FROM {table}").fetchall()
            for table in ("run", "point", "event")
        }
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
def in_turn(begun: Begun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run, batch after batch."""
    folder = tmp_path_factory.mktemp("in-turn") / "bundle"
    shutil.copytree(begun.folder, folder)
    begun.execute(folder, begun.engine())
    return folder


@pytest.fixture(scope="module")
def sealed(begun: Begun, in_turn: Path) -> dict[str, bytes]:
    return begun.seal(in_turn)


@pytest.fixture
def folder(begun: Begun) -> Iterator[Path]:
    with TemporaryDirectory() as name:
        shutil.copytree(begun.folder, Path(name) / "bundle")
        yield Path(name) / "bundle"


@given(st.integers(2, 9), st.randoms(use_true_random=False))
@settings(max_examples=30, deadline=None)
def test_any_order_of_completion_gives_the_same_journal(
    begun: Begun, in_turn: Path, concurrency: int, dice: random.Random
) -> None:
    engine = Shuffled(begun.engine(), concurrency, dice.choice)
    with TemporaryDirectory() as name:
        folder = Path(name) / "bundle"
        shutil.copytree(begun.folder, folder)
        begun.execute(folder, engine)
        assert rows(folder) == rows(in_turn)
    batches = range(-(-begun.resolved.predicate.points // BATCH))
    assert engine.submitted == list(batches)
    assert sorted(engine.collected) == list(batches)
    assert engine.closed == 1


@pytest.mark.parametrize("concurrency", [1, 3, 100])
def test_the_last_first_gives_the_same_evidence_and_root(
    begun: Begun, sealed: dict[str, bytes], folder: Path, concurrency: int
) -> None:
    """Whatever is in flight, the batch that was submitted last is finished first."""
    engine = Shuffled(begun.engine(), concurrency, max)
    begun.execute(folder, engine)
    assert (engine.collected == engine.submitted) == (concurrency == 1)
    assert begun.seal(folder) == sealed
    assert len(sealed) == 3
    receipt = Bundle(folder).receipt.statement.predicate
    assert receipt.evidence.size == begun.resolved.predicate.points


@given(st.integers(1, 9), st.integers(1, 8), st.randoms(use_true_random=False))
@settings(max_examples=20, deadline=None)
def test_a_stopped_run_holds_the_first_batches_and_goes_on_in_another_order(
    begun: Begun, in_turn: Path, concurrency: int, commits: int, dice: random.Random
) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name) / "bundle"
        shutil.copytree(begun.folder, folder)
        stopped = Shuffled(begun.engine(), concurrency, dice.choice)
        with pytest.raises(KeyboardInterrupt):
            begun.execute(folder, stopped, commits)
        # A batch is never there without those before it, however many were finished.
        assert [row[1] for row in sorted(rows(folder)["point"], key=lambda row: row[1])] == list(
            range(commits * BATCH)
        )
        assert stopped.closed == 1
        going_on = Shuffled(begun.engine(), 4, dice.choice)
        begun.execute(folder, going_on)
        assert going_on.submitted[0] == commits
        assert rows(folder)["point"] == rows(in_turn)["point"]


@given(st.integers(1, 6), st.randoms(use_true_random=False))
@settings(max_examples=20, deadline=None)
def test_no_more_is_kept_than_the_engine_takes_at_once(
    begun: Begun, concurrency: int, dice: random.Random
) -> None:
    """What waits for its turn counts as well, besides the batch in hand."""
    kept: list[int] = []
    judged = 0

    def choose(flying: Sequence[int]) -> int:
        kept.append(len(engine.submitted) - judged)
        return dice.choice(flying)

    engine = Shuffled(begun.engine(), concurrency, choose)
    plan = begun.resolved.predicate
    reader = reader_of(begun.resolved.artifacts.texts.chat, plan)
    stack = RunStack(engine, load_judge(plan.judge, None), None, reader)
    run = run_of(begun.resolved, stack, bytes(32), event_seed(begun.envelope.digest, None))
    for entries in run.finished(begun.rendered.points):
        assert len(entries) <= BATCH
        judged += 1
        assert len(engine.submitted) - judged <= concurrency
    assert max(kept) == min(concurrency, len(engine.submitted))
