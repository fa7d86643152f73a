"""Signed announcements and results of audits of the golden bundle, made without a model."""

from __future__ import annotations

from collections.abc import Collection
from fractions import Fraction
from pathlib import Path
from typing import Any

from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.dsse import Envelope, sign
from safety_receipts.receipts.events.synthetic import ENVIRONMENT
from safety_receipts.receipts.keys import Signer, generate_key
from safety_receipts.receipts.model.audit import (
    AuditedRate,
    AuditMethod,
    AuditPredicate,
    AuditStartPredicate,
    AuditTerms,
    AuditVerdict,
    Budget,
    Challenge,
    ChallengeKind,
    Direction,
    IdentityTest,
    OutcomeReplays,
    RateVerdict,
    SecondJudgeVerdict,
    audit_traits,
)
from safety_receipts.receipts.model.receipt import DigestReference
from safety_receipts.receipts.model.statement import (
    AUDIT_START_TYPE,
    AUDIT_TYPE,
    STATEMENT_TYPE,
    AuditStartStatement,
    AuditStatement,
    subject,
)
from safety_receipts.verify.audit.statistics.agreement import second_verdict
from safety_receipts.verify.audit.statistics.draws import GENERATED, DrawKind, points_in_order
from safety_receipts.verify.audit.statistics.hypotheses import hypothesis_of, kept_outcome
from safety_receipts.verify.audit.statistics.outcomes import (
    false_needed,
    generated_points,
    refuting_level,
)
from safety_receipts.verify.audit.statistics.risk_limit import (
    ConfirmingTest,
    RefutingTest,
    p_rounded_up,
)

AUDITOR, EVALUATOR_KEY = generate_key(), "ed25519.pub"
GOLDEN = Path(__file__).parents[1] / "golden" / "0.1" / "good" / "ed25519"
BASELINE = Bundle(GOLDEN).receipt.statement.predicate.baseline
NONCE = "ab" * 32
CONDITION, RATE = BASELINE.condition, BASELINE.compliance_rate
"""A condition of the golden bundle, and its sealed rate."""


def terms(receipt: Sha256, method: AuditMethod = AuditMethod.REPLAY) -> dict[str, Any]:
    """Return what announcement and result share."""
    return {
        "receipt": DigestReference(digest=receipt),
        "challenge": Challenge(kind=ChallengeKind.NONCE, nonce=NONCE, beacon=None),
        "epsilon": "0.3",
        "alpha": "0.05",
        "expected_flip_rate": "0.005",
        "calibration": None,
        "budget": Budget(max_points=None),
        "method": method,
        "identity_points": 60 if audit_traits(method).scores else 0,
    }


def method_of(verdict: AuditVerdict) -> AuditMethod:
    """Return a method that can say so."""
    regenerated = verdict is AuditVerdict.CONSISTENT_WITH
    return AuditMethod.REGENERATE if regenerated else AuditMethod.REPLAY


def amended(statement: Any, changes: dict[str, Any] | None) -> Any:
    """Return a statement's JSON with changes to its predicate, by dotted path."""
    for path, value in (changes or {}).items():
        *steps, last = path.split(".")
        part = statement["predicate"]
        for step in steps:
            part = part[int(step)] if step.isdecimal() else part[step]
        if isinstance(part, list):
            part[int(last)] = value
        else:
            part[last] = value
    return statement


UNDERSTATED = (Direction.NOT_UNDERSTATED,)


def announce(
    receipt: Sha256,
    signer: Signer = AUDITOR,
    *,
    method: AuditMethod = AuditMethod.REPLAY,
    directions: tuple[Direction, ...] = UNDERSTATED,
    changes: dict[str, Any] | None = None,
) -> Envelope:
    """Return a signed audit-start."""
    predicate = AuditStartPredicate(
        **terms(receipt, method),
        auditor="an institute",
        started_at="2026-02-01T00:00:00Z",
        rates=tuple(AuditedRate(condition=CONDITION, direction=each) for each in directions),
        tool="test",
    )
    statement = AuditStartStatement(
        type=STATEMENT_TYPE,
        subject=subject("receipt", receipt),
        predicate_type=AUDIT_START_TYPE,
        predicate=predicate,
    )
    return sign(amended(statement.to_wire(), changes), signer)


