"""Submitting batches and collecting their answers, for engines of every kind.

Engines finish batches in any order.  What is done with the answers is done in the order of the
batches, so that it never depends on timing: :func:`in_order`.  Most engines of one process answer
a batch when they are asked for it: :class:`SynchronousGeneration`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from typing import Protocol, TypeVar

from safety_receipts.receipts.errors import ReceiptsError
from safety_receipts.receipts.model.point import Reason
from safety_receipts.runner.engines.engine import (
    GREEDY,
    Answer,
    Completion,
    Decoding,
    Engine,
    Request,
)
from safety_receipts.runner.engines.requests import failed

_NO_ANSWER = "the engine gave no answer"


class SynchronousGeneration:
    """Batches that are answered in this process and thread, each when it is collected.

    Args:
        batches: Indices of the requests that are answered together.
        answer: Yields the completions of a batch, by its number.  What it yields before it
            raises is kept.
    """

    concurrency = 1
    """Most batches that are submitted and whose turn has not come."""

    def __init__(
        self, batches: Sequence[Sequence[int]], answer: Callable[[int], Iterable[Completion]]
    ) -> None:
        self.batches = batches
        self._answer = answer
        self._submitted: deque[int] = deque()

    def submit(self, number: int) -> None:
        """Hand over a batch; nothing is computed yet."""
        self._submitted.append(number)

    def collect(self) -> Answer:
        """Answer the batch that was submitted first.

        Raises:
            ReceiptsError: Nothing can be generated at all.
        """
        return answered(self._submitted.popleft(), self._answer)

    def close(self) -> None:
        """Forget what was submitted."""
        self._submitted.clear()


def answered(number: int, answer: Callable[[int], Iterable[Completion]]) -> Answer:
    """Return the answer of a batch, whatever happens to it.

    Args:
        number: The batch's.
        answer: Yields its completions.

    Raises:
        ReceiptsError: Nothing can be generated at all.
        MemoryError: This process has no memory left.
    """
    completions: list[Completion] = []
    trouble = None
    try:
        for completion in answer(number):
            completions.append(completion)
    except (ReceiptsError, MemoryError):
        raise
    except Exception as error:  # any engine's own; it befalls this batch, and the others go on
        trouble = _named(error)
    return Answer(number, tuple(completions), trouble)


class Numbered(Protocol):
    """An answer of a batch."""

    @property
    def batch(self) -> int:
        """The batch's number."""


NumberedT_co = TypeVar("NumberedT_co", bound=Numbered, covariant=True)


class InFlight(Protocol[NumberedT_co]):
    """Batches that are submitted and collected, as :class:`Generation` says."""

    @property
    def concurrency(self) -> int:
        """Most batches, at least 1, that are submitted and whose turn has not come."""

    def submit(self, number: int) -> None:
        """Hand over a batch, by its number."""

    def collect(self) -> NumberedT_co:
        """Wait for any batch that was submitted and return what became of it, once."""


def in_order(generation: InFlight[NumberedT_co], numbers: Sequence[int]) -> Iterator[NumberedT_co]:
    """Yield the answers of batches in the order given, in whatever order they are finished.

    Batches are submitted in that order, too.  At most :attr:`Generation.concurrency` are in
    flight or wait for their turn, besides the one that was yielded last.

    Args:
        generation: Answers them; whoever started it closes it.
        numbers: Numbers of distinct batches.

    Raises:
        ReceiptsError: Nothing can be generated at all.
        ValueError: The engine takes no batches, or answers one that it was not given.
    """
    if generation.concurrency < 1:
        raise ValueError("an engine takes at least one batch at a time")
    left = deque(numbers)
    in_flight: set[int] = set()
    early: dict[int, NumberedT_co] = {}

    def submit() -> None:
        while left and len(in_flight) + len(early) < generation.concurrency:
            number = left.popleft()
            in_flight.add(number)
            generation.submit(number)

    submit()
    for number in numbers:
        while number not in early:
            answer = generation.collect()
            if answer.batch not in in_flight:
                raise ValueError(f"batch {answer.batch} was answered and is not in flight")
            in_flight.remove(answer.batch)
            early[answer.batch] = answer
        answer = early.pop(number)
        submit()  # so that an engine elsewhere works while this answer is made use of
        yield answer
        del answer  # its memory may be needed for the next one


def closed(requests: Iterable[Request], answer: Answer) -> dict[int, Completion]:
    """Return a completion for each request of a batch, by its key, whatever was answered."""
    given = {completion.key: completion for completion in answer.completions}
    trouble = answer.trouble or _NO_ANSWER
    return {
        request.key: given.get(request.key) or failed(request, Reason.ENGINE_ERROR, trouble)
        for request in requests
    }


def generate_completions(
    engine: Engine, requests: Sequence[Request], decoding: Decoding = GREEDY
) -> Iterator[Completion]:
    """Yield one completion for each request, batch by batch.

    A request that cannot be answered gives a completion with finish ``error``; the others are
    answered all the same.

    Raises:
        ReceiptsError: Nothing can be generated at all.
        ValueError: Two requests have one key.
    """
    with closing(engine.start(requests, decoding)) as generation:
        for answer in in_order(generation, range(len(generation.batches))):
            members = [requests[index] for index in generation.batches[answer.batch]]
            yield from closed(members, answer).values()


def completions_of(
    engine: Engine, requests: Sequence[Request], decoding: Decoding = GREEDY
) -> dict[int, Completion]:
    """Return the completion of every request, by key: those of :func:`generate_completions`."""
    return {
        completion.key: completion
        for completion in generate_completions(engine, requests, decoding)
    }


def _named(error: Exception) -> str:
    """Return an error as it is told of."""
    return f"{type(error).__name__}: {error}"
