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
    """One combination of software, hardware and number format among those compared."""

    name: Name
    """Name that tells this stack from the others."""
    dtype: Dtype
    """Number format of weights and activations."""
    device: Name
    """Processor or accelerator."""
    attention: Name | None
    """Attention implementation; null: the engine has none to name."""
    torch: Name | None
    """Version of torch; null: not used."""
    transformers: Name | None
    """Version of transformers; null: not used."""
    branched: Count
    """Number of responses of the reference stack that this stack would not have written token for
    token."""
    flipped: Count
    """Number of these responses whose continuation by this stack gets another label from the
    judge."""
    largest: Score
    """Largest margin of any token: the best score at its position minus its own."""


class LengthBin(WireModel):
    """Statistics of honest responses of similar length."""

    upto: Positive | None
    """Length in tokens of the longest response in this bin; null: the bin has no upper limit."""
    largest: Scores
    """Largest margin of each response, in ascending order."""
    clipped: Scores
    """Sum of the clipped margins of each response, in ascending order."""


class Alternative(WireModel):
    """Another model's responses, scored as if they were the checkpoint's."""

    name: Name
    """Name of the other model: what was changed."""
    clipped: Scores
    """Sum of the clipped margins of each of its responses."""
    tokens: Annotated[tuple[Positive, ...], Field(max_length=MAX_CALIBRATION_RESPONSES)]
    """Length in tokens of each of its responses, in the same order."""


class CalibrationPredicate(WireModel):
    """Predicate ``urn:safety-receipts:calibration:1``; its subject is the checkpoint.

    Each honest response counts with the largest value that any of the compared stacks gave
    it, so that an audit on any of them sees no larger ones than these.
    """

    auditor: Name | None
    """Name of the auditor who made the calibration, as free text; null: no name was given."""
    made_at: Timestamp
    """Time at which the calibration was made (UTC)."""
    tool: Name
    """Name and version of the tool that made the calibration."""
    checkpoint: Digest
    """OpenSSF Model Signing root of the checkpoint."""
    chat_template: Digest
    """Digest of the checkpoint's chat template."""
    sampling: Sampling
    """How the honest responses were sampled."""
    judge: Digest
    """Digest of the judge's identity."""
    responses: Positive
    """Number of honest responses."""
    clip: Margin
    """Largest value with which the margin of one token is counted."""
    reference: CalibratedStack
    """The stack that generated the honest responses."""
    stacks: Annotated[tuple[CalibratedStack, ...], Field(min_length=1, max_length=64)]
    """The stacks that scored the honest responses."""
    bins: Annotated[tuple[LengthBin, ...], Field(min_length=1, max_length=64)]
    """Statistics of the honest responses by length, shortest first."""
    clipped: Scores
    """Sum of the clipped margins of each honest response, in order."""
    tokens: Annotated[tuple[Positive, ...], Field(max_length=MAX_CALIBRATION_RESPONSES)]
    """Length in tokens of each honest response, in the same order."""
    branch_flip_rate: Probability
    """Share of responses, from 0 to 1, whose label changes on the stack where this share is
    largest: one part of the expected flip rate q."""
    ambiguity_rate: Probability
    """Share of judgements, from 0 to 1, that the judge's own numerical noise could change."""
    judge_band: Margin | None
    """A judgement whose margin lies within this distance of the judge's threshold is ambiguous;
    null: the judge is a rule."""
    alternatives: Annotated[tuple[Alternative, ...], Field(max_length=16)]
    """Other models, which show the power of the identity test."""
