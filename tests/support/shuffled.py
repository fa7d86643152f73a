"""A second kind of engine: the mock's batches in threads, finished in an order of a test's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from threading import Event

from safety_receipts.runner.engines.engine import (
    GREEDY,
    Answer,
    Decoding,
    Engine,
    EngineIdentity,
    Generation,
    Margins,
    Request,
)

_PATIENCE = 60
"""Seconds after which a thread is taken for dead."""

Choose = Callable[[Sequence[int]], int]
"""Says which of the batches in flight is finished next."""


class Shuffled:
    """Runs another engine's batches in threads; they are finished in any order.

    Each thread has its own generation, as a worker on another machine would have.

    Args:
        engine: Answers.
        concurrency: Most batches at once, each in its thread.
        choose: Says which of the batches in flight is finished next.
    """

    def __init__(self, engine: Engine, concurrency: int, choose: Choose) -> None:
        self._engine = engine
        self._concurrency = concurrency
        self._choose = choose
        self.submitted: list[int] = []
        """Numbers of batches, in the order in which they were begun."""
        self.collected: list[int] = []
        """The same in the order in which they were finished."""
        self.closed = 0
        """Generations that were closed."""

    @property
    def identity(self) -> EngineIdentity:
        return self._engine.identity

    def start(self, requests: Sequence[Request], decoding: Decoding = GREEDY) -> Generation:
        return _InThreads(self, lambda: self._engine.start(requests, decoding))

    def score(
        self,
        requests: Sequence[tuple[Request, tuple[int, ...]]],
        decoding: Decoding = GREEDY,
    ) -> Iterator[Margins]:
        return self._engine.score(requests, decoding)


class _InThreads:
    def __init__(self, engine: Shuffled, start: Callable[[], Generation]) -> None:
        self.concurrency = engine._concurrency
        self.batches = start().batches
        self._engine = engine
        self._start = start
        self._pool = ThreadPoolExecutor(self.concurrency)
        self._gates: dict[int, Event] = {}
        self._finished: SimpleQueue[Answer] = SimpleQueue()

    def submit(self, number: int) -> None:
        self._engine.submitted.append(number)
        gate = self._gates[number] = Event()
        self._pool.submit(self._work, number, gate)

    def _work(self, number: int, gate: Event) -> None:
        generation = self._start()
        generation.submit(number)
        answer = generation.collect()
        gate.wait(_PATIENCE)
        self._finished.put(answer)

    def collect(self) -> Answer:
        number = self._engine._choose(sorted(self._gates))
        self._gates.pop(number).set()
        answer = self._finished.get(timeout=_PATIENCE)
        self._engine.collected.append(answer.batch)
        return answer

    def close(self) -> None:
        for gate in self._gates.values():
            gate.set()
        self._pool.shutdown()
        self._engine.closed += 1
