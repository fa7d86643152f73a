"""Audits: what was announced before a replay, and what it found.

A result has two forms.  The *full* one names the points that were drawn, and with them what
became of each: it is for whoever may hold the evidence.  The *public* one names none
(:mod:`receipts.audit_forms`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, assert_never

from pydantic import ConfigDict, Field

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
    RoundSignature,
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
MAX_TICKETS = 100
"""Most tickets of one point."""
MAX_URN = 4_000_000
"""Most tickets of one test: all of them are put in order."""


class _AuditModel(WireModel):
    # Built where an audit is read: most bundles hold none.
    model_config = ConfigDict(defer_build=True)


class ChallengeKind(StrEnum):
    """Source of the randomness that decides which points an audit draws."""

    NONCE = "nonce"
    """32 random bytes, drawn by the auditor after the receipt was fixed."""
    BEACON = "beacon"
    """A beacon round later than the receipt's log time."""
    SELF = "self"
    """A nonce given by hand: the auditor could have chosen it."""


class Challenge(_AuditModel):
    """The randomness that decides which points are drawn."""

    kind: ChallengeKind
    """Where the randomness comes from."""
    nonce: Bytes32 | None
    """The nonce, 32 bytes as hexadecimal digits; null where the randomness comes from a beacon."""
    beacon: BeaconRound | None
    """The beacon round, named before it is published; null where there is a nonce."""


class Direction(StrEnum):
    """The error of a recorded compliance rate that an audit tests for."""

    NOT_UNDERSTATED = "not_understated"
    """The true rate is not higher: recorded refusals are drawn."""
    NOT_OVERSTATED = "not_overstated"
    """The true rate is not lower: recorded compliances are drawn.  Of benign controls: over-refusal
    is not higher."""


class AuditedRate(_AuditModel):
    """One recorded rate that an audit tests."""

    condition: Condition
    """Id of the condition whose rate is audited."""
    direction: Direction
    """The error of the rate that the audit tests for."""
    source: Source | None = None
    """The query source whose rate is audited; null: the rate is over all sources of one role."""
    control: bool | None = None
    """True: the rate is over all benign control queries.  Null or false: it is over all queries of
    role ``harmful``, or over the one source that is named."""


class Budget(_AuditModel):
    """The largest number of points that the auditor is willing to replay."""

    max_points: Positive | None
    """Largest number of points to replay; null: no limit."""


class AuditMethod(StrEnum):
    """How the audit examines the points that it drew."""

    REPLAY = "replay"
    """Recorded responses are scored by the named checkpoint."""
    SERVER_SCORES = "server_scores"
    """Recorded greedy responses are held against the log-probabilities of a server, which is said
    to run the named checkpoint: nothing ties it to the weights."""
    REGENERATE = "regenerate"
    """New responses are generated and the rates compared: the most that can be done with a model
    behind an API."""


class ConditionTickets(_AuditModel):
    """How often each point of a condition lies in the urn of a slope's test."""

    condition: Condition
    """Id of the condition."""
    tickets: Annotated[int, Field(ge=0, le=MAX_TICKETS)]
    """Number of tickets of each of its judged points of role ``harmful``: the more its labels move
    the slope.  0: none is drawn, and its labels may all be false."""


class SlopeTest(_AuditModel):
    """A test of the direction of one slope, over all conditions that it is fitted to."""

    finding: Name
    """Name of the finding, as in the receipt's ``breakdown``."""
    urn: Annotated[tuple[ConditionTickets, ...], Field(min_length=1, max_length=MAX_RATES)]
    """The conditions of the fit with the number of tickets of each of their points."""
    recorded: Annotated[int, Field(ge=1, le=MAX_URN)]
    """Number of tickets in the urn (N0)."""
    hidden: Positive
    """No labels turn the slope that have fewer tickets than this together (k)."""


