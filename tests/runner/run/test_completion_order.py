"""Batches in flight at once: the order in which they are finished leaves no trace."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from begun_runs import BATCH, BegunHere, StopAfter, begin, rows
from hypothesis import given, settings
from hypothesis import strategies as st
from shuffled import Shuffled

from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.canonical import event_seed
from safety_receipts.runner.run.execute import run_of


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> BegunHere:
    return begin(tmp_path_factory.mktemp("study"), BegunHere)


@pytest.fixture(scope="module")
def in_turn(begun: BegunHere, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run, batch after batch."""
    folder = begun.copied(tmp_path_factory.mktemp("in-turn") / "bundle")
    begun.execute(folder, begun.engine())
    return folder


@pytest.fixture(scope="module")
def sealed(begun: BegunHere, in_turn: Path) -> dict[str, bytes]:
    return begun.seal(in_turn)


@pytest.fixture
def folder(begun: BegunHere) -> Iterator[Path]:
    with TemporaryDirectory() as name:
        yield begun.copied(Path(name) / "bundle")


@given(st.integers(2, 9), st.randoms(use_true_random=False))
@settings(max_examples=30, deadline=None)
def test_any_order_of_completion_gives_the_same_journal(
    begun: BegunHere, in_turn: Path, concurrency: int, dice: random.Random
) -> None:
    engine = Shuffled(begun.engine(), concurrency, dice.choice)
    with TemporaryDirectory() as name:
        folder = Path(name) / "bundle"
        begun.copied(folder)
        begun.execute(folder, engine)
        assert rows(folder) == rows(in_turn)
    batches = range(-(-begun.resolved.predicate.points // BATCH))
    assert engine.submitted == list(batches)
    assert sorted(engine.collected) == list(batches)
    assert engine.closed == 1


@pytest.mark.parametrize("concurrency", [1, 3, 100])
def test_the_last_first_gives_the_same_evidence_and_root(
    begun: BegunHere, sealed: dict[str, bytes], folder: Path, concurrency: int
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
    begun: BegunHere, in_turn: Path, concurrency: int, commits: int, dice: random.Random
) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name) / "bundle"
        begun.copied(folder)
        stopped = Shuffled(begun.engine(), concurrency, dice.choice)
        with pytest.raises(KeyboardInterrupt):
            begun.execute(folder, stopped, StopAfter(commits))
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
    begun: BegunHere, concurrency: int, dice: random.Random
) -> None:
    """What waits for its turn counts as well, besides the batch in hand."""
    kept: list[int] = []
    judged = 0

    def choose(flying: Sequence[int]) -> int:
        kept.append(len(engine.submitted) - judged)
        return dice.choice(flying)

    engine = Shuffled(begun.engine(), concurrency, choose)
    run = run_of(
        begun.resolved, begun.stack(engine), bytes(32), event_seed(begun.envelope.digest, None)
    )
    for entries in run.finished(begun.rendered.points):
        assert len(entries) <= BATCH
        judged += 1
        assert len(engine.submitted) - judged <= concurrency
    assert max(kept) == min(concurrency, len(engine.submitted))
