"""What befalls a batch stays with it, and what befalls an engine stops the caller."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from safety_receipts.receipts.errors import ReceiptsError, UsageError
from safety_receipts.receipts.model.point import Finish, Reason
from safety_receipts.runner.engines.answers import (
    SynchronousGeneration,
    closed,
    generate_completions,
    in_order,
)
from safety_receipts.runner.engines.engine import Answer, Completion, Request
from safety_receipts.runner.engines.mock import MockEngine

BATCHES = [[0, 1], [2, 3], [4, 5]]


def completion(key: int) -> Completion:
    return Completion(key, (1, 2), Finish.LENGTH)


def answer(number: int) -> Iterator[Completion]:
    """Break down in the middle of batch 1."""
    first, second = BATCHES[number]
    yield completion(first)
    if number == 1:
        raise ValueError("kaput")
    yield completion(second)


def test_a_fault_costs_what_its_batch_left_unanswered_and_no_other_batch() -> None:
    answers = list(in_order(SynchronousGeneration(BATCHES, answer), range(3)))
    assert [one.batch for one in answers] == [0, 1, 2]
    assert [len(one.completions) for one in answers] == [2, 1, 2]
    assert [one.trouble for one in answers] == [None, "ValueError: kaput", None]
    requests = [Request(key, (5,), 2, frozenset()) for key in BATCHES[1]]
    kept, lost = closed(requests, answers[1]).values()
    assert kept == completion(2)
    assert (lost.key, lost.finish, lost.reason) == (3, Finish.ERROR, Reason.ENGINE_ERROR)
    assert lost.error == "ValueError: kaput"


def test_a_request_that_nobody_answers_and_nobody_explains_fails_all_the_same() -> None:
    [found] = closed([Request(3, (5,), 2, frozenset())], Answer(0, ())).values()
    assert (found.reason, found.error) == (Reason.ENGINE_ERROR, "the engine gave no answer")


@pytest.mark.parametrize("error", [UsageError("no model"), MemoryError()])
def test_what_befalls_all_batches_alike_stops_the_caller(error: Exception) -> None:
    def refuse(_: int) -> Iterator[Completion]:
        raise error

    answers = in_order(SynchronousGeneration(BATCHES, refuse), range(3))
    with pytest.raises((ReceiptsError, MemoryError)):
        next(answers)


def test_nothing_is_computed_before_it_is_collected() -> None:
    """So that a run of one process never computes a batch while another one is judged."""
    begun: list[int] = []

    def note(number: int) -> Iterator[Completion]:
        begun.append(number)
        return answer(number)

    for place, _ in enumerate(in_order(SynchronousGeneration(BATCHES, note), range(3))):
        assert begun == list(range(place + 1))


class Broken(SynchronousGeneration):
    """Answers for another batch than it was given."""

    def collect(self) -> Answer:
        return Answer(super().collect().batch + 1, ())


class Closed(SynchronousGeneration):
    """Takes no batches."""

    concurrency = 0


def test_an_engine_that_mixes_up_its_batches_is_found_out() -> None:
    with pytest.raises(ValueError, match="batch 1 was answered and is not in flight"):
        next(in_order(Broken(BATCHES, answer), range(3)))
    with pytest.raises(ValueError, match="at least one batch"):
        next(in_order(Closed(BATCHES, answer), range(3)))


def test_a_generation_is_closed_when_the_caller_ends_early() -> None:
    closings: list[int] = []

    class Engine(MockEngine):
        def start(self, *given: object) -> SynchronousGeneration:  # type: ignore[override]
            generation = SynchronousGeneration(BATCHES, answer)
            generation.close = lambda: closings.append(1)  # type: ignore[method-assign]
            return generation

    stream = generate_completions(
        Engine(), [Request(key, (5,), 2, frozenset()) for key in range(6)]
    )
    next(stream)
    assert closings == []
    stream.close()  # type: ignore[attr-defined]
    assert closings == [1]