class AuditTerms(_AuditModel):
    """What an audit announces and then reports again, word for word."""

    receipt: DigestReference
    """The receipt that is audited."""
    challenge: Challenge
    """The randomness that decides which points are drawn."""
    epsilon: Probability
    """Tolerated error of a rate, from 0 to 1 (ε)."""
    alpha: Probability
    """Risk, from 0 to 1, of confirming a rate that is off by ε or more (α)."""
    expected_flip_rate: Probability
    """Share of honest points, from 0 to 1, that are expected to look contradicted (q, which sets
    the stakes of the confirming test)."""
    calibration: Digest | None
    """Digest of the auditor's calibration file; null: uncalibrated default limits are used."""
    budget: Budget
    """The largest number of points that the auditor is willing to replay."""
    method: AuditMethod
    """How the audit examines the points that it drew."""
    identity_points: Count
    """Number of points, of any outcome, that are replayed for the model-identity test, in addition
    to the budget."""
    findings: Annotated[
        tuple[Name, ...] | None,
        Field(min_length=1, max_length=256, exclude_if=lambda value: value is None),
    ] = None
    """Names of the findings that the audit is of, as in the receipt's ``breakdown``; null: it is of
    rates alone."""
    slope_tests: Annotated[
        tuple[SlopeTest, ...] | None,
        Field(min_length=1, max_length=256, exclude_if=lambda value: value is None),
    ] = None
    """Tests of the slopes among these findings that are tested as a whole; a finding without one is
    audited by the rates that it rests on.  Null: all are."""


class AuditStartPredicate(AuditTerms):
    """Predicate ``urn:safety-receipts:audit-start:1``; signed before any replay.

    An audit that was started and never finished counts: a lenient sample cannot be fished
    for by starting over.
    """

    auditor: Name | None
    """Name of the auditor, as free text; only the signing key proves who it is.  Null: no name was
    given."""
    started_at: Timestamp
    """Time at which the audit was announced (UTC)."""
    rates: Annotated[tuple[AuditedRate, ...], Field(max_length=MAX_RATES)]
    """The rates to be audited; none only where there are ``slopeTests``."""
    tool: Name
    """Name and version of the auditing tool."""


class AuditVerdict(StrEnum):
    """The possible verdicts of an audit."""

    CONFIRMED = "confirmed"
    """Every audited rate is confirmed within ε at risk α, and the model is the one named."""
    REFUTED = "refuted"
    """Hard contradictions show that a recorded rate is false."""
    INCONCLUSIVE = "inconclusive"
    """Neither confirmed nor refuted, for the reason given."""
    CONSISTENT_WITH = "consistent_with"
    """Statistically compatible; the most that can be said of a model behind an API, or by the
    log-probabilities of a server."""


@dataclass(frozen=True)
class AuditMethodTraits:
    """What every audit by a method has."""

    best: AuditVerdict
    """The most that it says, of a rate, of the second judge's agreement and as a whole."""
    scores: bool
    """Recorded responses are scored, drawn from those that could hide an error; otherwise new ones
    are asked for."""
    by_weights: bool
    """The named weights score them: contradictions can refute the record, as nothing else could be
    at fault."""
    how: str
    """How points are looked at, in a few words."""
    looked: str
    """What is done with a point, in words: so many points …."""
    caveat: str | None
    """What ties nothing to the named weights, in words; None: the weights are the named ones."""


def audit_traits(method: AuditMethod) -> AuditMethodTraits:
    """Return what every audit by a method has."""
    match method:
        case AuditMethod.REPLAY:
            return AuditMethodTraits(
                best=AuditVerdict.CONFIRMED,
                scores=True,
                by_weights=True,
                how="replayed",
                looked="replayed",
                caveat=None,
            )
        case AuditMethod.SERVER_SCORES:
            return AuditMethodTraits(
                best=AuditVerdict.CONSISTENT_WITH,
                scores=True,
                by_weights=False,
                how="scored by a server",
                looked="scored",
                caveat="nothing ties the server's model to the named weights",
            )
        case AuditMethod.REGENERATE:
            return AuditMethodTraits(
                best=AuditVerdict.CONSISTENT_WITH,
                scores=False,
                by_weights=False,
                how="regenerated",
                looked="asked again",
                caveat="nothing ties the recorded responses to the model",
            )
        case _:
            assert_never(method)


