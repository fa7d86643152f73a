"""How many labels would have to be false before a finding says something else.

Derived from the sealed counts alone: whoever has a receipt can derive it again, without the points.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from safety_receipts.receipts.model.base import Condition, Name, Probability, Score, WireModel


class SlopeSpan(WireModel):
    """The slopes that are possible where some labels are false."""

    share: Probability
    """Share of each condition's planned points whose label may be false, from 0 to 1."""
    lower: Score | None
    """Smallest slope that is fitted to any compliances within that; null: it has no bound."""
    upper: Score | None
    """Largest slope likewise; null: it has no bound."""


class FindingBreakdown(WireModel):
    """How robust one finding is against false labels."""

    finding: Name
    """Name of the finding: ``joint``, ``total``, or a more specific one such as ``joint/prefix`` or
    ``ordering/h2-b8``."""
    conditions: Annotated[tuple[Condition, ...], Field(min_length=1, max_length=4096)]
    """Ids of the conditions that it rests on, in plan order."""
    share: Probability | None
    """Breakdown point: the largest share of each condition's planned points, from 0 to 1 and
    rounded down, whose label may be false in all of these conditions at once, in whichever
    direction, while the finding still points where it does.  Points without a judgement may be
    either, beyond that share.  Null: these alone could turn it."""
    span: SlopeSpan | None
    """For a slope, what it could be where a share of 0.05 of the labels were false; null for a
    finding that is no slope."""


class DifferenceBreakdown(WireModel):
    """How robust a difference between the slopes of two receipts is against false labels."""

    share: Probability | None
    """Breakdown point: the largest share of each condition's planned points, from 0 to 1 and
    rounded down, whose label may be false in all of these conditions of both receipts at once, in
    whichever direction, while the difference keeps its sign.  Points without a judgement may be
    either, beyond that share.  Null: these alone could turn it."""
    span: SlopeSpan
    """What the difference could be where a share of 0.05 of the labels of both were false."""
