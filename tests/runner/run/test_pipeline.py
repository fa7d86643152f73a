"""What follows the engine: it overlaps, keeps its order and its bounds, and fails as it should."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from begun_runs import BATCH, BegunHere, begin, rows
from running import FaultyJudge

from safety_receipts.receipts.errors import FileAccessError, IncompleteError
from safety_receipts.receipts.model.judge import JudgeKind
from safety_receipts.runner.engines.engine import (
    GREEDY,
    Answer,
    Decoding,
    Engine,
    EngineIdentity,
    Generation,
    Request,
)
from safety_receipts.runner.judges.judge import Exchange, Judgement, ResponseJudge
from safety_receipts.runner.run.execute import CommittedCounts
from safety_receipts.runner.run.journal import Journal, JournalEntry
from safety_receipts.runner.run.units.follower import FOLLOWING, Follower

PATIENCE = 60
"""Seconds after which a thread is taken for dead."""
Happen = Callable[[int], None]
"""Does what a test wants to happen at a batch, given its number."""


class Watched:
    """An engine that tells a test of every batch before it answers it."""

    def __init__(self, engine: Engine, happen: Happen) -> None:
        self._engine, self._happen = engine, happen

    @property
    def identity(self) -> EngineIdentity:
        return self._engine.identity

    def start(self, requests: Sequence[Request], decoding: Decoding = GREEDY) -> Generation:
        generation = self._engine.start(requests, decoding)
        plain: Any = generation.collect
        numbers = iter(range(len(generation.batches)))

        def collect() -> Answer:
            self._happen(next(numbers))
            answer: Answer = plain()
            return answer

        generation.collect = collect  # type: ignore[method-assign]
        return generation

    def score(self, *arguments: Any) -> Any:
        raise NotImplementedError


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> BegunHere:
    return begin(tmp_path_factory.mktemp("study"), BegunHere)


@pytest.fixture(scope="module")
def unbroken(begun: BegunHere, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The journal of a run that nothing stopped."""
    folder = begun.copied(tmp_path_factory.mktemp("unbroken") / "bundle")
    begun.execute(folder, begun.engine())
    return rows(folder)


@pytest.fixture
def folder(begun: BegunHere, tmp_path: Path) -> Path:
    return begun.copied(tmp_path / "bundle")


@pytest.fixture(autouse=True)
def nothing_goes_on() -> Iterator[None]:
    """No thread is left behind, whatever happened."""
    yield
    assert [thread.name for thread in threading.enumerate() if thread.name == "follower"] == []


def kept(folder: Path) -> list[int]:
    """Return the indices of the points that a journal holds."""
    return sorted(row[1] for row in rows(folder)["point"])