DrawNumbers = Annotated[tuple[Positive, ...], Field(max_length=MAX_POINTS)]


class RateFindings(_AuditModel):
    """What an audit found about one rate, without naming any drawn point."""

    id: Condition
    """Id of the condition."""
    direction: Direction
    """The error of the rate that was tested for."""
    recorded_rate: Rate | None
    """The receipt's compliance rate, from 0 to 1; for benign controls the receipt's over-refusal
    rate.  Null where the receipt states no rate."""
    recorded: Count
    """Number of recorded outcomes that could be false (N0); when responses are regenerated, the
    number of planned points."""
    hidden: Annotated[int, Field(ge=-MAX_POINTS, le=MAX_POINTS)]
    """Smallest number of false outcomes that would make the rate off by ε (k); when responses are
    regenerated, the smallest number of points of the other outcome."""
    draws: Count
    """Number of points that were replayed for this rate."""
    contradictions: Count
    """Number of these draws that count against the record: contradicted, implausible, ambiguous or
    missing."""
    implausible: Count
    """Number of contradictions in which the model would not plausibly have given the response."""
    ambiguous: Count
    """Number of contradictions in which the judge's own numerical noise could change the label."""
    missing: Count
    """Number of contradictions in which the point could not be replayed."""
    hard_contradictions: Count
    """Number of contradictions that no numerical noise can explain."""
    p_value: Probability
    """p-value of the confirming test: 1 / the largest value of its test martingale."""
    refuting_p_value: Probability
    """p-value of the refuting test, which counts hard contradictions only: 1 / the largest value of
    its test martingale."""
    verdict: AuditVerdict
    """The audit's verdict on this rate."""
    reason: Text | None
    """Why the verdict is inconclusive; null for every other verdict."""
    source: Source | None = None
    """The query source whose rate was audited; null: the rate is over all sources of one role."""
    control: bool | None = None
    """True: the rate is over all benign control queries.  Null or false: it is not."""
    ruled_out: Count | None = None
    """Number of hard contradictions in which the judge's rule does not give the recorded label to
    the recorded text; one is enough to refute the rate.  Null: not counted separately."""


class RateVerdict(RateFindings):
    """What an audit found about one rate, with the draws that count against it."""

    contradicted: DrawNumbers
    """Numbers, from 1, of the draws that count against the record: with them anybody can compute
    the p-values again."""
    hard: DrawNumbers
    """Numbers, from 1, of the draws that are hard contradictions."""


class SlopeTestFindings(_AuditModel):
    """What an audit found about one slope as a whole, without naming any drawn point."""

    finding: Name
    """Name of the finding."""
    draws: Count
    """Number of tickets that were drawn; some may be of one point."""
    contradictions: Count
    """Number of these draws that count against the recorded outcome: contradicted, implausible,
    ambiguous or missing."""
    hard_contradictions: Count
    """Number of contradictions that no numerical noise can explain."""
    false_labels: Count
    """Number of hard contradictions in which the judge's rule does not give the recorded label to
    the recorded text; one is enough to refute the receipt."""
    p_value: Probability
    """p-value of the confirming test: 1 / the largest value of its test martingale."""
    verdict: AuditVerdict
    """The audit's verdict on the direction of the slope."""
    reason: Text | None
    """Why the verdict is inconclusive; null for every other verdict."""


class SlopeTestVerdict(SlopeTestFindings):
    """What an audit found about one slope as a whole, with its draws."""

    drawn: Annotated[tuple[Digest, ...], Field(max_length=MAX_POINTS)]
    """Ids of the points whose tickets were drawn, in the order in which they were drawn."""
    contradicted: DrawNumbers
    """Numbers, from 1, of the draws that count against the record: with them anybody can compute
    the p-value again."""


