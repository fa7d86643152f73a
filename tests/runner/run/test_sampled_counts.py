"""What a sample of blocks says of all prompts of a plan, beside the full count."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
from studies import write_jsonl, write_study

from safety_receipts.runner.plan.resolve import resolve_plan
from safety_receipts.runner.plan.resolved import ResolvedPlan
from safety_receipts.runner.plan.sealed import renderer_of
from safety_receipts.runner.run.counting import PromptCounts, render_plan
from safety_receipts.runner.run.prices.sampled import SampledCounts, sample_counts

QUERIES = 40
SHAPES = {
    "nested": ["fixed_harmful: {harmful: [0, 2, 4], benign: [0, 4, 8]}"],
    "orders": ["orderings: {harmful: 4, benign: 4, rules: [prefix, suffix, interleave, random]}"],
    "sources": ["benign_sources: {harmful: 4, benign: [0, 8], sources: [first, second]}"],
    "contexts": ["contexts: {harmful: 4, benign: 4, forms: [turns, conversation, memory, policy]}"],
}
BOUND = 0.06
"""Share of the true number of tokens that an estimate is off by at most."""
Block = int | Literal["all"]


def wide_study(folder: Path, experiments: Sequence[str], more: str = "") -> ResolvedPlan:
    """Write and resolve a study whose pools are large beside its lists, and texts of all lengths."""
    plan = write_study(
        folder, queries=QUERIES - 8, controls=8, experiments=experiments, more=more, context=4096
    )
    for name in ("harmful", "benign", "other"):
        rows = (
            {
                "id": f"{name}{i}",
                "request": f"{name} number {i}" + " and so on" * (i % 7),
                "response": f"Answer {i} to that" + " at some length" * (i % 11),
            }
            for i in range(700)
        )
        write_jsonl(folder / f"{name}.jsonl", rows)
    return resolve_plan(plan)


def with_block(resolved: ResolvedPlan, block: Block) -> ResolvedPlan:
    shown = resolved.predicate.demonstrations.model_copy(update={"draw_block": block})
    plan = resolved.predicate.model_copy(update={"demonstrations": shown})
    return replace(resolved, predicate=plan)


def quiet(_: int, __: int) -> None:
    pass


def both(
    resolved: ResolvedPlan, block: Block, points: int, watch: Callable[[int, int], None] = quiet
) -> tuple[SampledCounts, PromptCounts]:
    """Return the estimate for a draw block, from a plan with another one, and the full count."""
    other = with_block(resolved, block)
    known = render_plan(renderer_of(with_block(resolved, 3), None), quiet).points
    found = sample_counts(renderer_of(other, None), known, watch, points)
    return found, render_plan(renderer_of(other, None), quiet).counts


@pytest.mark.parametrize("shape", SHAPES)
def test_the_estimate_is_near_the_full_count(tmp_path: Path, shape: str) -> None:
    resolved = wide_study(tmp_path / "study", SHAPES[shape])
    for block in (1, 20, "all"):
        found, true = both(resolved, block, resolved.predicate.points // 4)
        print(shape, block, found.points, true.points, found.counts.unique, true.unique,
              found.fewest, found.most, found.counts.tokens, true.tokens, found.counts.distinct, true.distinct, found.counts.longest, true.longest)
