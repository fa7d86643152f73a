"""What documents say of audits: rates, outcomes, how much of a receipt they are of."""

from __future__ import annotations

from safety_receipts.receipts.model.audit import (
    AuditVerdict,
    Direction,
    OutcomeFindings,
    RateFindings,
    SlopeTestFindings,
)
from safety_receipts.receipts.model.base import Condition, Count, Probability, Rate, Source, Text
from safety_receipts.receipts.view.documents.base import Document, Total
from safety_receipts.verify.audit.statistics.scope import Scope


class AuditedRatePart(Document):
    """What an audit found about one rate."""

    id: Condition
    """The condition."""
    source: Source | None
    """The query source; null: all sources of one role."""
    control: bool
    """Whether the rate is the over-refusal of benign controls."""
    direction: Direction
    """Which error was tested for."""
    recorded_rate: Rate | None
    """The receipt's rate; null: there is none."""
    draws: Count
    """Points replayed for it."""
    contradictions: Count
    """Of these, counted against the record."""
    hard_contradictions: Count
    """Of those, beyond any numerical noise."""
    p_value: Probability
    """p-value of the confirming test."""
    verdict: AuditVerdict
    """What follows."""
    reason: Text | None
    """Why it is inconclusive; else null."""


class AuditedSlopePart(Document):
    """What an audit found about one slope as a whole."""

    finding: Text
    """Name of the finding."""
    draws: Count
    """Tickets drawn for it."""
    contradictions: Count
    """Of these, counted against the record."""
    hard_contradictions: Count
    """Of those, beyond any numerical noise."""
    p_value: Probability
    """p-value of the confirming test."""
    verdict: AuditVerdict
    """What follows."""
    reason: Text | None
    """Why it is inconclusive; else null."""


class AuditedOutcomesPart(Document):
    """What the points replayed for the model's identity say of recorded outcomes."""

    draws: Count
    """Points replayed."""
    contradictions: Count
    """Of these, counted against their recorded outcome."""
    hard_contradictions: Count
    """Of those, beyond any numerical noise."""
    p_value: Probability
    """That so many are contradicted where few outcomes are false."""
    refuting_p_value: Probability
    """The same of hard contradictions alone."""


class AuditedShare(Document):
    """How many of some rates are audited."""

    audited: Count
    """These many."""
    of: Count
    """Of these."""


class AuditedPoints(Document):
    """How many points an audit looked at."""

    draws: Total
    """Draws for all its tests; some are of one point."""
    replayed: Total | None
    """Points replayed; null: a public form does not tell."""
    of: Count
    """Points of the receipt."""


class ScopePart(Document):
    """How much of a receipt an audit is of."""

    whole: bool
    """Whether every recorded rate is audited."""
    conditions: AuditedShare
    """Rates of conditions."""
    rates: AuditedShare
    """Rates of any kind."""
    sources: AuditedShare
    """Of these, rates of single query sources."""
    controls: AuditedShare
    """Of these, over-refusals of benign controls."""
    directions: tuple[str, ...]
    """Which errors were looked for: ``understated``, ``overstated``."""
    slopes: tuple[str, ...]
    """Findings whose slopes were tested as a whole."""
    points: AuditedPoints
    """Points that were looked at."""


def rate_part(rate: RateFindings) -> AuditedRatePart:
    """Return what an audit found about one rate."""
    return AuditedRatePart(
        id=rate.id,
        source=rate.source,
        control=rate.control is True,
        direction=rate.direction,
        recorded_rate=rate.recorded_rate,
        draws=rate.draws,
        contradictions=rate.contradictions,
        hard_contradictions=rate.hard_contradictions,
        p_value=rate.p_value,
        verdict=rate.verdict,
        reason=rate.reason,
    )


def slope_part(found: SlopeTestFindings) -> AuditedSlopePart:
    """Return what an audit found about one slope as a whole."""
    return AuditedSlopePart(
        finding=found.finding,
        draws=found.draws,
        contradictions=found.contradictions,
        hard_contradictions=found.hard_contradictions,
        p_value=found.p_value,
        verdict=found.verdict,
        reason=found.reason,
    )


def outcomes_part(found: OutcomeFindings | None) -> AuditedOutcomesPart | None:
    """Return what an audit found about recorded outcomes; None: nothing."""
    if found is None:
        return None
    return AuditedOutcomesPart(
        draws=found.draws,
        contradictions=found.contradictions,
        hard_contradictions=found.hard_contradictions,
        p_value=found.p_value,
        refuting_p_value=found.refuting_p_value,
    )


def scope_part(scope: Scope) -> ScopePart:
    """Return how much of a receipt an audit is of."""
    return ScopePart(
        whole=scope.whole,
        conditions=_share(scope.conditions),
        rates=_share(scope.rates),
        sources=_share(scope.sources),
        controls=_share(scope.controls),
        directions=scope.directions,
        slopes=scope.slopes,
        points=AuditedPoints(draws=scope.draws, replayed=scope.replayed, of=scope.points),
    )


def _share(numbers: tuple[int, int]) -> AuditedShare:
    audited, of = numbers
    return AuditedShare(audited=audited, of=of)
