"""Audits: what was announced before a replay, and what it found."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from receipts.model.base import (
    MAX_POINTS,
    Bytes32,
    Condition,
    Count,
    Digest,
    Name,
    Positive,
    Probability,
    Rate,
    Score,
    Text,
    Timestamp,
    WireModel,
)
from receipts.model.check import Check
from receipts.model.plan import BeaconRound
from receipts.model.receipt import DigestReference, Environment


class ChallengeKind(StrEnum):
    """Where the audit's randomness comes from."""

    NONCE = "nonce"
    """32 random bytes, drawn by the auditor after the receipt was fixed."""
    BEACON = "beacon"
    """A beacon round later than the receipt's log time."""
    SELF = "self"
    """A nonce given by hand: the auditor could have chosen it."""


class Challenge(WireModel):
    """What decides which points are drawn."""

    kind: ChallengeKind
    """Where it comes from."""
    nonce: Bytes32 | None
    """The nonce; null where it comes from a beacon."""
    beacon: BeaconRound | None
    """The round, named before it is published; null where there is a nonce."""


class Direction(StrEnum):
    """Which error of a recorded rate is tested for."""

    NOT_UNDERSTATED = "not_understated"
    """The true rate is not higher: recorded refusals are drawn."""
    NOT_OVERSTATED = "not_overstated"
    """The true rate is not lower: recorded compliances are drawn."""


class AuditedRate(WireModel):
    """One rate to be audited."""

    condition: Condition
    """Its condition."""
    direction: Direction
    """Which error is tested for."""


class Budget(WireModel):
    """What the auditor will spend."""

    max_points: Positive | None
    """Most points to replay; null: no limit."""


class AuditMethod(StrEnum):
    """How drawn points are looked at."""

    REPLAY = "replay"
    """Recorded responses are scored by the named checkpoint."""
    REGENERATE = "regenerate"
    """New responses are asked for, and rates compared: the most that can be done with a model
    behind an API."""


class AuditTerms(WireModel):
    """What an audit announces and then reports again, word for word."""

    receipt: DigestReference
    """The receipt."""
    challenge: Challenge
    """What decides which points are drawn."""
    epsilon: Probability
    """Tolerated understatement of a rate."""
    alpha: Probability
    """Risk of confirming a rate that is off by ε or more."""
    expected_flip_rate: Probability
    """Share of honest points expected to look contradicted (q of the bet)."""
    calibration: Digest | None
    """Digest of the auditor's calibration file; null: uncalibrated defaults."""
    budget: Budget
    """What the auditor will spend."""
    method: AuditMethod
    """How drawn points are looked at."""
    identity_points: Count
    """Points of any outcome that are replayed for the model's identity, beside the budget."""


class AuditStartPredicate(AuditTerms):
    """Predicate ``urn:safety-receipts:audit-start:1``; signed before any replay.

    An audit that was started and never finished counts: a lenient sample cannot be fished
    for by starting over.
    """

    auditor: Name | None
    """Who audits, in words; the key says it in earnest."""
    started_at: Timestamp
    """When."""
    rates: Annotated[tuple[AuditedRate, ...], Field(min_length=1, max_length=8192)]
    """Rates to be audited."""
    tool: Name
    """Name and version of the auditing tool."""


class AuditVerdict(StrEnum):
    """What an audit may say."""

    CONFIRMED = "confirmed"
    """Every audited rate stands within ε at risk α, and the model is the one named."""
    REFUTED = "refuted"
    """Hard contradictions show that a recorded rate is false."""
    INCONCLUSIVE = "inconclusive"
    """Neither, for the reason given."""
    CONSISTENT_WITH = "consistent_with"
    """Statistically compatible; the most that can be said of a model behind an API."""


DrawNumbers = Annotated[tuple[Positive, ...], Field(max_length=MAX_POINTS)]


class RateVerdict(WireModel):
    """What the audit found about one rate."""

    id: Condition
    """The condition."""
    direction: Direction
    """Which error was tested for."""
    recorded_rate: Rate | None
    """The receipt's compliance rate."""
    recorded: Count
    """Recorded outcomes that could be false (N0); regenerated: planned points."""
    hidden: Annotated[int, Field(ge=-MAX_POINTS, le=MAX_POINTS)]
    """Smallest number of false ones that would make the rate off by ε (k); regenerated: of
    points of the other outcome."""
    draws: Count
    """Points replayed."""
    contradictions: Count
    """Of these, counted against the record: contradicted, implausible, ambiguous, missing."""
    implausible: Count
    """Of those, responses the model would not plausibly give."""
    ambiguous: Count
    """Of those, verdicts that the judge's own noise could turn."""
    missing: Count
    """Of those, points that could not be replayed."""
    hard_contradictions: Count
    """Of those, beyond any numerical noise."""
    p_value: Probability
    """1 / largest value of the confirming test martingale."""
    refuting_p_value: Probability
    """1 / largest value of the refuting one, which counts hard contradictions only."""
    verdict: AuditVerdict
    """What follows."""
    reason: Text | None
    """Why inconclusive; else null."""
    contradicted: DrawNumbers
    """Which of its draws, counted from 1, counted against the record: with them anybody can
    compute the p-values again."""
    hard: DrawNumbers
    """Which of its draws were hard contradictions."""


class PowerAgainst(WireModel):
    """How often the identity test sees another model."""

    alternative: Name
    """The other model, as the calibration names it."""
    power: Probability
    """Share of samples of this audit's size in which the test fails it."""


class IdentityTest(WireModel):
    """Whether the replayed responses come from the named model."""

    statistic: Name
    """What was compared."""
    responses: Count
    """Responses it used."""
    p_value: Probability | None
    """p-value under the auditor's calibration; null: uncalibrated, held to a stated limit."""
    level: Probability
    """Level it is held to."""
    power: Probability | None
    """Its least power against the alternatives of the calibration; null: not known."""
    passed: bool
    """Whether it passed at that level."""
    mean: Score
    """Mean clipped margin of the replayed tokens."""
    powers: Annotated[tuple[PowerAgainst, ...], Field(max_length=64)]
    """Its power against each alternative."""


class AuditPredicate(AuditTerms):
    """Predicate ``urn:safety-receipts:audit:1``."""

    start: DigestReference
    """The audit-start statement that announced it."""
    known_starts: Count
    """Audits of this receipt that this auditor is known to have announced, this one included: k of
    k·α."""
    beacon_value: Bytes32 | None
    """What the named beacon round said; null where there is a nonce."""
    finished_at: Timestamp
    """When."""
    verdict: AuditVerdict
    """What the audit says."""
    conditions: Annotated[tuple[RateVerdict, ...], Field(min_length=1, max_length=8192)]
    """What it found about each rate."""
    identity: IdentityTest | None
    """The model-identity test; null: not made."""
    drawn: Annotated[tuple[Digest, ...], Field(max_length=MAX_POINTS)]
    """Ids of the points replayed, in the order drawn."""
    identity_drawn: Annotated[tuple[Digest, ...], Field(max_length=MAX_POINTS)]
    """Ids of the points replayed for the model's identity, in the order drawn; some may have
    been drawn for a rate as well."""
    points_total: Count
    """Points of the receipt."""
    checks: Annotated[tuple[Check, ...], Field(max_length=256)]
    """What was and was not checked besides."""
    environment: Environment
    """What the replay was made with."""
    guarantee: Text
    """What the verdict means, in plain words."""
    assumptions: Annotated[tuple[Text, ...], Field(max_length=64)]
    """What it rests on."""
