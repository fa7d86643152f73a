"""What ``receipts audit --json`` prints: a result, or with ``--dry-run`` what one would take."""

from __future__ import annotations

from typing import Annotated, Literal

from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.model.audit import (
    AuditMethod,
    AuditPredicate,
    AuditVerdict,
    ChallengeKind,
    Direction,
    FindingVerdict,
    IdentityTest,
)
from safety_receipts.receipts.model.base import (
    Condition,
    Count,
    Digest,
    Probability,
    Rate,
    SafeInteger,
    Source,
    Text,
)
from safety_receipts.receipts.view.documents.base import SCHEMA, Document
from safety_receipts.verify.audit.claims import Claim
from safety_receipts.verify.audit.sealed.problems import points_replayed
from safety_receipts.verify.audit.statistics.feasibility import Feasibility, together
from safety_receipts.verify.audit.statistics.scope import Scope
from safety_receipts.verify.view.audit import Forecast
from safety_receipts.verify.view.documents.audited import (
    AuditedOutcomesPart,
    AuditedRatePart,
    AuditedSlopePart,
    ScopePart,
    outcomes_part,
    rate_part,
    scope_part,
    slope_part,
)


class AuditDocument(Document):
    """What an audit found.  Where the bundle does not verify, ``cli-verify`` is printed instead."""

    document: Annotated[Literal["cli-audit/1"], SCHEMA] = "cli-audit/1"
    verdict: AuditVerdict
    """What the audit says."""
    method: AuditMethod
    """How points were looked at.  Where it is not ``replay``, nothing ties the model that did so to
    the named weights."""
    challenge: ChallengeKind
    """Where its randomness comes from."""
    calibrated: bool
    """Whether a calibration was given."""
    self_audit: bool
    """Whether the auditor's key signed the receipt, too."""
    instrument: bool
    """Whether the receipt is of a test instrument: its numbers say nothing about any real model."""
    epsilon: Probability
    """Tolerated error of a rate."""
    alpha: Probability
    """Risk of confirming a wrong rate."""
    points_replayed: Count
    """Points that were replayed."""
    points_total: Count
    """Points of the receipt."""
    scope: ScopePart
    """How much of the receipt it is of."""
    conditions: tuple[AuditedRatePart, ...]
    """What it found about each rate."""
    outcomes: AuditedOutcomesPart | None
    """What it found about recorded outcomes; null: not counted, or nothing was replayed."""
    second_judge: AuditVerdict | None
    """What it says of the second judge's agreement; null: there is none, or it was not asked."""
    findings: tuple[FindingVerdict, ...]
    """What it says of the findings that it is of; empty: it is of rates alone."""
    slopes: tuple[AuditedSlopePart, ...]
    """What it found about each slope that it tested as a whole."""
    identity: IdentityTest | None
    """The model-identity test; null: not made."""
    guarantee: Text
    """What the verdict means, in plain words."""
    audit_digest: Digest
    """Digest of the signed result."""


class SecondJudgeDraws(Document):
    """What confirming the second judge's agreement would take."""

    least_draws: Count | None
    """Draws at best; null: too few points are replayed for it."""
    median_draws: Count | None
    """Draws in half of all audits; null: it is not to be expected to be confirmed."""


class ExpectedRatePart(Document):
    """What confirming one rate would take."""

    id: Condition
    """The condition."""
    source: Source | None
    """The query source; null: all sources of one role."""
    control: bool
    """Whether the rate is the over-refusal of benign controls."""
    direction: Direction
    """Which error would be tested for."""
    recorded_rate: Rate | None
    """The receipt's rate; null: there is none."""
    recorded: Count
    """Recorded outcomes that could be false."""
    hidden: SafeInteger
    """Smallest number of false ones that would make the rate off by ε."""
    least_draws: Count | None
    """Draws at best; null: more than the budget."""
    median_draws: Count | None
    """Draws in half of all audits; null: it is not to be expected to be confirmed."""