def last_batch(begun: BegunHere) -> int:
    return -(-begun.resolved.predicate.points // BATCH) - 1


def test_the_engine_goes_on_while_a_unit_is_committed(begun: BegunHere, folder: Path) -> None:
    second_asked = Event()
    waited: list[bool] = []

    def happen(number: int) -> None:
        if number == 1:
            second_asked.set()

    def watch(_: CommittedCounts) -> None:
        waited.append(second_asked.wait(PATIENCE))

    begun.execute(folder, Watched(begun.engine(), happen), watch)
    assert all(waited)


def test_no_more_than_a_few_units_wait_behind_the_engine(
    begun: BegunHere, folder: Path, unbroken: dict[str, Any]
) -> None:
    asked, commits, full = [0], [0], Event()
    ahead: list[int] = []

    def happen(number: int) -> None:
        asked[0] = number + 1
        ahead.append(asked[0] - commits[0])
        if number == FOLLOWING:
            full.set()

    def watch(_: CommittedCounts) -> None:
        assert full.wait(PATIENCE)  # the first one's commit waits until the engine is far ahead
        commits[0] += 1

    begun.execute(folder, Watched(begun.engine(), happen), watch)
    assert FOLLOWING + 1 in ahead
    assert max(ahead) == FOLLOWING + 1  # what it answers now, besides those behind it
    assert rows(folder) == unbroken


@pytest.mark.parametrize("at", [0, 1, 3, None])
def test_what_the_engine_answered_before_it_failed_is_committed(
    begun: BegunHere, folder: Path, unbroken: dict[str, Any], at: int | None
) -> None:
    number = last_batch(begun) if at is None else at

    def happen(asked: int) -> None:
        if asked == number:
            raise IncompleteError("the engine is gone")

    with pytest.raises(IncompleteError, match="the engine is gone"):
        begun.execute(folder, Watched(begun.engine(), happen))
    assert kept(folder) == list(range(number * BATCH))
    begun.execute(folder, begun.engine())
    assert rows(folder)["point"] == unbroken["point"]


@pytest.mark.parametrize("at", [0, 1, 3, None])
def test_an_interrupt_of_the_engine_keeps_what_it_answered(
    begun: BegunHere, folder: Path, unbroken: dict[str, Any], at: int | None
) -> None:
    number = last_batch(begun) if at is None else at

    def happen(asked: int) -> None:
        if asked == number:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        begun.execute(folder, Watched(begun.engine(), happen))
    assert kept(folder) == list(range(number * BATCH))
    begun.execute(folder, begun.engine())
    assert rows(folder)["point"] == unbroken["point"]


@pytest.mark.parametrize("at", [0, 1, 3, None])
def test_a_judge_that_can_judge_nothing_stops_the_run(
    begun: BegunHere, folder: Path, unbroken: dict[str, Any], at: int | None
) -> None:
    number = last_batch(begun) if at is None else at
    asked: list[int] = []

    def fault(judgements: list[Judgement]) -> list[Judgement]:
        asked.append(len(judgements))
        if len(asked) == number + 1:
            raise IncompleteError("the judge is gone")
        return judgements

    with pytest.raises(IncompleteError, match="the judge is gone"):
        begun.execute(folder, begun.engine(), judge=lambda judge: FaultyJudge(judge, fault))
    assert kept(folder) == list(range(number * BATCH))
    assert len(asked) == number + 1  # nothing was judged after it
    begun.execute(folder, begun.engine())
    assert rows(folder)["point"] == unbroken["point"]


@pytest.mark.parametrize("at", [0, 1, 3, None])
def test_a_journal_that_cannot_be_written_stops_the_run(
    begun: BegunHere,
    folder: Path,
    unbroken: dict[str, Any],
    at: int | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    number = last_batch(begun) if at is None else at
    added: list[int] = []
    plain = Journal.add

    def add(self: Journal, entries: Sequence[JournalEntry], at: str) -> None:
        if len(added) == number:
            raise FileAccessError("cannot write: no space left", file=self.path)
        added.append(len(entries))
        plain(self, entries, at)

    with monkeypatch.context() as patched:
        patched.setattr(Journal, "add", add)
        with pytest.raises(FileAccessError, match="no space left"):
            begun.execute(folder, begun.engine())
    assert kept(folder) == list(range(number * BATCH))
    begun.execute(folder, begun.engine())
    assert rows(folder)["point"] == unbroken["point"]


def test_of_two_failures_the_earlier_unit_s_is_told(begun: BegunHere, folder: Path) -> None:
    """The judge of an earlier unit fails while the engine fails on a later one."""
    engine_failed = Event()

    def happen(asked: int) -> None:
        if asked == 2:
            engine_failed.set()
            raise IncompleteError("the engine is gone")

    def fault(_: list[Judgement]) -> list[Judgement]:
        assert engine_failed.wait(PATIENCE)
        raise IncompleteError("the judge is gone")

    with pytest.raises(IncompleteError, match="the judge is gone"):
        begun.execute(
            folder,
            Watched(begun.engine(), happen),
            judge=lambda judge: FaultyJudge(judge, fault),
        )
    assert kept(folder) == []


class OnDevice:
    """A judge that is said to have weights in this process."""

    def __init__(self, judge: ResponseJudge, asked: Callable[[], None]) -> None:
        self._judge, self._asked = judge, asked
        self.identity = judge.identity.model_copy(update={"kind": JudgeKind.CLASSIFIER})

    def judge_many(self, exchanges: Sequence[Exchange]) -> list[Judgement]:
        self._asked()
        return self._judge.judge_many(exchanges)


@pytest.mark.parametrize("weights", [True, False])
def test_a_judge_with_weights_here_takes_turns_with_the_engine(
    begun: BegunHere, folder: Path, unbroken: dict[str, Any], weights: bool
) -> None:
    main = threading.current_thread()
    threads: list[bool] = []

    def asked() -> None:
        threads.append(threading.current_thread() is main)

    def fault(judgements: list[Judgement]) -> list[Judgement]:
        asked()
        return judgements

    begun.execute(
        folder,
        begun.engine(),
        judge=lambda judge: OnDevice(judge, asked) if weights else FaultyJudge(judge, fault),
    )
    assert set(threads) == {weights}
    assert rows(folder) == unbroken


# The follower by itself


def follow(jobs: Sequence[Callable[[], None]], then: Exception | None = None) -> None:
    """Have a follower do jobs; raise an error after the last was handed over."""
    with Follower(len(jobs)) as follower:
        for job in jobs:
            follower.do(job)
        if then is not None:
            raise then


def test_jobs_are_done_in_order_by_one_thread() -> None:
    done: list[tuple[int, int]] = []

    def job(number: int) -> Callable[[], None]:
        return lambda: done.append((number, threading.get_ident()))

    follow([job(number) for number in range(100)])
    assert [number for number, _ in done] == list(range(100))
    threads = {thread for _, thread in done}
    assert len(threads) == 1
    assert threads != {threading.get_ident()}


def test_after_a_failure_no_job_is_done() -> None:
    done: list[str] = []

    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        follow([lambda: done.append("first"), fail, lambda: done.append("third")])
    assert done == ["first"]


class Interrupted:
    """A queue on which the first wait is interrupted.

    Args:
        queue: The queue.
        before_first: Called before the interrupt.
        before_second: Called before the second wait.
    """

    def __init__(
        self, queue: Any, before_first: Callable[[], Any], before_second: Callable[[], Any]
    ) -> None:
        self._queue = queue
        self._before_first, self._before_second = before_first, before_second
        self.put = queue.put
        self.waits = 0

    def get(self) -> None:
        self.waits += 1
        if self.waits == 1:
            self._before_first()
            raise KeyboardInterrupt
        self._before_second()
        self._queue.get()


@pytest.mark.parametrize("then", [None, IncompleteError("gone")])
def test_an_interrupt_while_jobs_are_waited_for_drops_those_not_begun(
    then: Exception | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = Event(), Event()
    done: list[str] = []
    plain = Follower.__enter__

    def enter(self: Follower) -> Follower:
        ended: Any = Interrupted(self._ended, lambda: begun.wait(PATIENCE), go_on.set)
        self._ended = ended
        return plain(self)

    def first() -> None:
        begun.set()
        assert go_on.wait(PATIENCE)
        done.append("first")

    monkeypatch.setattr(Follower, "__enter__", enter)
    with pytest.raises(KeyboardInterrupt if then is None else IncompleteError):
        follow([first, lambda: done.append("second")], then)
    assert done == ["first"]
