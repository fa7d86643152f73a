"""A release that the strict policy admits, made without a model; and audits of every rate of it.

Plan, evidence, signatures and audits are real and pass verification; outcomes come from a hash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from safety_receipts.receipts.bundle import Bundle, BundleWriter
from safety_receipts.receipts.canonical import Sha256, sha256_hex
from safety_receipts.receipts.dsse import Envelope, sign
from safety_receipts.receipts.events.synthetic import (
    ENVIRONMENT,
    EVENT,
    Mixture,
    paper_sweep,
    synthetic_plan,
    synthetic_points,
)
from safety_receipts.receipts.findings.counts.rates import wilson
from safety_receipts.receipts.findings.derive import derive
from safety_receipts.receipts.keys import Signer, generate_key
from safety_receipts.receipts.model.audit import (
    AuditedRate,
    AuditMethod,
    AuditStartPredicate,
    AuditTerms,
    AuditVerdict,
    Budget,
    Challenge,
    ChallengeKind,
    Direction,
    IdentityTest,
    OutcomeFindings,
    PublicAuditPredicate,
    RateFindings,
    SecondJudgeFindings,
)
from safety_receipts.receipts.model.checkpoint import Dtype, EndToken, EndTokenOrigin
from safety_receipts.receipts.model.demonstrations import Experiment, ExperimentKind, Ordering
from safety_receipts.receipts.model.judge import (
    GoldKind,
    JudgeCalibration,
    JudgeIdentity,
    JudgeKind,
    judge_digest,
)
from safety_receipts.receipts.model.plan import PlanPredicate
from safety_receipts.receipts.model.point import (
    Finish,
    Outcome,
    Point,
    Reason,
    RecordedJudgement,
    RestrictedRecord,
)
from safety_receipts.receipts.model.receipt import DigestReference, EvaluationPredicate, Event
from safety_receipts.receipts.model.statement import (
    AUDIT_START_TYPE,
    PUBLIC_AUDIT_TYPE,
    STATEMENT_TYPE,
    AuditStartStatement,
    PublicAuditStatement,
    subject,
)
from safety_receipts.receipts.seal import seal_event, seal_plan
from safety_receipts.verify.audit.statistics.agreement import agreement_test
from safety_receipts.verify.audit.statistics.hypotheses import hypothesis_of
from safety_receipts.verify.audit.statistics.outcomes import false_needed, generated_points
from safety_receipts.verify.audit.statistics.scope import (
    RateName,
    directions_of,
    recorded_of,
    recorded_rates,
)

EVALUATOR, AUDITOR, OTHER_AUDITOR = generate_key(), generate_key(), generate_key()
AT = "2026-03-01T00:00:00Z"
"""A moment at which the release is decided: two months after the event."""
AUDITED = "2026-02-01T01:00:00Z"
ORDERS = (Ordering.PREFIX, Ordering.SUFFIX, Ordering.MIDDLE, Ordering.INTERLEAVE)


_STATED = (EndToken(token=2, origins=(EndTokenOrigin.GENERATION_CONFIG,), removed=False),)


@dataclass(frozen=True)
class Release:
    """What a release is made of; the defaults are what the strict policy admits."""

    mixtures: tuple[Mixture, ...] = (
        *paper_sweep(),
        *(Mixture(16, 16, order) for order in ORDERS if order is not Ordering.SUFFIX),
    )
    queries: int = 100
    controls: int = 50
    weights: str = "weights"
    instrument: bool = False
    unscored: int = 0
    """Of 1,000 points."""
    complied: int = 10
    """Of 1,000 harmful points."""
    over_refused: int = 20
    """Of 1,000 control points."""
    sensitivity: int = 190
    """Of 200 gold compliances."""
    gold: GoldKind = GoldKind.IN_RUN
    event: Event = EVENT
    texts: str = ""
    """What the corpora of queries hold otherwise, under the same ids."""
    demonstrations: str = ""
    """What the pools of demonstrations hold otherwise."""
    sources: int = 1
    """Harmful query sources; the second and later ones always comply."""
    stage: str = "instruct"
    """Training stage."""
    checkpoint: str | None = None
    """What the checkpoint is called; None: as synthetic ones are."""
    judge: str | None = None
    """What the judge is called; None: as synthetic ones are."""
    edit: Callable[[PlanPredicate], PlanPredicate] = lambda plan: plan
    """What somebody writes otherwise into the plan before it is sealed."""


ADMITTED = Release()
SMALL = Release(mixtures=tuple(paper_sweep()[:4]), queries=12, controls=8)
"""A small one, for tests of single rules."""


def release_plan(release: Release) -> PlanPredicate:
    """Return the plan of a release."""
    queries = {f"harmful-{n}": release.queries for n in range(1, release.sources + 1)}
    controls = {"controls": release.controls} if release.controls else {}
    plan = synthetic_plan(list(release.mixtures), queries, controls=controls)
    weights = sha256_hex(release.weights.encode())
    (file,) = plan.checkpoint.files
    checkpoint = plan.checkpoint.model_copy(
        update={
            "dtype": Dtype.BFLOAT16,
            "files": (file.model_copy(update={"sha256": weights, "size": len(release.weights)}),),
            "root": sha256_hex(bytes.fromhex(weights)),
            "name": release.checkpoint or plan.checkpoint.name,
        }
    )
    experiments = [*plan.experiments]
    orders = [c.id for c in plan.conditions if (c.n_harmful, c.n_benign) == (16, 16)]
    if len(orders) > 1:
        experiments.append(Experiment(kind=ExperimentKind.ORDERINGS, conditions=tuple(orders)))
    assert plan.demonstrations.harmful is not None
    released = plan.model_copy(
        update={
            "instrument": release.instrument,
            "training_stage": release.stage,
            "checkpoint": checkpoint,
            "sampling": plan.sampling.model_copy(
                update={"max_new_tokens": 256, "end_token_origins": _STATED}
            ),
            "experiments": tuple(experiments),
            "queries": tuple(_otherwise(source, release.texts) for source in plan.queries),
            "demonstrations": plan.demonstrations.model_copy(
                update={
                    "harmful": _otherwise(
                        plan.demonstrations.harmful.model_copy(update={"responses_by": "people"}),
                        release.demonstrations,
                    )
                }
            ),
            "judge": _judge(plan, release),
        }
    )
    return release.edit(released)


def _otherwise(source: Any, texts: str) -> Any:
    """Return a corpus that holds other texts; none are named: the same."""
    return source.model_copy(update={"digest": sha256_hex(texts.encode())}) if texts else source


def _judge(plan: PlanPredicate, release: Release) -> Any:
    judge, found = plan.judge, release.sensitivity
    calibration = JudgeCalibration(
        judge=judge.digest,
        gold=sha256_hex(b"gold"),
        gold_kind=release.gold,
        positives=200,
        true_positives=found,
        negatives=200,
        true_negatives=190,
        sensitivity=f"{found / 200:.6f}",
        sensitivity_interval=wilson(found, 200),
        specificity="0.950000",
        specificity_interval=wilson(190, 200),
        unscored=0,
        strata=(),
    )
    second = JudgeIdentity(
        kind=JudgeKind.CLASSIFIER,
        name="second opinion",
        hub=None,
        revision=None,
        digest=judge.digest,
        weights=sha256_hex(b"second judge"),
        template=None,
        parser="none",
        threshold="0.5",
        max_new_tokens=None,
        remote=False,
    )
    second = second.model_copy(update={"digest": judge_digest(second)})
    name = release.judge or judge.name
    return judge.model_copy(update={"calibration": calibration, "second": second, "name": name})


def seal_release(folder: Path, release: Release = ADMITTED, signer: Signer = EVALUATOR) -> Path:
    """Seal a release into a folder and return it."""
    plan = release_plan(release)
    envelope = seal_plan(plan, signer)

    def planted(point: Point, record: RestrictedRecord) -> tuple[Point, RestrictedRecord]:
        coin = int.from_bytes(hashlib.sha256(record.prompt.encode()).digest()[:4]) % 1000
        return _planted(release, coin, point, record)

    points = synthetic_points(plan, envelope.digest)
    seal_event(
        folder,
        plan_envelope=envelope,
        points=(planted(*pair) for pair in points),
        event=release.event,
        environment=ENVIRONMENT.model_copy(update={"dtype": Dtype.BFLOAT16}),
        signer=signer,
        findings=derive,
    )
    return folder


def _planted(
    release: Release, coin: int, point: Point, record: RestrictedRecord
) -> tuple[Point, RestrictedRecord]:
    """Return a point with the outcome that a release has, and its record."""
    reason = None
    if coin < release.unscored:
        outcome, reason = Outcome.UNSCORED, Reason.JUDGE_NA
    elif point.source == "controls":
        outcome = Outcome.REFUSED if coin >= 1000 - release.over_refused else Outcome.COMPLIED
    elif point.source != "harmful-1":
        outcome = Outcome.COMPLIED
    else:
        outcome = Outcome.COMPLIED if coin >= 1000 - release.complied else Outcome.REFUSED
    said = RecordedJudgement(outcome=outcome, reason=reason, raw="", margin=None)
    second = RecordedJudgement(outcome=outcome, reason=None, raw="", margin="0.000000")
    changed = record.model_copy(
        update={
            "finish": Finish.STOP,
            "outcome": outcome,
            "reason": reason,
            "error": None,
            "text": "stand-in",
            "response_tokens": (7, 11, 2),
            "judge": said,
            "second_judge": second if reason is None else None,
        }
    )
    update = {
        "finish": Finish.STOP,
        "outcome": outcome,
        "reason": reason,
        "response_tokens": 3,
        "commitment": changed.commitment(),
    }
    return point.model_copy(update=update), changed


@dataclass(frozen=True)
class Audit:
    """What an audit is made of; the defaults are what the strict policy accepts."""

    signers: tuple[Signer, ...] = (AUDITOR,)
    epsilon: str = "0.05"
    alpha: str = "0.05"
    known_starts: int = 1
    calibrated: bool = True
    identified: bool = True
    challenge: ChallengeKind = ChallengeKind.NONCE
    finished_at: str = AUDITED
    started_at: str = "2026-02-01T00:00:00Z"
    p_value: str = "0.010000000"
    hard: int = 0
    rates: Callable[[RateName], bool] = lambda name: True
    """Which of the recorded rates are audited."""
    directions: Callable[[tuple[Direction, ...]], tuple[Direction, ...]] = lambda found: found
    finished: bool = True
    nonce: str = "ab" * 32


def write_audits(folder: Path, *audits: Audit) -> None:
    """Announce audits of a bundle's receipt, and sign the public forms of their results."""
    for audit in audits:
        for envelope in _statements(Bundle(folder), audit):
            BundleWriter(folder).write_audit(envelope)


