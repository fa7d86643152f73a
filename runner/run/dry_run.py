"""What running a plan would take: counted exactly, timed by estimate, nothing generated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from safety_receipts.receipts.events.grid import distinct_lists
from safety_receipts.receipts.model.checkpoint import Dtype
from safety_receipts.runner.checkpoint.model_facts import ModelFacts
from safety_receipts.runner.engines.device_speed import Throughput
from safety_receipts.runner.engines.prefix.schedule import MAX_BATCH_ROWS
from safety_receipts.runner.plan.resolved import ResolvedPlan
from safety_receipts.runner.plan.sealed import renderer_of
from safety_receipts.runner.run.counting import PromptCounts
from safety_receipts.runner.run.estimate import ModelSize, RunEstimate, Workload, estimate
from safety_receipts.runner.run.event import render

DrawBlock = int | Literal["all"]

_OTHER_BLOCKS: tuple[DrawBlock, ...] = (1, 32, "all")


@dataclass(frozen=True)
class DrawBlockCost:
    """A draw block and what it costs."""

    draw_block: DrawBlock
    """Queries in a row that share a draw."""
    distinct_lists: int
    """Demonstration lists per condition: few make the lists a cluster of their own."""
    counts: PromptCounts
    """Its prompts."""
    estimate: RunEstimate
    """Its time."""


@dataclass(frozen=True)
class DryRun:
    """What a plan would take."""

    chosen: DrawBlockCost
    """With the plan's draw block."""
    alternatives: tuple[DrawBlockCost, ...]
    """With others; their demonstrations are other draws."""
    moves_system: bool
    """Whether the chat template shows the system message elsewhere than first."""


def dry_run(
    resolved: ResolvedPlan,
    *,
    throughput: Throughput,
    beacon_value: str | None,
    alternatives: bool,
    watch: Callable[[int, int], None],
) -> DryRun:
    """Count the prompts of a plan and estimate its time.

    Args:
        resolved: The plan.
        throughput: The device's.
        beacon_value: The beacon's value, where the plan names a round and it is out; lengths
            then are those of the run, else of draws like it.
        alternatives: Count other draw blocks too, each as much work as the plan's own.
        watch: Told how many points are counted, and of how many.

    Raises:
        IncompleteError: A prompt is too long and the plan says abort.
        MalformedError: Two queries of a source become one prompt.
    """
    chosen = _choice(resolved, throughput, beacon_value, watch)
    others = []
    queries = len(resolved.predicate.query_ids)
    for block in _OTHER_BLOCKS if alternatives else ():
        if block != chosen.draw_block and not (isinstance(block, int) and block > queries):
            other = _with_block(resolved, block)
            others.append(_choice(other, throughput, beacon_value, watch))
    return DryRun(chosen, tuple(others), renderer_of(resolved, beacon_value).moves_system())


def size_of(facts: ModelFacts, dtype: Dtype, context: int) -> ModelSize:
    """Return what a model asks of a device.

    Args:
        facts: What is known of it.
        dtype: Number format it is run in.
        context: Tokens over which the cache's size is averaged: layers with a window stop
            growing.
    """
    number_bytes = 4 if dtype is Dtype.FLOAT32 else 2
    packed = facts.quantisation is not None and not facts.dequantised
    return ModelSize(
        parameters=facts.parameters,
        weight_bytes=facts.weights.bytes if packed else facts.parameters * number_bytes,
        kv_bytes_per_token=-(-facts.kv_bytes(context, number_bytes) // context),
    )


def _with_block(resolved: ResolvedPlan, block: DrawBlock) -> ResolvedPlan:
    plan = resolved.predicate
    demonstrations = plan.demonstrations.model_copy(update={"draw_block": block})
    plan = plan.model_copy(update={"demonstrations": demonstrations})
    lists = {"distinct_lists": distinct_lists(plan)}
    demonstrations = demonstrations.model_copy(update=lists)
    return replace(resolved, predicate=plan.model_copy(update={"demonstrations": demonstrations}))


def _choice(
    resolved: ResolvedPlan,
    throughput: Throughput,
    beacon_value: str | None,
    watch: Callable[[int, int], None],
) -> DrawBlockCost:
    plan = resolved.predicate
    counts = render(resolved, beacon_value, watch).counts
    workload = Workload(
        points=counts.points - counts.overflowing,
        prompt_tokens=counts.tokens,
        unique_prompt_tokens=counts.unique,
        longest_prompt=counts.longest,
        max_new_tokens=plan.sampling.max_new_tokens,
    )
    context = counts.longest + plan.sampling.max_new_tokens
    size = size_of(resolved.artifacts.checkpoint.facts, plan.checkpoint.dtype, context)
    return DrawBlockCost(
        draw_block=plan.demonstrations.draw_block,
        distinct_lists=plan.demonstrations.distinct_lists,
        counts=counts,
        estimate=estimate(size, workload, throughput, batch_size=MAX_BATCH_ROWS),
    )