class ExpectedSlopePart(Document):
    """What confirming one slope as a whole would take."""

    finding: Text
    """Name of the finding."""
    recorded: Count
    """Tickets that could be drawn."""
    hidden: Count
    """Labels that turn the slope have at least so many of them together."""
    least_draws: Count | None
    """Draws at best; null: more than the budget."""
    median_draws: Count | None
    """Draws in half of all audits; null: it is not to be expected to be confirmed."""


class AuditForecastDocument(Document):
    """What an audit would take; nothing was announced."""

    document: Annotated[Literal["cli-audit-forecast/1"], SCHEMA] = "cli-audit-forecast/1"
    authenticity: Literal["checked", "not checked"]
    """Whether the signatures were checked with a key that the auditor trusts."""
    instrument: bool
    """Whether the receipt is of a test instrument: its numbers say nothing about any real model."""
    confirmed_together: float
    """Share of audits of an honest record that are expected to confirm everything, 0 to 1."""
    leaves_open: tuple[str, ...]
    """What of the receipt it would not audit, in words, kind by kind; empty: nothing."""
    second_judge: SecondJudgeDraws | None
    """The second judge's agreement; null: there is none."""
    conditions: tuple[ExpectedRatePart, ...]
    """What each rate would take."""
    slopes: tuple[ExpectedSlopePart, ...]
    """What each slope would take that is tested as a whole."""


def audit_document(
    audit: AuditPredicate, scope: Scope, digest: Sha256, *, self_audit: bool, instrument: bool
) -> AuditDocument:
    """Return what an audit found.

    Args:
        audit: The audit.
        scope: How much of the receipt it is of.
        digest: Digest of the signed result.
        self_audit: Whether the auditor's key signed the receipt, too.
        instrument: Whether the receipt is of a test instrument.
    """
    second = audit.second_judge
    return AuditDocument(
        verdict=audit.verdict,
        method=audit.method,
        challenge=audit.challenge.kind,
        calibrated=audit.calibration is not None,
        self_audit=self_audit,
        instrument=instrument,
        epsilon=audit.epsilon,
        alpha=audit.alpha,
        points_replayed=points_replayed(audit),
        points_total=audit.points_total,
        scope=scope_part(scope),
        conditions=tuple(map(rate_part, audit.conditions)),
        outcomes=outcomes_part(audit.outcomes),
        second_judge=None if second is None else second.verdict,
        findings=audit.finding_verdicts or (),
        slopes=tuple(map(slope_part, audit.slope_results or ())),
        identity=audit.identity,
        guarantee=audit.guarantee,
        audit_digest=digest,
    )


def forecast_document(forecast: Forecast) -> AuditForecastDocument:
    """Return what an audit would take."""
    agreement, second = forecast.agreement, None
    if agreement is not None:
        second = SecondJudgeDraws(least_draws=agreement.least, median_draws=agreement.median)
    return AuditForecastDocument(
        authenticity="checked" if forecast.authentic else "not checked",
        instrument=forecast.instrument,
        confirmed_together=round(together(forecast.everything), 3),
        leaves_open=tuple(() if forecast.scope is None else forecast.scope.left_open()),
        second_judge=second,
        conditions=tuple(_expected(claim, one) for claim, one in forecast.told),
        slopes=tuple(
            ExpectedSlopePart(
                finding=test.finding,
                recorded=test.recorded,
                hidden=test.hidden,
                least_draws=one.least,
                median_draws=one.median,
            )
            for test, one in forecast.slopes
        ),
    )


def _expected(claim: Claim, one: Feasibility) -> ExpectedRatePart:
    return ExpectedRatePart(
        id=claim.rate.condition,
        source=claim.rate.source,
        control=claim.rate.control is True,
        direction=claim.rate.direction,
        recorded_rate=claim.recorded.rate,
        recorded=claim.hypothesis.recorded,
        hidden=claim.hypothesis.hidden,
        least_draws=one.least,
        median_draws=one.median,
    )
