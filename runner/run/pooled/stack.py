"""A plan's units, answered by workers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from safety_receipts.runner.engines.answers import in_order
from safety_receipts.runner.engines.engine import Decoding, EngineIdentity, Request
from safety_receipts.runner.pool.messages import Trouble
from safety_receipts.runner.pool.pool import AHEAD, WorkerPool
from safety_receipts.runner.run.execute import RunStack
from safety_receipts.runner.run.judging import AnsweredRequest, AnsweredUnit, UnitAnswers, known
from safety_receipts.runner.run.pooled.packed import PackedRequests


@dataclass(frozen=True)
class GenerationJob:
    """Asks for the units of a plan; a part is a batch's number."""

    packed: PackedRequests
    """What an engine is asked."""
    queries: tuple[str, ...]
    """What judges are told was asked, one for each."""
    decoding: Decoding
    """How tokens are chosen."""

    def begin(self, hand: HasStack) -> GenerationWork:
        """Cut batches, in a worker."""
        return GenerationWork(hand.stack.start(self.packed.unpack(), self.queries, self.decoding))


class HasStack(Protocol):
    """What a worker works with, engine and judges among it."""

    @property
    def stack(self) -> RunStack:
        """Engine and judges."""


class GenerationWork:
    """Answers batches, in a worker.

    Args:
        answers: Answers them.
    """

    def __init__(self, answers: UnitAnswers) -> None:
        self._answers = answers
        self.facts = [list(batch) for batch in answers.batches]

    def do(self, part: int) -> list[AnsweredRequest]:
        """Return the answers to the requests of a batch, in order.

        Raises:
            ReceiptsError: Nothing can be generated, or judged, at all.
        """
        return next(self._answers.in_order([part]))()


@dataclass(frozen=True, slots=True)
class PooledAnswer:
    """What a worker answered to a batch."""

    batch: int
    """Its number."""
    answered: list[AnsweredRequest] | Trouble
    """The answers to its requests, in order, or why nothing can be answered at all."""


class PooledAnswers:
    """Batches that are generated, read and judged by workers.

    Args:
        pool: The workers; they were told of the job.
        batches: Indices of the requests that are answered together.
    """

    def __init__(self, pool: WorkerPool, batches: Sequence[Sequence[int]]) -> None:
        self.batches = batches
        self.concurrency = AHEAD * pool.workers
        """Most batches that are submitted and whose turn has not come."""
        self._pool = pool

    def submit(self, number: int) -> None:
        """Hand over a batch, by its number."""
        self._pool.submit(number, number)

    def collect(self) -> PooledAnswer:
        """Wait for any batch that was submitted and return what became of it."""
        return PooledAnswer(*self._pool.collect())

    def in_order(self, numbers: Sequence[int]) -> Iterator[AnsweredUnit]:
        """Yield the answers of batches in the order given."""
        for answer in in_order(self, numbers):
            if isinstance(answer.answered, Trouble):
                raise answer.answered.error()
            yield known(answer.answered)

    def close(self) -> None:
        """Give up what was not answered."""
        self._pool.end()


class PooledStack:
    """Workers that have loaded a plan's engine and judges.

    Args:
        pool: The workers.
        identity: What their engines are made of.
    """

    def __init__(self, pool: WorkerPool, identity: EngineIdentity) -> None:
        self.pool = pool
        """The workers."""
        self.identity = identity
        """What their engines are made of."""

    @property
    def replaced(self) -> int:
        """How many workers took a dead one's place."""
        return self.pool.replacements

    def start(
        self, requests: Sequence[Request], queries: Sequence[str], decoding: Decoding
    ) -> PooledAnswers:
        """Have workers cut requests into batches; see :class:`runner.run.judging.UnitStack`."""
        job = GenerationJob(PackedRequests.pack(requests), tuple(queries), decoding)
        return PooledAnswers(self.pool, self.pool.begin(job))
