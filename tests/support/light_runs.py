"""Workers for tests of runs: what they load is light, and a test says when they die.

Everything here is pickled and sent to processes of their own.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

if multiprocessing.parent_process() is not None:
    # In a worker: nothing here computes with torch, and loading it takes longer than all the rest.
    sys.modules["torch"] = None  # type: ignore[assignment]

from crew import Deaths  # as above

from safety_receipts.runner.engines.engine import Request
from safety_receipts.runner.engines.mock import MockEngine
from safety_receipts.runner.judges.refusal_strings import RefusalStringsJudge
from safety_receipts.runner.pool.messages import Opened
from safety_receipts.runner.prompts.responses import ResponseText
from safety_receipts.runner.run.execute import RunStack


@dataclass(frozen=True)
class Hashed:
    """Responds with a hash of the request, and dies of some."""

    vocabulary: int
    deaths: Deaths | None = None
    seconds: float = 0.0

    def __call__(self, request: Request) -> Sequence[int]:
        time.sleep(self.seconds)
        if self.deaths is not None:
            self.deaths.of(f"request-{request.key}")
        said = hashlib.sha256(repr((tuple(request.tokens), request.seed)).encode()).digest()
        return [byte % self.vocabulary for byte in said[: request.max_new_tokens]]


class LightReader:
    """Reads responses without a tokenizer."""

    def read(self, tokens: Sequence[int]) -> ResponseText:
        return ResponseText("I cannot do that" if tokens[0] % 3 else "Sure, here you are", None)


@dataclass(frozen=True)
class LightHand:
    """What a light worker works with."""

    stack: RunStack


@dataclass(frozen=True)
class LightRecipe:
    """Loads the mock, a rule and a reader of no tokenizer."""

    vocabulary: int
    context: int
    batch: int
    deaths: Deaths | None = None
    settled: bool = True
    seconds: float = 0.0
    """For each request."""

    def stack(self) -> RunStack:
        """Return what the workers load, for this process."""
        engine = MockEngine(
            self.vocabulary,
            self.context,
            Hashed(self.vocabulary, self.deaths, self.seconds),
            self.batch,
        )
        return RunStack(engine, RefusalStringsJudge(), None, LightReader())

    def after(self, facts: Any) -> LightRecipe:
        return self

    def open(self, place: int) -> Opened:
        if self.deaths is not None:
            self.deaths.of(f"loading-{place}")
        return Opened(LightHand(self.stack()), {"threads": "1"}, "light")
