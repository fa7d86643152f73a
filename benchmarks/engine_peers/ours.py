"""This project's engine."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from engine_peers.peer import Answers, counting
from engine_peers.workloads import Workload
from safety_receipts.receipts.model.checkpoint import Dtype
from safety_receipts.runner.engines.answers import generate_completions
from safety_receipts.runner.engines.engine import Completion, Request
from safety_receipts.runner.engines.load import load_model
from safety_receipts.runner.engines.transformers_engine import TransformersEngine

MEMORY = 4 * 2**30
"""Bytes that its batches may take; vLLM's keys and values get as much."""


class Ours:
    """``TransformersEngine.generate`` over all prompts at once."""

    packages: tuple[str, ...] = ("safety-receipts", "torch", "transformers")

    def __init__(self, folder: Path) -> None:
        self._loaded = load_model(folder, dtype=Dtype.FLOAT32, device="cpu")
        self._engine = TransformersEngine(self._loaded, memory=MEMORY)

    def run(self, workload: Workload, batch: int) -> Answers:
        """Answer every prompt; the engine chooses its batches."""
        with counting(self._loaded.model.model) as positions:
            outputs = by_key(generate_completions(self._engine, requests_of(workload)))
        return Answers([list(tokens) for tokens in outputs], positions.count)


def requests_of(workload: Workload) -> list[Request]:
    """Return a request for each prompt, without an end token."""
    return [
        Request(number, prompt.tokens, workload.shape.new_tokens, frozenset())
        for number, prompt in enumerate(workload.prompts)
    ]


def by_key(completions: Iterable[Completion]) -> list[tuple[int, ...]]:
    """Return the responses by key, which count from 0.

    Raises:
        RuntimeError: One failed.
    """
    found = {}
    for completion in completions:
        if completion.error is not None:
            raise RuntimeError(f"request {completion.key} failed: {completion.error}")
        found[completion.key] = completion.tokens
    return [found[key] for key in range(len(found))]
