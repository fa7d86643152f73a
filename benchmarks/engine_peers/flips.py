"""How often bf16 changes the next token: this project's engine against plain batches.

Greedy fp32 responses to workload S of several random models are read again in bf16, token by
token.  A position is flipped where another token's logit is above the response's own; a tie is
no flip.  Random weights are the worst case: their logits lie close together.

Positions of one prompt are not independent; intervals are percentiles of a bootstrap over
distinct prompts within each model.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from recording import machine, markdown_table, replace_section

from engine_peers.ours import MEMORY, by_key, requests_of
from engine_peers.peer import load
from engine_peers.tiny_model import make_model
from engine_peers.workloads import PAD, SHAPES, Shape, Workload, build
from safety_receipts.receipts.model.checkpoint import Dtype
from safety_receipts.runner.engines.answers import generate_completions
from safety_receipts.runner.engines.engine import Request
from safety_receipts.runner.engines.load import load_model
from safety_receipts.runner.engines.transformers_engine import TransformersEngine

BATCH = 32
RESAMPLES = 10_000
_SEED = 0
_COLUMNS = ("flips", "rate", "95 % interval")

Answered = list[tuple[Request, tuple[int, ...]]]
Counts = NDArray[np.int64]
"""Flipped positions of each prompt."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A rate, or a difference of rates, with its interval."""

    value: float
    lower: float
    upper: float

    def __str__(self) -> str:
        return f"{self.value:.3%} [{self.lower:.3%}, {self.upper:.3%}]"


def main(root: Path, *, models: int, queries: int | None, record: bool) -> int:
    """Measure, print and perhaps record; return 0."""
    shape = SHAPES["S"] if queries is None else replace(SHAPES["S"], queries=queries)
    found: dict[str, list[Counts]] = {}
    for seed in range(models):
        folder = root / f"model-{seed}"
        make_model(folder, seed)
        for name, counts in _flips(folder, shape).items():
            found.setdefault(name, []).append(counts)
        print(f"model {seed}: {', '.join(f'{n} {c[-1].sum()}' for n, c in found.items())}")
    lines = _report(found, shape.new_tokens)
    print("\n".join(lines))
    if record:
        options = "" if queries is None else f" --queries {queries}"
        header = [
            "## Next tokens that bf16 changes",
            "",
            f"    python benchmarks/engine.py --flips --models {models}{options} --record",
            "",
            f"- Date: {datetime.now(UTC):%Y-%m-%d}",
            f"- Machine: {machine()}",
            (
                f"- Python {platform.python_version()}; torch {version('torch')}, "
                f"transformers {version('transformers')}"
            ),
            "",
        ]
        replace_section("engine_flips", header + lines)
    return 0


def _flips(folder: Path, shape: Shape) -> dict[str, Counts]:
    """Return the flips of one model's own responses, by reader."""
    workload = _distinct(build(shape))
    engine = _engine(folder, Dtype.FLOAT32)
    requests = requests_of(workload)
    answered = list(zip(requests, by_key(generate_completions(engine, requests)), strict=True))
    return {
        "ours fp32": _by_engine(engine, answered),
        "plain fp32": _by_model(load(folder), answered),
        "ours bf16": _by_engine(_engine(folder, Dtype.BFLOAT16), answered),
        "plain bf16": _by_model(load(folder, dtype=torch.bfloat16), answered),
    }


def _engine(folder: Path, dtype: Dtype) -> TransformersEngine:
    return TransformersEngine(load_model(folder, dtype=dtype, device="cpu"), memory=MEMORY)


def _distinct(workload: Workload) -> Workload:
    """Return the workload without prompts that are another's again."""
    by_tokens = {prompt.tokens: prompt for prompt in workload.prompts}
    return Workload(workload.shape, tuple(by_tokens.values()))


def _by_engine(engine: TransformersEngine, answered: Answered) -> Counts:
    counts = np.zeros(len(answered), dtype=np.int64)
    for scored in engine.score(answered):
        if scored.error is not None:
            raise RuntimeError(f"request {scored.key} was not scored: {scored.error}")
        counts[scored.key] = sum(margin > 0 for margin in scored.margins)
    return counts


@torch.inference_mode()
def _by_model(model: Any, answered: Answered) -> Counts:
    """Count flips by plain forward passes over left-padded batches, sorted by length."""
    counts = np.zeros(len(answered), dtype=np.int64)
    order = sorted(range(len(answered)), key=lambda i: -len(answered[i][0].tokens))
    for start in range(0, len(order), BATCH):
        members = [answered[i] for i in order[start : start + BATCH]]
        rows = [(*request.tokens, *response[:-1]) for request, response in members]
        longest = max(map(len, rows))
        ids = torch.tensor([[PAD] * (longest - len(row)) + list(row) for row in rows])
        lengths = torch.tensor([[len(row)] for row in rows])
        mask = (torch.arange(longest) >= longest - lengths).long()
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        responses = torch.tensor([response for _, response in members])
        logits = model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            use_cache=False,
            logits_to_keep=responses.shape[1],
        ).logits.float()
        own = logits.gather(2, responses[:, :, None])[:, :, 0]
        flipped = (logits.amax(2) > own).sum(1)
        counts[order[start : start + BATCH]] = flipped.numpy()
    return counts


def bootstrap(groups: Sequence[Counts], positions: int) -> Estimate:
    """Return flips by position, with a 95 % interval clustered by prompt.

    Args:
        groups: For each model the flips of each prompt, or the differences of two readers'.
        positions: How many positions a prompt's response has.
    """
    generator = np.random.default_rng(_SEED)
    prompts = sum(map(len, groups))
    sums = np.zeros(RESAMPLES)
    for counts in groups:
        drawn = generator.multinomial(len(counts), np.full(len(counts), 1 / len(counts)), RESAMPLES)
        sums += drawn @ counts
    scale = 1 / (prompts * positions)
    lower, upper = np.quantile(sums * scale, [0.025, 0.975])
    return Estimate(sum(int(c.sum()) for c in groups) * scale, float(lower), float(upper))


def _report(found: dict[str, list[Counts]], positions: int) -> list[str]:
    prompts = sum(map(len, found["ours bf16"]))
    total = prompts * positions
    rows = []
    for name, groups in found.items():
        estimate = bootstrap(groups, positions)
        rows.append(
            (
                name,
                f"{sum(int(c.sum()) for c in groups):,} of {total:,}",
                f"{estimate.value:.3%}",
                f"[{estimate.lower:.3%}, {estimate.upper:.3%}]",
            )
        )
    difference = bootstrap(
        [a - b for a, b in zip(found["ours bf16"], found["plain bf16"], strict=True)], positions
    )
    return [
        (
            f"Greedy fp32 responses of {len(found['ours bf16'])} random models to the {prompts:,} "
            f"distinct prompts of workload S, {positions} tokens each, read again; plain: "
            f"left-padded batches of {BATCH} through the model's own forward pass. A position is "
            "flipped where another token's logit is above the response's own; ties are no flips. "
            f"Intervals: bootstrap over prompts, {RESAMPLES:,} resamples."
        ),
        "",
        *markdown_table(("reader", *_COLUMNS), rows),
        "",
        f"- Paired difference in bf16, ours less plain: {difference}.",
    ]