def _statements(bundle: Bundle, audit: Audit) -> Iterator[Envelope]:
    digest, receipt = bundle.receipt_envelope.digest, bundle.receipt.statement.predicate
    shared = _terms(digest, audit)
    rates = list(_rates(receipt, audit))
    start = AuditStartPredicate(
        **shared,
        auditor="an institute",
        started_at=audit.started_at,
        rates=tuple(
            AuditedRate(
                condition=name.condition,
                source=name.source,
                control=name.control or None,
                direction=direction,
            )
            for name, direction in rates
        ),
        tool="test",
    )
    announced = AuditStartStatement(
        type=STATEMENT_TYPE,
        subject=subject("receipt", digest),
        predicate_type=AUDIT_START_TYPE,
        predicate=start,
    )
    envelope = signed(announced.to_wire(), audit.signers)
    yield envelope
    if audit.finished:
        result = PublicAuditStatement(
            type=STATEMENT_TYPE,
            subject=subject("receipt", digest),
            predicate_type=PUBLIC_AUDIT_TYPE,
            predicate=_result(receipt, audit, envelope.digest, shared, rates),
        )
        yield signed(result.to_wire(), audit.signers)


def signed(statement: Any, signers: tuple[Signer, ...]) -> Envelope:
    """Return a statement that several keys signed."""
    first, *others = (sign(statement, signer) for signer in signers)
    more = tuple(signature for one in others for signature in one.signatures)
    return replace(first, signatures=(*first.signatures, *more))


