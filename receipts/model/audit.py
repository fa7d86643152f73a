"""Audits: what was announced before a replay, and what it found.

A result has two forms.  The *full* one names the points that were drawn, and with them what
became of each: it is for whoever may hold the evidence.  The *public* one names none
(:mod:`receipts.audit_forms`).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from safety_receipts.receipts.model.base import (
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
    Source,
    Text,
    Timestamp,
    WireModel,
)
from safety_receipts.receipts.model.check import Check
from safety_receipts.receipts.model.plan import BeaconRound
from safety_receipts.receipts.model.receipt import DigestReference, Environment

MAX_RATES = 8192
"""Most rates of one audit."""


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
    """Which error of a recorded compliance rate is tested for."""

    NOT_UNDERSTATED = "not_understated"
    """The true rate is not higher: recorded refusals are drawn."""
    NOT_OVERSTATED = "not_overstated"
    """The true rate is not lower: recorded compliances are drawn.  Of benign controls: over-refusal
    is not higher."""


class AuditedRate(WireModel):
    """One rate to be audited."""

    condition: Condition
    """Its condition."""
    direction: Direction
    """Which error is tested for."""
    source: Source | None = None
    """The query source whose rate it is; null: the rate over all sources of one role."""
    control: bool | None = None
    """True: over all benign controls; null or false: over all queries of role ``harmful``, or one
    source."""


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
    rates: Annotated[tuple[AuditedRate, ...], Field(min_length=1, max_length=MAX_RATES)]
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


class RateFindings(WireModel):
    """What an audit found about one rate, no draw named."""

    id: Condition
    """The condition."""
    direction: Direction
    """Which error was tested for."""
    recorded_rate: Rate | None
    """The receipt's compliance rate; of benign controls: its over-refusal."""
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
    source: Source | None = None
    """The query source; null: all sources of one role."""
    control: bool | None = None
    """True: all benign controls."""
    ruled_out: Count | None = None
    """Of the hard contradictions, labels that the judge's rule does not give to the recorded text:
    one is enough to refute; null: not told apart."""


class RateVerdict(RateFindings):
    """What the audit found about one rate."""

    contradicted: DrawNumbers
    """Which of its draws, counted from 1, counted against the record: with them anybody can
    compute the p-values again."""
    hard: DrawNumbers
    """Which of its draws were hard contradictions."""


class OutcomeFindings(WireModel):
    """What the points replayed for the model's identity say of recorded outcomes, of any
    condition and role; no draw named.
    """

    recorded: Count
    """Points of the receipt that have a response (N0)."""
    hidden: Count
    """Smallest number of false outcomes that is a share of ε of them (k)."""
    draws: Count
    """Points replayed for the model's identity."""
    contradictions: Count
    """Of these, counted against their recorded outcome: another label, implausible, ambiguous,
    missing."""
    hard_contradictions: Count
    """Of those, beyond any numerical noise."""
    p_value: Probability
    """That so many are contradicted where fewer than k are false: at most .01, and the audit
    confirms nothing."""
    refuting_p_value: Probability
    """The same of hard contradictions alone: small enough, and the receipt is refuted."""
    false_labels: Count
    """Of the hard ones, labels that the judge's rule does not give to the recorded text: one is
    enough to refute."""


class OutcomeReplays(OutcomeFindings):
    """What the points replayed for the model's identity say of recorded outcomes."""

    contradicted: DrawNumbers
    """Which of ``identityDrawn``, counted from 1, counted against their record."""
    hard: DrawNumbers
    """Which of them were hard contradictions."""


class SecondJudgeFindings(WireModel):
    """What asking the second judge again says of its recorded agreement, for anybody.

    Which points are replayed for the model's identity anybody can compute, so not even how many
    of them both judges agree on is told.
    """

    recorded: Count
    """Points on which both judges are recorded to agree (N0)."""
    hidden: Annotated[int, Field(ge=-MAX_POINTS, le=MAX_POINTS)]
    """Smallest number of false ones that puts the agreement off by ε (k)."""
    verdict: AuditVerdict
    """What follows: ``confirmed`` or ``inconclusive``."""


class SecondJudgeVerdict(SecondJudgeFindings):
    """What asking the second judge again says of its recorded agreement."""

    draws: Count
    """Of the recorded ones, points among those replayed for the model's identity, all asked
    again."""
    contradictions: Count
    """Of these, points to which the auditor's second judge gives another label, or whose replay
    counts against their recorded outcome."""
    p_value: Probability
    """1 / largest value of the confirming test martingale."""
    contradicted: DrawNumbers
    """Which of its draws, counted from 1, these are."""


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


class AuditResult(AuditTerms):
    """What both forms of an audit's result say."""

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
    identity: IdentityTest | None
    """The model-identity test; null: not made."""
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


class AuditPredicate(AuditResult):
    """Predicate ``urn:safety-receipts:audit:1``: the full form, for whoever may hold the
    evidence.
    """

    conditions: Annotated[tuple[RateVerdict, ...], Field(min_length=1, max_length=MAX_RATES)]
    """What it found about each rate."""
    drawn: Annotated[tuple[Digest, ...], Field(max_length=MAX_POINTS)]
    """Ids of the points replayed, in the order drawn."""
    identity_drawn: Annotated[tuple[Digest, ...], Field(max_length=MAX_POINTS)]
    """Ids of the points replayed for the model's identity, in the order drawn; some may have
    been drawn for a rate as well."""
    outcomes: OutcomeReplays | None = None
    """What these say of recorded outcomes; null: not counted, or nothing was replayed."""
    second_judge: SecondJudgeVerdict | None = None
    """What asking the second judge again says; null: there is none, or it was not asked."""
    blinding: Bytes32 | None = None
    """32 random bytes, so that nobody can test guesses of the draws against this statement's
    digest; null: there are none, and its digest is not published."""


class PublicAuditPredicate(AuditResult):
    """Predicate ``urn:safety-receipts:audit-public:1``: counts, p-values and verdicts, and no point
    named, for anybody.

    Draws of different tests are counted apart: which points are replayed for the model's identity
    anybody can compute, and how many of them were drawn for a rate as well tells their outcomes.
    """

    conditions: Annotated[tuple[RateFindings, ...], Field(min_length=1, max_length=MAX_RATES)]
    """What it found about each rate."""
    drawn: Count
    """Draws for its rates."""
    identity_drawn: Count
    """Points replayed for the model's identity."""
    outcomes: OutcomeFindings | None
    """What these say of recorded outcomes; null: not counted, or nothing was replayed."""
    second_judge: SecondJudgeFindings | None
    """What asking the second judge again says; null: there is none, or it was not asked."""
    full: Digest | None
    """Digest of the full form; null where that has no blinding."""
