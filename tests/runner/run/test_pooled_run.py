"""Runs in workers: the same journal and the same root, however many there are and whoever dies."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from begun_runs import StopAfter, begin, rows
from crew import Deaths, Meddled
from pooled_runs import BATCH, BegunInWorkers

from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.errors import IntegrityError
from safety_receipts.runner.pool.messages import Did, Reply
from safety_receipts.runner.run.journal import JournalEvent


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> BegunInWorkers:
    return begin(tmp_path_factory.mktemp("study"), BegunInWorkers)


@pytest.fixture(scope="module")
def alone(begun: BegunInWorkers, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run in this process."""
    return begun.alone(tmp_path_factory.mktemp("alone") / "bundle")


@pytest.fixture(scope="module")
def root(begun: BegunInWorkers, alone: Path) -> Sha256:
    return begun.root(alone)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_any_number_of_workers_gives_the_same_journal_and_root(
    begun: BegunInWorkers, alone: Path, root: Sha256, tmp_path: Path, workers: int
) -> None:
    folder = begun.copied(tmp_path / "bundle")
    assert begun.in_workers(folder, workers) == 0
    assert rows(folder) == rows(alone)
    assert begun.root(folder) == root


@pytest.mark.parametrize(("every", "late"), [(1, False), (2, False), (2, True)])
def test_a_worker_killed_at_every_kth_batch_changes_nothing(
    begun: BegunInWorkers, alone: Path, tmp_path: Path, every: int, late: bool
) -> None:
    """In the middle of it, or after its result was sent."""
    folder = begun.copied(tmp_path / "bundle")
    (tmp_path / "deaths").mkdir()
    first = BATCH - 1 if late else 0  # the last of a batch: it dies after the answer
    keys = range(first, begun.resolved.predicate.points, every * BATCH)
    deaths = Deaths(tmp_path / "deaths", frozenset(f"request-{key}" for key in keys), late=late)
    replaced = begun.in_workers(folder, 2, deaths=deaths, seconds=0.02 if late else 0)
    assert deaths.happened == len(keys) >= 2
    assert rows(folder, "point") == rows(alone, "point")
    starts = [row for row in rows(folder, "event")["event"] if row[1] == JournalEvent.START]
    if late:  # the last may die when all is done
        assert 1 <= len(starts) - 1 <= replaced <= len(keys)
    else:
        assert len(starts) - 1 == replaced == len(keys)


def test_a_worker_killed_while_loading_changes_nothing(
    begun: BegunInWorkers, alone: Path, tmp_path: Path
) -> None:
    folder = begun.copied(tmp_path / "bundle")
    (tmp_path / "deaths").mkdir()
    deaths = Deaths(tmp_path / "deaths", frozenset({"loading-0"}), times=2)
    assert begun.in_workers(folder, 1, deaths=deaths) == 2
    assert rows(folder, "point") == rows(alone, "point")


def test_a_result_delivered_twice_changes_nothing(
    begun: BegunInWorkers, alone: Path, tmp_path: Path
) -> None:
    folder = begun.copied(tmp_path / "bundle")
    twice = Meddled(lambda reply: [reply, reply] if isinstance(reply, Did) else [reply])
    begun.in_workers(folder, 2, places=twice)
    assert rows(folder) == rows(alone)


def test_a_result_that_comes_again_and_otherwise_stops_the_run(
    begun: BegunInWorkers, alone: Path, tmp_path: Path
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
    kept = sorted(rows(folder, "point")["point"], key=lambda row: row[1])
    assert kept == sorted(rows(alone, "point")["point"], key=lambda row: row[1])[: len(kept)]
    assert len(kept) <= BATCH


def test_a_stopped_driver_goes_on_with_another_number_of_workers(
    begun: BegunInWorkers, alone: Path, root: Sha256, tmp_path: Path
) -> None:
    folder = begun.copied(tmp_path / "bundle")
    with pytest.raises(KeyboardInterrupt):
        begun.in_workers(folder, 2, watch=StopAfter(2))
    assert len(rows(folder, "point")["point"]) == 2 * BATCH
    begun.in_workers(folder, 3)
    assert rows(folder, "point") == rows(alone, "point")
    assert begun.root(folder) == root