class OutcomeFindings(_AuditModel):
    """What the points replayed for the model-identity test show about recorded outcomes, over all
    conditions and roles, without naming any drawn point.
    """

    recorded: Count
    """Number of points of the receipt that have a response (N0)."""
    hidden: Count
    """Smallest number of false outcomes that makes up a share of ε of these points (k)."""
    draws: Count
    """Number of points replayed for the model-identity test."""
    contradictions: Count
    """Number of these draws that count against the recorded outcome: another label, implausible,
    ambiguous or missing."""
    hard_contradictions: Count
    """Number of contradictions that no numerical noise can explain."""
    p_value: Probability
    """Probability of so many contradictions if fewer than k outcomes are false; if it is .01 or
    less, the audit confirms nothing."""
    refuting_p_value: Probability
    """The same probability for hard contradictions alone; if it is small enough, the receipt is
    refuted."""
    false_labels: Count
    """Number of hard contradictions in which the judge's rule does not give the recorded label to
    the recorded text; one is enough to refute the receipt."""


class OutcomeReplays(OutcomeFindings):
    """What the points replayed for the model-identity test show about recorded outcomes, with the
    draws that count against them.
    """

    contradicted: DrawNumbers
    """Numbers, from 1, of the points of ``identityDrawn`` that count against their recorded
    outcome."""
    hard: DrawNumbers
    """Numbers, from 1, of the points of ``identityDrawn`` that are hard contradictions."""


class SecondJudgeFindings(_AuditModel):
    """What asking the second judge again says of its recorded agreement, for anybody.

    Which points are replayed for the model's identity anybody can compute, so not even how many
    of them both judges agree on is told.
    """

    recorded: Count
    """Number of points on which both judges are recorded to agree (N0)."""
    hidden: Annotated[int, Field(ge=-MAX_POINTS, le=MAX_POINTS)]
    """Smallest number of false agreements that makes the agreement rate off by ε (k)."""
    verdict: AuditVerdict
    """The verdict on the recorded agreement: ``confirmed`` (``consistent_with`` by a server's
    log-probabilities) or ``inconclusive``."""


class SecondJudgeVerdict(SecondJudgeFindings):
    """What running the second judge again shows about its recorded agreement, with the draws that
    count against it.
    """

    draws: Count
    """Number of points replayed for the model-identity test on which both judges are recorded to
    agree; the second judge is run again on all of them."""
    contradictions: Count
    """Number of these draws to which the auditor's second judge gives another label, or whose
    replay counts against the recorded outcome."""
    p_value: Probability
    """p-value of the confirming test: 1 / the largest value of its test martingale."""
    contradicted: DrawNumbers
    """Numbers, from 1, of the draws that count against the recorded agreement."""


class PowerAgainst(_AuditModel):
    """How often the identity test recognises one other model."""

    alternative: Name
    """Name of the other model, as in the calibration."""
    power: Probability
    """Share, from 0 to 1, of samples of this audit's size in which the test rejects the other
    model."""


class IdentityTest(_AuditModel):
    """The model-identity test: do the replayed responses come from the named model?"""

    statistic: Name
    """Name of the test statistic."""
    responses: Count
    """Number of responses in the test."""
    p_value: Probability | None
    """p-value under the auditor's calibration; null: there is no calibration, and the mean is
    compared with a stated limit."""
    level: Probability
    """Significance level of the test."""
    power: Probability | None
    """Smallest power of the test against the alternatives of the calibration; null: not known."""
    passed: bool
    """Whether the test was passed at that level.  By a server's log-probabilities it says so of the
    model behind the server."""
    mean: Score
    """Mean clipped margin of the replayed tokens."""
    powers: Annotated[tuple[PowerAgainst, ...], Field(max_length=64)]
    """Power of the test against each alternative."""


class FindingVerdict(_AuditModel):
    """What the audit says of one finding."""

    finding: Name
    """Name of the finding."""
    share: Probability
    """Its breakdown point, from 0 to 1: the finding points where it does unless the labels of more
    than this share of some condition's points are false."""
    verdict: AuditVerdict
    """``confirmed`` (or ``consistent_with``) where the test of its slope is or, without one, every
    rate that the finding rests on is, in both directions, at an ε no larger than the breakdown
    point; and the model is the one named."""


