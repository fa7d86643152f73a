"""What running a plan would take; nothing is generated.

Tokens are counted, or, of large plans with other draw blocks, estimated from a sample; time is
estimated by arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final, Literal

from safety_receipts.receipts.events.grid import distinct_lists
from safety_receipts.receipts.findings.outlook import PrimaryOutlook, primary_outlook
from safety_receipts.receipts.model.checkpoint import Dtype
from safety_receipts.runner.checkpoint.model_facts import ModelFacts
from safety_receipts.runner.engines.device_speed import Throughput
from safety_receipts.runner.engines.prefix.schedule import MAX_BATCH_ROWS
from safety_receipts.runner.plan.resolved import ResolvedPlan
from safety_receipts.runner.plan.sealed import renderer_of
from safety_receipts.runner.run.ahead.resuming import render
from safety_receipts.runner.run.counting import PromptCounts, RenderedPlan
from safety_receipts.runner.run.prices.estimate import ModelSize, RunEstimate, Workload, estimate
from safety_receipts.runner.run.prices.sampled import SampledCounts, sample_counts

DrawBlock = int | Literal["all"]

_OTHER_BLOCKS: Final[tuple[DrawBlock, ...]] = (1, 20, "all")
FEW_POINTS: Final = 20_000
"""Points up to which all prompts of other draw blocks are counted, if nobody says otherwise."""


class Alternatives(Enum):
    """How other draw blocks are priced."""

    COUNTED = "counted"
    """All their prompts are rendered."""
    FITTING = "fitting"
    """As counted up to :data:`FEW_POINTS` points, else from a sample."""
    NONE = "none"
    """Not at all."""


@dataclass(frozen=True)
class Pricing:
    """With what time is estimated."""

    throughput: Throughput
    """How fast the device is."""
    memory: int | None
    """Its memory in bytes for weights, keys and values; None: it is not known."""
    beacon_value: str | None = None
    """The beacon's value, where the plan names a round and it is out; lengths then are those of
    the run, else of draws like it."""


@dataclass(frozen=True)
class DrawBlockCost:
    """A draw block and what it costs."""

    draw_block: DrawBlock
    """Queries in a row that share a draw."""
    distinct_lists: int
    """Demonstration lists per condition: few make the lists a cluster of their own."""
    outlook: PrimaryOutlook
    """What the findings can rest on then."""
    counts: PromptCounts
    """Its prompts; as far as they are estimated without conditions."""
    sample: SampledCounts | None
    """From what they are estimated; None: all were counted."""
    estimate: RunEstimate
    """Its time: the bound with the fewest tokens that are likely, the batches with the most."""


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
    rendered: RenderedPlan,
    pricing: Pricing,
    alternatives: Alternatives,
    watch: Callable[[int, int], None],
) -> DryRun:
    """Say what running a plan would take, from its prompts.

    Args:
        resolved: The plan.
        rendered: Its prompts.
        pricing: With what time is estimated.
        alternatives: How other draw blocks are priced.
        watch: Told how many points are counted, and of how many.

    Raises:
        IncompleteError: Under another draw block a prompt is too long, and the plan says abort.
        MalformedError: Two queries of a source become one prompt there.
    """
    value, plan = pricing.beacon_value, resolved.predicate
    chosen = _cost(resolved, rendered.counts, None, pricing)
    count = alternatives is Alternatives.COUNTED or plan.points <= FEW_POINTS
    others = []
    for block in () if alternatives is Alternatives.NONE else _OTHER_BLOCKS:
        if block == chosen.draw_block or (isinstance(block, int) and block > len(plan.query_ids)):
            continue
        other = _with_block(resolved, block)
        if count:
            others.append(_cost(other, render(other, value, watch).counts, None, pricing))
        else:
            found = sample_counts(renderer_of(other, value), rendered.points, watch)
            others.append(_cost(other, found.counts, found, pricing))
    return DryRun(chosen, tuple(others), renderer_of(resolved, value).moves_system())


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
        pair_flops=4 * facts.architecture.widths.queries * len(facts.architecture.kv_layers),
    )


def _with_block(resolved: ResolvedPlan, block: DrawBlock) -> ResolvedPlan:
    plan = resolved.predicate
    demonstrations = plan.demonstrations.model_copy(update={"draw_block": block})
    plan = plan.model_copy(update={"demonstrations": demonstrations})
    lists = {"distinct_lists": distinct_lists(plan)}
    demonstrations = demonstrations.model_copy(update=lists)
    return replace(resolved, predicate=plan.model_copy(update={"demonstrations": demonstrations}))


def _cost(
    resolved: ResolvedPlan,
    counts: PromptCounts,
    sample: SampledCounts | None,
    pricing: Pricing,
) -> DrawBlockCost:
    plan = resolved.predicate
    context = counts.longest + plan.sampling.max_new_tokens
    size = size_of(resolved.artifacts.checkpoint.facts, plan.checkpoint.dtype, context)
    # Weights are loaded first.
    memory = None if pricing.memory is None else max(0, pricing.memory - size.weight_bytes)

    def timed(unique: int) -> RunEstimate:
        workload = Workload(
            points=counts.points - counts.overflowing,
            prompt_tokens=counts.tokens,
            unique_prompt_tokens=unique,
            longest_prompt=counts.longest,
            max_new_tokens=plan.sampling.max_new_tokens,
        )
        return estimate(
            size, workload, pricing.throughput, batch_size=MAX_BATCH_ROWS, memory=memory
        )

    time = timed(counts.unique)
    if sample is not None:
        fewest, most = timed(sample.fewest), timed(sample.most)
        time = replace(
            time,
            seconds_shared=fewest.seconds_shared,
            seconds_batched=most.seconds_batched,
        )
    return DrawBlockCost(
        draw_block=plan.demonstrations.draw_block,
        distinct_lists=plan.demonstrations.distinct_lists,
        outlook=primary_outlook(plan),
        counts=counts,
        sample=sample,
        estimate=time,
    )
