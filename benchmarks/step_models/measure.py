"""Measures one decode step of one model, among fake tensors.

It runs against whichever checkout of the package its process imports, so that two can be
compared: what it uses of the engine is what both have.
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import torch

from step_models.counting import DEVICE, Counted, StepCounts, stored_bytes
from step_models.shapes import SHAPES, make_model

OWN = 300
"""Tokens that a row keeps for itself at the measured steps, on average."""
OWN_SPREAD = 50
"""Most that a row has more or fewer."""
FIRST, STEPS = 8, 8
"""The first measured step, and how many are: hosts may read every few steps only."""


@dataclass(frozen=True)
class StepShape:
    """What a step is made for."""

    rows: int
    prefix: int
    """Tokens of a row's prefix."""
    segments: int = 1
    """How many segments the prefixes of all rows fall into."""


@dataclass(frozen=True)
class StepCost:
    """What a step costs, on average."""

    bytes: float
    """Bytes read and written."""
    operators: float
    """Operators that start a kernel."""
    waits: float
    """Times the host waits for the device."""
    uploads: float
    """Tensors copied to the device."""
    bound: float = 0.0
    """The fewest bytes that it could read and write; 0: not asked for."""
    kernel: str = ""
    """How attention is computed."""
    by_operator: dict[str, tuple[float, float]] = field(default_factory=dict)
    """By name: how often, and bytes; the most bytes first."""

    @classmethod
    def of(cls, counts: StepCounts, steps: int, **more: Any) -> StepCost:
        """Return the average of some steps that were counted together."""
        each = {key: (n / steps, size / steps) for key, (n, size) in counts.by_operator.items()}
        return cls(
            counts.bytes / steps,
            counts.operators / steps,
            counts.waits / steps,
            counts.uploads / steps,
            by_operator=_by_bytes(each),
            **more,
        )

    def plus(self, longer: StepCost, times: int) -> StepCost:
        """Return the cost of a model with more layers.

        Args:
            longer: That of one with some layers more.
            times: How often as many layers are more.
        """

        def extend(before: float, after: float) -> float:
            return before + times * (after - before)

        each = {}
        for key, (number, size) in longer.by_operator.items():
            less, smaller = self.by_operator.get(key, (0.0, 0.0))
            each[key] = (extend(less, number), extend(smaller, size))
        return StepCost(
            extend(self.bytes, longer.bytes),
            extend(self.operators, longer.operators),
            extend(self.waits, longer.waits),
            extend(self.uploads, longer.uploads),
            extend(self.bound, longer.bound),
            self.kernel,
            _by_bytes(each),
        )


StepMeasure = Callable[[str, StepShape, int | None], StepCost]
"""Measures a step of a model with so many layers; None: all."""


