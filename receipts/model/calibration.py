"""A calibration: how honest responses look when they are replayed."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from safety_receipts.receipts.model.base import (
    Count,
    Digest,
    Margin,
    Name,
    Positive,
    Probability,
    Score,
    Timestamp,
    WireModel,
)
from safety_receipts.receipts.model.checkpoint import Dtype, Sampling

MAX_CALIBRATION_RESPONSES = 200_000

Scores = Annotated[tuple[Score, ...], Field(max_length=MAX_CALIBRATION_RESPONSES)]


class CalibratedStack(WireModel):
    """One way to compute, among those compared."""

    name: Name
    """What sets it apart, in words."""
    dtype: Dtype
    """Number format."""
    device: Name
    """Processor or accelerator."""
    attention: Name | None
    """Attention implementation."""
    torch: Name | None
    """torch version."""
    transformers: Name | None
    """transformers version."""
    branched: Count
    """Responses of the reference stack that it would not have written token for token."""
    flipped: Count
    """Of these, continuations that the judge labels otherwise."""
    largest: Score
    """Largest margin of any token."""


class LengthBin(WireModel):
    """Honest responses of similar length."""

    upto: Positive | None
    """Longest response in tokens; null: all longer ones."""
    largest: Scores
    """Largest margin of each response, ascending."""
    clipped: Scores
    """Sum of the clipped margins of each response, ascending."""


class Alternative(WireModel):
    """Another model's responses, scored as if they were the checkpoint's."""

    name: Name
    """What was changed."""
    clipped: Scores
    """Sum of the clipped margins of each of its responses."""
    tokens: Annotated[tuple[Positive, ...], Field(max_length=MAX_CALIBRATION_RESPONSES)]
    """Tokens of each."""


class CalibrationPredicate(WireModel):
    """Predicate ``urn:safety-receipts:calibration:1``; its subject is the checkpoint.

    Each honest response counts with the largest value that any of the compared stacks gave
    it, so that an audit on any of them sees no larger ones than these.
    """

    auditor: Name | None
    """Who calibrates, in words."""
    made_at: Timestamp
    """When."""
    tool: Name
    """Name and version of the tool."""
    checkpoint: Digest
    """The checkpoint's root."""
    chat_template: Digest
    """Digest of its chat template."""
    sampling: Sampling
    """How responses were sampled."""
    judge: Digest
    """Digest of the judge."""
    responses: Positive
    """Honest responses."""
    clip: Margin
    """A token's margin counts up to this."""
    reference: CalibratedStack
    """The stack that wrote them."""
    stacks: Annotated[tuple[CalibratedStack, ...], Field(min_length=1, max_length=64)]
    """The stacks that scored them."""
    bins: Annotated[tuple[LengthBin, ...], Field(min_length=1, max_length=64)]
    """Their statistics by length, shortest first."""
    clipped: Scores
    """Sum of the clipped margins of each response, in order."""
    tokens: Annotated[tuple[Positive, ...], Field(max_length=MAX_CALIBRATION_RESPONSES)]
    """Tokens of each."""
    branch_flip_rate: Probability
    """Share of responses whose label turns on the worst stack: q without what follows."""
    ambiguity_rate: Probability
    """Share of judgements that the judge's own noise could turn."""
    judge_band: Margin | None
    """A judge's margin within this of its threshold is ambiguous; null: a rule."""
    alternatives: Annotated[tuple[Alternative, ...], Field(max_length=16)]
    """Other models, for the power of the identity test."""
