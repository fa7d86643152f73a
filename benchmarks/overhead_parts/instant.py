"""Engines that cut batches as another does, and answer them at once."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from typing import Any, Protocol

from engine_peers.workloads import SPECIAL_TOKENS, VOCABULARY

from overhead_parts.study import NEW_TOKENS
from safety_receipts.receipts.model.point import Finish
from safety_receipts.runner.engines.engine import Answer, Completion

_RESPONSES = 997
"""Different responses; a prime, so that no condition has the same ones in the same places."""


class Answers(Protocol):
    """Stands in for an engine."""

    def answer(self, keys: Sequence[int]) -> tuple[Completion, ...]:
        """Return what stands in for the responses to requests of these keys."""


class InstantBatches:
    """Batches of another engine, answered by a stand-in."""

    concurrency = 1

    def __init__(self, engine: Answers, batches: Any, requests: Any) -> None:
        self.batches = batches
        self._engine, self._requests = engine, requests
        self._submitted: list[int] = []

    def submit(self, number: int) -> None:
        """Take a batch."""
        self._submitted.append(number)

    def collect(self) -> Answer:
        """Answer the batch that was taken first."""
        number = self._submitted.pop(0)
        keys = [self._requests[index].key for index in self.batches[number]]
        return Answer(number, self._engine.answer(keys))

    def close(self) -> None:
        """Forget what is not answered."""
        self._submitted.clear()


class InstantEngine:
    """Cuts batches as another engine does; a stand-in answers them.

    Args:
        engine: Cuts them.
        seconds: What is slept for each response.
    """

    def __init__(self, engine: Any, seconds: float) -> None:
        self._engine, self._seconds = engine, seconds
        self._responses = _responses()
        self.slept: list[float] = []
        """Seconds that each batch took."""

    @property
    def identity(self) -> Any:
        """The engine's."""
        return self._engine.identity

    def start(self, requests: Any, decoding: Any) -> InstantBatches:
        """Cut requests into batches."""
        return InstantBatches(self, self._engine.start(requests, decoding).batches, requests)

    def answer(self, keys: Sequence[int]) -> tuple[Completion, ...]:
        """Return what stands in for the responses to requests of these keys."""
        answers = tuple(
            Completion(key, self._responses[key % _RESPONSES], Finish.LENGTH) for key in keys
        )
        start = time.perf_counter()
        if self._seconds:
            time.sleep(self._seconds * len(keys))
        self.slept.append(time.perf_counter() - start)
        return answers


def _responses() -> list[tuple[int, ...]]:
    draw = random.Random(5)
    return [
        tuple(draw.randrange(len(SPECIAL_TOKENS), VOCABULARY) for _ in range(NEW_TOKENS))
        for _ in range(_RESPONSES)
    ]