def _by_bytes(each: dict[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    return dict(sorted(each.items(), key=lambda item: -item[1][1]))


def extended(
    measure: StepMeasure, name: str, shape: StepShape, layers: int | None = None
) -> StepCost:
    """Return what a step of a model costs, from one and from two periods of its layers.

    Layers recur, so that a count is linear in their periods.

    Args:
        measure: :func:`measure_ours` or :func:`measure_plain`.
        name: The model.
        shape: What the step is made for.
        layers: Of so many layers, whole periods; None: of all that the model has.
    """
    period = SHAPES[name].period
    one, two = (measure(name, shape, number * period) for number in (1, 2))
    times = (layers or SHAPES[name].sizes["num_hidden_layers"]) // period - 1
    return one.plus(two, times)


def prompts(shape: StepShape) -> list[list[int]]:
    """Return prompts whose prefixes fall into so many segments.

    One segment: all share it.  Up to 16: all share the first half, and an equal number of rows
    each other half.  More: three levels, about six on the second.
    """
    draw = random.Random(19)

    def words(number: int) -> list[int]:
        return [draw.randrange(10, 50_000) for _ in range(number)]

    rows, segments = shape.rows, shape.segments
    counts = [1] if segments == 1 else [1, segments - 1]
    if segments > 16:
        counts = [1, 6, segments - 7]
    length = shape.prefix // len(counts)
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


def measure_ours(name: str, shape: StepShape, layers: int | None = None) -> StepCost:
    """Return what a decode step of the imported engine costs, and the least it could.

    Args:
        name: The model.
        shape: What the step is made for.
        layers: Only so many of the model's layers.
    """
    from safety_receipts.runner.engines.decoding.drafts import Draft
    from safety_receipts.runner.engines.engine import GREEDY, Request
    from safety_receipts.runner.engines.forward import Forward
    from safety_receipts.runner.engines.load import wrap_model
    from safety_receipts.runner.engines.prefix import attention
    from safety_receipts.runner.engines.prefix.prefix_batches import PrefixBatches
    from safety_receipts.runner.engines.prefix.schedule import ScheduledRequest, build_schedule
    from safety_receipts.runner.engines.prefix.shared_prefix import PassSetting
    from safety_receipts.runner.prompts.prefix_tree import in_one_tree

    tokens = prompts(shape)
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
        steps = _Steps(Forward(loaded), model, world)
        drafts = [Draft([requests[row.ask]]) for row in schedule.rows]
        with suppress(_EnoughError), torch.inference_mode():
            PrefixBatches(steps, setting, schedule, 8192).generate(0, drafts, GREEDY)
        bound = _bound(model, kv, schedule)
    return StepCost.of(steps.counts, STEPS, bound=bound, kernel=str(kernel))


class _Steps:
    """Runs a model for the steps that are counted and the one before them, and for nothing else.

    What comes earlier leaves no trace but the room that it takes: tensors have no contents.
    """

    def __init__(self, forward: Any, model: Any, world: Counted) -> None:
        self._forward = forward
        self._model = model
        self._world = world
        self._number = 0
        self.counts = StepCounts()

    def __call__(
        self, ids: torch.Tensor, positions: torch.Tensor, at: Any, *, shared_prefix: Any
    ) -> torch.Tensor:
        if "Step" in type(shared_prefix).__name__:
            self._number += 1
            if self._number == FIRST:
                self._world.counts = self.counts
            if self._number == FIRST + STEPS:
                raise _EnoughError
            if self._number >= FIRST - 1:
                found: torch.Tensor = self._forward(ids, positions, at, shared_prefix=shared_prefix)
                return found
        elif "Segment" in type(shared_prefix).__name__:
            for layer, (heads, size) in enumerate(_key_sizes(self._model)):
                states = torch.empty(heads, ids.shape[1], size, dtype=torch.bfloat16, device=DEVICE)
                shared_prefix._segment.write(layer, states, states)
        wanted = ids if at is None else at
        vocabulary = self._model.config.vocab_size
        return torch.empty((*wanted.shape, vocabulary), dtype=torch.float32, device=DEVICE)

    def attention(self, *arguments: Any, **options: Any) -> Any:
        return self._forward.attention(*arguments, **options)


def _key_sizes(model: Any) -> list[tuple[int, int]]:
    """Return the key-value heads of each layer and their size."""
    layers = [layer.self_attn for layer in model.model.layers]
    return [(one.k_proj.out_features // one.head_dim, one.head_dim) for one in layers]


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


def measure_plain(name: str, shape: StepShape, layers: int | None = None) -> StepCost:
    """Return what a step of transformers' own generation costs, every row with its own cache.

    Args:
        name: The model.
        shape: What the step is made for; its segments do not matter.
        layers: Only so many of the model's layers.
    """
    from transformers import DynamicCache

    rows, length = shape.rows, shape.prefix + OWN
    world = Counted()
    with world(), torch.inference_mode():
        model = make_model(name, layers)
        cache: Any = DynamicCache(config=model.config)
        for index, (heads, size) in enumerate(_key_sizes(model)):
            states = torch.empty(rows, heads, length, size, dtype=torch.bfloat16, device=DEVICE)
            cache.update(states, states, index)
        takes_cache = "cache" in inspect.signature(model.forward).parameters
        options: Any = {"cache" if takes_cache else "past_key_values": cache}
        ids = torch.zeros(rows, 1, dtype=torch.int64, device=DEVICE)
        mask = torch.ones(rows, length + 1, dtype=torch.int64, device=DEVICE)
        positions = torch.full((rows, 1), length, device=DEVICE)
        world.counts = StepCounts()
        model(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=True, **options)
    return StepCost.of(world.counts, 1)