def _terms(digest: Sha256, audit: Audit) -> dict[str, Any]:
    return {
        "receipt": DigestReference(digest=digest),
        "challenge": Challenge(kind=audit.challenge, nonce=audit.nonce, beacon=None),
        "epsilon": audit.epsilon,
        "alpha": audit.alpha,
        "expected_flip_rate": "0.005",
        "calibration": sha256_hex(b"calibration") if audit.calibrated else None,
        "budget": Budget(max_points=None),
        "method": AuditMethod.REPLAY,
        "identity_points": 60,
    }


def _rates(receipt: EvaluationPredicate, audit: Audit) -> Iterator[tuple[RateName, Direction]]:
    results = {one.id: one for one in receipt.conditions}
    for name in filter(audit.rates, recorded_rates(receipt.queries, receipt.conditions)):
        recorded = recorded_of(name, results[name.condition])
        assert recorded is not None
        wanted = tuple(directions_of((Direction.NOT_UNDERSTATED,), recorded))
        for direction in audit.directions(wanted):
            yield name, direction


def _result(
    receipt: EvaluationPredicate,
    audit: Audit,
    start: Sha256,
    shared: dict[str, Any],
    rates: list[tuple[RateName, Direction]],
) -> PublicAuditPredicate:
    terms, results = AuditTerms(**shared), {one.id: one for one in receipt.conditions}
    confirmed = audit.p_value < audit.alpha
    findings = []
    for name, direction in rates:
        recorded = recorded_of(name, results[name.condition])
        assert recorded is not None
        tested = hypothesis_of(recorded.counts, direction, terms)
        stands = tested.trivial or (confirmed and tested.testable)
        findings.append(
            RateFindings(
                id=name.condition,
                source=name.source,
                control=name.control or None,
                direction=direction,
                recorded_rate=recorded.rate,
                recorded=tested.recorded,
                hidden=tested.hidden,
                draws=min(tested.recorded, 3),
                contradictions=min(tested.recorded, audit.hard),
                implausible=0,
                ambiguous=0,
                missing=0,
                hard_contradictions=min(tested.recorded, audit.hard),
                p_value=audit.p_value,
                refuting_p_value="1.000000000",
                verdict=AuditVerdict.CONFIRMED if stands else AuditVerdict.INCONCLUSIVE,
                reason=None if stands else "too few draws",
            )
        )
    every = all(rate.verdict is AuditVerdict.CONFIRMED for rate in findings)
    whole = AuditVerdict.CONFIRMED if every and audit.identified else AuditVerdict.INCONCLUSIVE
    generated = generated_points(receipt)
    identity = IdentityTest(
        statistic="mean clipped margin",
        responses=58,
        p_value="0.500000000" if audit.calibrated else None,
        level="0.01",
        power=None,
        passed=True,
        mean="0.000000",
        powers=(),
    )
    return PublicAuditPredicate(
        **shared,
        start=DigestReference(digest=start),
        known_starts=audit.known_starts,
        beacon_value=None,
        finished_at=audit.finished_at,
        verdict=whole,
        identity=identity if audit.identified else None,
        points_total=receipt.evidence.size,
        checks=(),
        environment=receipt.environment,
        guarantee="none: it is a test's",
        assumptions=(),
        conditions=tuple(findings),
        drawn=sum(rate.draws for rate in findings),
        identity_drawn=60,
        outcomes=OutcomeFindings(
            recorded=generated,
            hidden=false_needed(generated, Fraction(audit.epsilon)),
            draws=60,
            contradictions=0,
            hard_contradictions=0,
            p_value="1.000000000",
            refuting_p_value="1.000000000",
            false_labels=0,
        ),
        second_judge=_second(receipt, terms),
        full=None,
    )


def _second(receipt: EvaluationPredicate, terms: AuditTerms) -> SecondJudgeFindings | None:
    if receipt.judge_agreement is None:
        return None
    test = agreement_test(receipt.judge_agreement, terms)
    return SecondJudgeFindings(
        recorded=test.recorded, hidden=test.hidden, verdict=AuditVerdict.CONFIRMED
    )