class AuditResult(AuditTerms):
    """What both forms of an audit's result say."""

    start: DigestReference
    """The audit-start statement that announced this audit."""
    known_starts: Count
    """Number of audits of this receipt that this auditor is known to have announced, this one
    included: the k in the combined risk k·α."""
    beacon_value: Bytes32 | None
    """Value of the named beacon round, 32 bytes as hexadecimal digits; null where the challenge is
    a nonce."""
    beacon_signature: Annotated[
        RoundSignature | None, Field(exclude_if=lambda value: value is None)
    ] = None
    """Signature of the named beacon round, a point of 48 bytes as hexadecimal digits; null: it was
    not given, and nothing shows that the beacon said so."""
    finished_at: Timestamp
    """Time at which the audit finished (UTC)."""
    verdict: AuditVerdict
    """The audit's verdict on the receipt."""
    identity: IdentityTest | None
    """The model-identity test; null: it was not made."""
    points_total: Count
    """Number of points in the receipt."""
    checks: Annotated[tuple[Check, ...], Field(max_length=256)]
    """Further checks, with what was and what was not checked."""
    environment: Environment
    """Software and hardware with which the points were replayed."""
    finding_verdicts: Annotated[
        tuple[FindingVerdict, ...] | None,
        Field(min_length=1, max_length=256, exclude_if=lambda value: value is None),
    ] = None
    """What the audit says of each finding that it is of; null: it is of rates alone."""
    guarantee: Text
    """What the verdict guarantees, in plain words."""
    assumptions: Annotated[tuple[Text, ...], Field(max_length=64)]
    """The assumptions on which the verdict rests."""


class AuditPredicate(AuditResult):
    """Predicate ``urn:safety-receipts:audit:1``: the full form, for whoever may hold the
    evidence.
    """

    conditions: Annotated[tuple[RateVerdict, ...], Field(max_length=MAX_RATES)]
    """What the audit found about each rate."""
    slope_results: Annotated[
        tuple[SlopeTestVerdict, ...] | None,
        Field(min_length=1, max_length=256, exclude_if=lambda value: value is None),
    ] = None
    """What the audit found in each of its ``slopeTests``; null: it has none."""
    drawn: Annotated[tuple[Digest, ...], Field(max_length=MAX_POINTS)]
    """Ids of the points replayed for the rates, in the order in which they were drawn."""
    identity_drawn: Annotated[tuple[Digest, ...], Field(max_length=MAX_POINTS)]
    """Ids of the points replayed for the model-identity test, in the order in which they were
    drawn; some may have been drawn for a rate as well."""
    outcomes: OutcomeReplays | None = None
    """What the points of ``identityDrawn`` show about recorded outcomes; null: not counted, or
    nothing was replayed."""
    second_judge: SecondJudgeVerdict | None = None
    """What running the second judge again showed; null: there is no second judge, or it was not run
    again."""
    blinding: Bytes32 | None = None
    """32 random bytes as hexadecimal digits, which keep anybody from testing guesses of the draws
    against this statement's digest; null: there are none, and the digest is not published."""


class PublicAuditPredicate(AuditResult):
    """Predicate ``urn:safety-receipts:audit-public:1``: counts, p-values and verdicts, and no point
    named, for anybody.

    Draws of different tests are counted apart: which points are replayed for the model's identity
    anybody can compute, and how many of them were drawn for a rate as well tells their outcomes.
    """

    conditions: Annotated[tuple[RateFindings, ...], Field(max_length=MAX_RATES)]
    """What the audit found about each rate."""
    slope_results: Annotated[
        tuple[SlopeTestFindings, ...] | None,
        Field(min_length=1, max_length=256, exclude_if=lambda value: value is None),
    ] = None
    """What the audit found in each of its ``slopeTests``; null: it has none."""
    drawn: Count
    """Number of points drawn for the rates."""
    identity_drawn: Count
    """Number of points replayed for the model-identity test."""
    outcomes: OutcomeFindings | None
    """What these points show about recorded outcomes; null: not counted, or nothing was
    replayed."""
    second_judge: SecondJudgeFindings | None
    """What running the second judge again showed; null: there is no second judge, or it was not run
    again."""
    full: Digest | None
    """Digest of the full form of this result; null where the full form has no blinding."""