def rate_verdict(
    verdict: AuditVerdict,
    direction: Direction = Direction.NOT_UNDERSTATED,
    rates: int = 1,
    method: AuditMethod | None = None,
) -> RateVerdict:
    """Return a rate's verdict with draws that say so, where so many rates are audited."""
    rate = AuditedRate(condition=CONDITION, direction=direction)
    given = AuditTerms(**terms(Sha256("0" * 64), method or method_of(verdict)))
    tested = hypothesis_of(BASELINE.counts, direction, given)
    confirming = ConfirmingTest(tested.recorded, tested.hidden, tested.expected)
    refuting = RefutingTest(tested.recorded, tested.hidden)
    refuted = verdict is AuditVerdict.REFUTED
    while True:
        confirming.add(contradicted=refuted)
        refuting.add(hard=refuted)
        level = refuting_level(rates, outcomes=True)
        done = refuting.refuted(level) if refuted else confirming.confirmed(0.05)
        if done or verdict is AuditVerdict.INCONCLUSIVE:
            break
    draws = confirming.draws
    numbers = tuple(range(1, draws + 1)) if refuted else ()
    return RateVerdict(
        id=CONDITION,
        direction=rate.direction,
        recorded_rate=RATE,
        recorded=tested.recorded,
        hidden=tested.hidden,
        draws=draws,
        contradictions=len(numbers),
        implausible=0,
        ambiguous=0,
        missing=0,
        hard_contradictions=len(numbers),
        p_value=p_rounded_up(confirming.p_value),
        refuting_p_value=p_rounded_up(refuting.p_value),
        verdict=verdict,
        reason=None,
        contradicted=numbers,
        hard=numbers,
    )


def nothing_found(draws: int) -> OutcomeReplays:
    """Return what replays say that contradict no recorded outcome."""
    recorded = generated_points(Bundle(GOLDEN).receipt.statement.predicate)
    return OutcomeReplays(
        recorded=recorded,
        hidden=false_needed(recorded, Fraction("0.3")),
        draws=draws,
        contradictions=0,
        hard_contradictions=0,
        p_value="1.000000000",
        refuting_p_value="1.000000000",
        false_labels=0,
        contradicted=(),
        hard=(),
    )


def agreeing(sample: Collection[Sha256], given: AuditTerms) -> SecondJudgeVerdict:
    """Return what the second judge says that stands by its record."""
    agreement = Bundle(GOLDEN).receipt.statement.predicate.judge_agreement
    assert agreement is not None
    pairs = zip(Bundle(GOLDEN).points(), Bundle(GOLDEN).responses(), strict=True)
    asked = sum(
        point.id in sample
        and record.second_judge is not None
        and record.second_judge.outcome is record.outcome
        for point, record in pairs
    )
    return second_verdict(agreement, given, asked, ())


def report(
    receipt: Sha256,
    start: Sha256,
    verdict: AuditVerdict = AuditVerdict.CONFIRMED,
    signer: Signer = AUDITOR,
    *,
    changes: dict[str, Any] | None = None,
    directions: tuple[Direction, ...] = UNDERSTATED,
    nonce: str = NONCE,
    method: AuditMethod | None = None,
) -> Envelope:
    """Return a signed audit; ``changes`` are made to its JSON, by dotted path.

    Its points are drawn by ``nonce``.
    """
    method = method or method_of(verdict)
    rates = tuple(
        rate_verdict(verdict, direction, len(directions), method) for direction in directions
    )
    replayed = audit_traits(method).scores
    kinds = [
        DrawKind(CONDITION, kept_outcome(rate.direction) if replayed else None) for rate in rates
    ]
    shared = terms(receipt, method)
    shared["identity_points"] = (changes or {}).get("identityPoints", shared["identity_points"])
    orders = points_in_order(
        Bundle(GOLDEN),
        Bundle(GOLDEN).receipt.statement.predicate,
        [*kinds, GENERATED],
        (receipt, nonce),
        sample=shared["identity_points"],
    )
    identity = IdentityTest(
        statistic="mean clipped margin",
        responses=58,
        p_value=None,
        level="0.01",
        power=None,
        passed=True,
        mean="0.000000",
        powers=(),
    )
    sample = tuple(one.id for one in orders[GENERATED][: shared["identity_points"]])
    predicate = AuditPredicate(
        **shared,
        start=DigestReference(digest=start),
        finished_at="2026-02-01T01:00:00Z",
        verdict=verdict,
        conditions=rates,
        identity=identity if replayed else None,
        known_starts=1,
        beacon_value=None,
        drawn=tuple(
            one.id
            for rate, kind in zip(rates, kinds, strict=True)
            for one in orders[kind][: rate.draws]
        ),
        identity_drawn=sample,
        outcomes=nothing_found(len(sample)) if replayed else None,
        second_judge=agreeing(sample, AuditTerms(**shared)) if replayed else None,
        points_total=264,
        checks=(),
        environment=ENVIRONMENT,
        guarantee="splendid: believe every word",
        assumptions=(),
    )
    statement = AuditStatement(
        type=STATEMENT_TYPE,
        subject=subject("receipt", receipt),
        predicate_type=AUDIT_TYPE,
        predicate=predicate,
    )
    return sign(amended(statement.to_wire(), changes), signer)
