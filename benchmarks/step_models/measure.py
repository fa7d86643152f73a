"""Measures one decode step of one model, among fake tensors; prints a line of JSON.

It runs against whichever checkout of the package its process imports, so that two can be
compared: what it uses of the engine is what both have.
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch

from step_models.counting import DEVICE, Counted, StepCounts, stored_bytes
from step_models.shapes import make_model

OWN = 300
"""Tokens that a row keeps for itself at the measured steps, on average."""
OWN_SPREAD = 50
"""Most that a row has more or fewer."""
FIRST, STEPS = 8, 8
"""The first measured step, and how many are: hosts may read every few steps only."""


def prompts(rows: int, prefix: int, segments: int) -> list[list[int]]:
    """Return prompts whose prefixes, ``prefix`` tokens each, fall into so many segments.

    One segment: all share it.  Up to 16: all share the first half, and an equal number of rows
    each other half.  More: three levels, about six on the second.
    """
    draw = random.Random(19)

    def words(number: int) -> list[int]:
        return [draw.randrange(10, 50_000) for _ in range(number)]

    counts = [1] if segments == 1 else [1, segments - 1]
    if segments > 16:
        counts = [1, 6, segments - 7]
    length = prefix // len(counts)
    levels = [[words(length) for _ in range(count)] for count in counts]
    found = []
    middle = OWN - FIRST - STEPS // 2
    for row in range(rows):
        last = row * counts[-1] // rows
        chain = [level[last * len(level) // counts[-1]] for level in levels]
        own = words(middle - OWN_SPREAD + 2 * OWN_SPREAD * (row * 37 % rows) // rows)
        found.append([token for part in chain for token in part] + own)
    return found


class _EnoughError(Exception):
    """The steps were measured."""


def measure_ours(name: str, shape: dict[str, int], layers: int | None = None) -> dict[str, Any]:
    """Return what a decode step of the imported engine costs, and the least it could.

    Args:
        name: The model.
        shape: rows, prefix and segments.
        layers: Only so many of the model's layers.
    """
    from safety_receipts.runner.engines.decoding.drafts import Draft
    from safety_receipts.runner.engines.engine import GREEDY, Request
    from safety_receipts.runner.engines.forward import Forward
    from safety_receipts.runner.engines.load import wrap_model
    from safety_receipts.runner.engines.prefix import attention, prefix_batches
    from safety_receipts.runner.engines.prefix.schedule import ScheduledRequest, build_schedule
    from safety_receipts.runner.engines.prefix.shared_prefix import PassSetting
    from safety_receipts.runner.prompts.prefix_tree import in_one_tree

    tokens = prompts(shape["rows"], shape["prefix"], shape["segments"])
    requests = [Request(i, p, FIRST + STEPS + 9, frozenset(), 0) for i, p in enumerate(tokens)]
    schedule = build_schedule(
        [
            ScheduledRequest(prompt, 0, request.max_new_tokens - 1)
            for prompt, request in zip(in_one_tree(tokens), requests, strict=True)
        ],
        fits=lambda _: True,
        max_rows=len(tokens),
        chunk=8192,
    )
    kernel = next(iter(getattr(attention, "kernels_of", lambda _: attention.Kernel)(DEVICE)))
    world = Counted()
    with world():
        model = make_model(name, layers)
        loaded = wrap_model(model)
        kv = loaded.architecture.kv_layers
        setting = PassSetting(
            tuple(layer.window for layer in kv),
            any(layer.values == 0 for layer in kv),
            kernel,
            DEVICE,
        )
        steps = _Steps(Forward(loaded), world)
        batches = prefix_batches.PrefixBatches(steps, setting, schedule, 8192)
        drafts = [Draft([requests[row.ask]]) for row in schedule.rows]
        with _without_attention(attention) as ended, torch.inference_mode():
            steps.ended = ended
            with suppress(_EnoughError):
                batches.generate(0, drafts, GREEDY)
        bound = _bound(model, kv, schedule)
    return _described(steps.counts, STEPS) | {"bound": bound, "kernel": str(kernel)}


class _Steps:
    """Runs a model, and stops counting once enough decode steps were counted."""

    def __init__(self, forward: Any, world: Counted) -> None:
        self._forward = forward
        self._world = world
        self.number = 0
        self.counts = StepCounts()
        self.ended: Any = None

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        if "Step" in type(options["shared_prefix"]).__name__:
            self.number += 1
            if self.number == 1:
                self.ended()
            if self.number == FIRST:
                self._world.counts = self.counts
            if self.number == FIRST + STEPS:
                self._world.counts = StepCounts()
                raise _EnoughError
        return self._forward(*arguments, **options)

    def attention(self, *arguments: Any, **options: Any) -> Any:
        return self._forward.attention(*arguments, **options)


@contextmanager
def _without_attention(attention: Any) -> Iterator[Any]:
    """Spare what is not measured, prompts, the attention that is written out in pieces."""
    before = attention._written_out

    def ended() -> None:
        attention._written_out = before

    def nothing(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> Any:
        shape = query.shape[:3]
        return (
            query.new_empty((*shape, value.shape[-1]), dtype=torch.float32),
            query.new_empty(shape, dtype=torch.float32),
        )

    attention._written_out = nothing
    try:
        yield ended
    finally:
        ended()


def _bound(model: Any, kv: Any, schedule: Any) -> int:
    """Return the fewest bytes of a step: weights, keys and values once, new ones written."""
    embedding = model.get_input_embeddings().weight
    head = model.get_output_embeddings().weight
    weights = sum(stored_bytes(one) for one in model.parameters())
    if head is not embedding:
        weights -= stored_bytes(embedding)
    done = FIRST + STEPS // 2
    total = weights
    for layer in kv:
        tokens = 0
        first_seen: dict[int, int] = {}
        for row in schedule.rows:
            segment, own = schedule.own(row)
            kept = sum(len(schedule.parts[part].tokens) for part in own) + 1 + done
            newest = len(schedule.asks[row.ask].prompt) - 1 + done
            first = 0 if layer.window is None else newest + 1 - layer.window
            tokens += min(kept, kept if layer.window is None else layer.window) + 1
            for part in schedule.chain(segment):
                seen = min(max(0, first - schedule.parts[part].start), _length(schedule, part))
                first_seen[part] = min(first_seen.get(part, seen), seen)
        tokens += sum(_length(schedule, part) - first for part, first in first_seen.items())
        total += tokens * layer.values * 2
    return total


def _length(schedule: Any, part: int) -> int:
    return len(schedule.parts[part].tokens)


def measure_plain(name: str, shape: dict[str, int], layers: int | None = None) -> dict[str, Any]:
    """Return what a step of transformers' own generation costs, every row with its own cache.

    Args:
        name: The model.
        shape: rows and prefix.
        layers: Only so many of the model's layers.
    """
    from transformers import DynamicCache

    rows, length = shape["rows"], shape["prefix"] + OWN
    world = Counted()
    with world():
        model = make_model(name, layers)
        cache: Any = DynamicCache(config=model.config)
        counts = world.counts
        with torch.inference_mode():
            ids = torch.zeros(rows, 1, dtype=torch.int64, device=DEVICE)
            mask = torch.ones(rows, length + 1, dtype=torch.int64, device=DEVICE)
            for index, layer in enumerate(model.model.layers):
                attention = layer.self_attn
                kept = attention.k_proj.out_features // attention.head_dim
                shape_ = (rows, kept, length, attention.head_dim)
                states = torch.empty(shape_, dtype=torch.bfloat16, device=DEVICE)
                cache.update(states, states, index)
            world.counts = counts = StepCounts()
            options: Any = {_cache_name(model): cache}
            model(
                input_ids=ids,
                attention_mask=mask,
                position_ids=torch.full((rows, 1), length, device=DEVICE),
                use_cache=True,
                **options,
            )
    return _described(counts, 1)


def _cache_name(model: Any) -> str:
    names = inspect.signature(model.forward).parameters
    return "cache" if "cache" in names else "past_key_values"


def _described(counts: StepCounts, steps: int) -> dict[str, Any]:
    order = sorted(counts.by_operator.items(), key=lambda item: -item[1][1])
    return {
        "bytes": counts.bytes / steps,
        "operators": counts.operators / steps,
        "waits": counts.waits / steps,
        "uploads": counts.uploads / steps,
        "by_operator": {key: [number / steps, size / steps] for key, (number, size) in order},
    }
