"""How many rows a batch has at paper shape, by the real schedule and memory estimate."""

from __future__ import annotations

import random
from dataclasses import dataclass, fields, replace
from pathlib import Path
from statistics import median

from step_models.counting import DEVICE
from step_models.shapes import SHAPES

QUERIES = 1404
"""Queries of the paper; fewer are scheduled, and the steps scaled."""
NEW = 256
_DEMONSTRATION = (200, 490)
_QUERY = (60, 120)


@dataclass(frozen=True)
class BatchRows:
    """How a sweep is cut into batches."""

    rows: float
    """Rows of a batch, the median."""
    segments: float
    """Segments that a batch reads, the median."""
    steps: float
    """Decode steps of the whole sweep."""


def measure_rows(block: int, memory: int, queries: int) -> BatchRows:
    """Return how Llama-3.1-8B's batches are cut on a CUDA device.

    The preset's sweep of 31 conditions, two draws, demonstrations of 345 tokens on average.

    Args:
        block: Queries that share a draw; 0: all.
        memory: Bytes that a batch may take beside the weights.
        queries: How many queries are scheduled.
    """
    from safety_receipts.runner.checkpoint.model_facts import read_architecture
    from safety_receipts.runner.engines import batches
    from safety_receipts.runner.engines.batches import MemoryModel
    from safety_receipts.runner.engines.decoding import sampling
    from safety_receipts.runner.engines.prefix.schedule import (
        MAX_BATCH_ROWS,
        ScheduledRequest,
        build_schedule,
    )
    from safety_receipts.runner.prompts.prefix_tree import PrefixTree

    config = SHAPES["Llama-3.1-8B"].configuration()
    model = MemoryModel(
        read_architecture(config, Path("Llama-3.1-8B")),
        number_bytes=2,
        eager=False,
        chunk_logits=sampling.chunk_logits(DEVICE),
        kept_bytes=2,
    )
    if any(field.name == "pooled" for field in fields(MemoryModel)):
        model = replace(model, pooled=True)
    chunk = 8192  # of an older build, at these bounds
    if hasattr(batches, "widest_chunk"):
        chunk = batches.widest_chunk(model, memory, DEVICE)
    tree = PrefixTree()
    asks = [ScheduledRequest(tree.add(p), 0, NEW - 1) for p in _prompts(block or queries, queries)]
    schedule = build_schedule(
        asks,
        fits=lambda size: model.shared_batch_bytes(size, chunk) <= memory,
        max_rows=MAX_BATCH_ROWS,
        chunk=chunk,
    )
    scale = QUERIES / queries
    return BatchRows(
        rows=median(len(batch) for batch in schedule.batches),
        segments=median(len(schedule.segments(batch)) for batch in schedule.batches),
        steps=len(schedule.batches) * NEW * scale,
    )


def _prompts(block: int, queries: int) -> list[list[int]]:
    """Return the prompts of a sweep; token ids are drawn by what they belong to."""

    def words(number: int, *key: object) -> list[int]:
        draw = random.Random(str(key))
        return [draw.randrange(100, 100_000) for _ in range(number)]

    def demonstration(*key: object) -> list[int]:
        return [7, *words(random.Random(str(("length", key))).randint(*_DEMONSTRATION), *key)]

    found = []
    for query in range(queries):
        asked = [7, *words(random.Random(query).randint(*_QUERY), "query", query)]
        for draw in range(2):
            shown: dict[tuple[str, int], list[int]] = {}
            for labels in _sweep():
                prompt = list(range(1, 40))
                for letter, place in zip(labels, _places(labels), strict=True):
                    key = (letter, place)
                    if key not in shown:
                        shown[key] = demonstration(query // block, draw, *key)
                    prompt += shown[key]
                found.append(prompt + asked)
    return found


def _sweep() -> list[str]:
    """Return the orders of kinds of the preset's sweep, the baseline's first."""
    from safety_receipts.runner.plan.conditions import expand
    from safety_receipts.runner.plan.file import load_plan_file

    root = Path(__file__).parents[2]
    preset, _ = load_plan_file(root / "runner" / "presets" / "paper.yaml")
    orders: dict[tuple[int, int], str] = {}
    for condition in expand(preset).conditions:
        sizes = (condition.n_harmful, condition.n_benign)
        whole = sum(sizes) in (0, 4, 8, 16, 32, 64, 128) and 4 * sizes[0] % max(1, sum(sizes)) == 0
        if whole and condition.labels is not None:
            orders.setdefault(sizes, condition.labels)
    return list(orders.values())


def _places(labels: str) -> list[int]:
    counts: dict[str, int] = {}
    found = []
    for letter in labels:
        found.append(counts.setdefault(letter, 0))
        counts[letter] += 1
    return found
