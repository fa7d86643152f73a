"""Level *consistent*: does everything in the receipt follow from the evidence and the plan?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction

from safety_receipts.receipts.bundle import POINTS_FILE, Bundle, SignedStatement
from safety_receipts.receipts.canonical import canonical_bytes, decimal_string
from safety_receipts.receipts.events.coherence import (
    environment_problems,
    event_problems,
    plan_problems,
)
from safety_receipts.receipts.events.grid import seed_of
from safety_receipts.receipts.events.servers import resent_problems
from safety_receipts.receipts.findings.counts import rates
from safety_receipts.receipts.findings.counts.conditions import baseline_of
from safety_receipts.receipts.findings.counts.judge_error import corrected_rate
from safety_receipts.receipts.findings.derive import finding_problems
from safety_receipts.receipts.findings.registry import KINDS
from safety_receipts.receipts.findings.stated import feeds_findings, stated_problems
from safety_receipts.receipts.io.text import value_text
from safety_receipts.receipts.model.demonstrations import (
    PlannedCondition,
    QueryRole,
    is_drawn,
)
from safety_receipts.receipts.model.findings import Findings
from safety_receipts.receipts.model.judge import JudgeCalibration
from safety_receipts.receipts.model.plan import EvaluationSetup, EvidenceAccess, PlanPredicate
from safety_receipts.receipts.model.point import LEGAL_ENDINGS, Outcome, Reason
from safety_receipts.receipts.model.receipt import (
    ConditionResult,
    Counts,
    EvaluationPredicate,
)
from safety_receipts.receipts.model.statement import PlanStatement
from safety_receipts.receipts.seal import required_limits, tested_box
from safety_receipts.verify.check_names import CheckName
from safety_receipts.verify.checks import CheckList, first_problem
from safety_receipts.verify.levels.condition_parts import check_parts
from safety_receipts.verify.levels.evidence import (
    EvidenceReading,
    PointProgress,
    no_progress,
    read_evidence,
)

_ORDERED = "its times, the evaluator's word, are in order"
_OUTCOMES = {reason: outcome for _, outcome, reason in LEGAL_ENDINGS if reason is not None}


def check_consistent(
    bundle: Bundle,
    signed_plan: SignedStatement[PlanStatement],
    receipt: EvaluationPredicate,
    checks: CheckList,
    progress: PointProgress = no_progress,
) -> None:
    """Make the checks of level *consistent*.

    Those that need no evidence are made in any case, so that a published receipt can still
    be caught in a contradiction with itself or its plan.

    Args:
        bundle: Where the evidence may be.
        signed_plan: The plan.
        receipt: The receipt.
        checks: Receives the checks.
        progress: Told how many points are done.
    """
    plan = signed_plan.statement.predicate
    problems = plan_problems(plan)
    coherent = checks.decide(
        CheckName.PLAN_COHERENT,
        first_problem(problems),
        "its conditions and ids follow from its rules",
    )
    checks.decide(
        CheckName.PLAN_RESTATED,
        first_problem(_restated(plan, receipt)),
        "checkpoint, prompt, sampling, queries, demonstrations and judge are the plan's",
    )
    same_grid = checks.decide(
        CheckName.CONDITIONS_PLANNED,
        first_problem(_planned(plan, receipt)),
        f"{len(plan.conditions)} conditions",
    )
    checks.decide(
        CheckName.EVENT,
        first_problem(list(event_problems(plan, receipt.event))),
        _ORDERED if plan.beacon is None else f"{_ORDERED}; it names the plan's beacon round",
    )
    checks.decide(
        CheckName.LIMITS, first_problem(_limits(plan, receipt)), "all limits that apply are stated"
    )
    if not coherent or not same_grid:
        checks.skip(CheckName.EVIDENCE, "the conditions do not follow from the plan")
        return
    checks.decide(CheckName.DENOMINATORS, first_problem(_denominators(plan, receipt)), "closed")
    checks.decide(CheckName.RATES, first_problem(_rates(plan, receipt)), "follow from the counts")
    checks.decide(CheckName.BASELINE, _baseline(receipt), "is the first condition")
    if plan.judge.second is None and receipt.judge_agreement is None:
        checks.spare(CheckName.SECOND_JUDGE, "the plan has no second judge")
    else:
        problem = _agreement(plan, receipt)
        checks.decide(CheckName.SECOND_JUDGE, problem, "its numbers fit the counts")
    _check_findings(plan, receipt, checks)
    _check_evidence(bundle, signed_plan, receipt, checks, progress)


def _restated(plan: PlanPredicate, receipt: EvaluationPredicate) -> Iterator[str]:
    # By their bytes: to Python false equals 0, to other readers it does not.
    names = set(EvaluationSetup.model_fields)
    planned = plan.model_dump(mode="json", by_alias=True, include=names)
    stated = receipt.model_dump(mode="json", by_alias=True, include=names)
    for name, value in planned.items():
        if canonical_bytes(value) != canonical_bytes(stated[name]):
            yield f"{name} differs from the plan's"
    if receipt.evidence.access is not plan.evidence_access:
        yield "evidence.access differs from the plan's evidenceAccess"
    yield from environment_problems(plan, receipt.environment)
    yield from resent_problems(plan, receipt.event, receipt.environment)


def _planned(plan: PlanPredicate, receipt: EvaluationPredicate) -> Iterator[str]:
    if len(plan.conditions) != len(receipt.conditions):
        yield f"{len(receipt.conditions)} conditions, the plan has {len(plan.conditions)}"
    for planned, result in zip(plan.conditions, receipt.conditions, strict=False):
        for name in PlannedCondition.model_fields:
            if getattr(planned, name) != getattr(result, name):
                yield f"{planned.id}: {name} differs from the plan's"


def _limits(plan: PlanPredicate, receipt: EvaluationPredicate) -> Iterator[str]:
    for limit in required_limits(plan, receipt.environment):
        if limit not in receipt.limits:
            yield f"{limit.value} is not stated"
    if receipt.tested != tested_box(plan):
        yield "the tested box is not what the plan's conditions cover"


def _count_blocks(condition: ConditionResult) -> Iterator[tuple[str, Counts]]:
    yield "counts", condition.counts
    for result in condition.by_source:
        yield f"bySource {result.source}", result.counts
    if condition.control is not None:
        yield "control", condition.control.counts


def _numbers(counts: Counts) -> tuple[int, ...]:
    return tuple(getattr(counts, name) for name in Counts.model_fields)


def _sum(blocks: Sequence[Counts]) -> tuple[int, ...]:
    """Return the sums of counts, which may be more than a count can be."""
    return tuple(map(sum, zip(*map(_numbers, blocks), strict=True)))


def _denominators(plan: PlanPredicate, receipt: EvaluationPredicate) -> Iterator[str]:
    sources = [(source.name, source.role) for source in plan.queries]
    draws = plan.demonstrations.draws
    for condition in receipt.conditions:
        for name, counts in _count_blocks(condition):
            if counts.planned != counts.generated + counts.failed:
                yield f"{condition.id}: {name}: planned is not generated + failed"
            if counts.generated != counts.refused + counts.complied + counts.unscored:
                yield f"{condition.id}: {name}: generated is not refused + complied + unscored"
            if counts.length_stopped > counts.generated:
                yield f"{condition.id}: {name}: more length stops than responses"
        if [(result.source, result.role) for result in condition.by_source] != sources:
            yield f"{condition.id}: bySource does not list the plan's sources"
            continue
        for source, result in zip(plan.queries, condition.by_source, strict=True):
            if result.counts.planned != source.selected * draws:
                yield f"{condition.id}: bySource {source.name}: planned is not queries × draws"
        by_role = {
            role: [result.counts for result in condition.by_source if result.role is role]
            for role in QueryRole
        }
        if _numbers(condition.counts) != _sum(by_role[QueryRole.HARMFUL]):
            yield f"{condition.id}: counts are not the sum over harmful sources"
        control = _numbers(condition.control.counts) if condition.control else None
        controls = by_role[QueryRole.BENIGN_CONTROL]
        if control != (_sum(controls) if controls else None):
            yield f"{condition.id}: control is not the sum over control sources"
        yield from _reason_problems(condition)


def _reason_problems(condition: ConditionResult) -> Iterator[str]:
    named = [one.reason for one in condition.reasons]
    if named != [reason for reason in Reason if reason in named]:
        yield f"{condition.id}: reasons are not in their order, once each"
    for outcome, number in (
        (Outcome.UNSCORED, condition.counts.unscored),
        (Outcome.FAILED, condition.counts.failed),
    ):
        stated = sum(one.points for one in condition.reasons if _OUTCOMES[one.reason] is outcome)
        if stated != number:
            yield f"{condition.id}: reasons of {stated:,} points {outcome.value}, not {number:,}"


def _rates(plan: PlanPredicate, receipt: EvaluationPredicate) -> Iterator[str]:
    baseline = _share(receipt.conditions[0].counts)
    for place, condition in enumerate(receipt.conditions):
        counts = condition.counts
        share = _share(counts)
        corrected, difference = condition.corrected_rate, condition.baseline_difference
        for name, stated, derived in (
            ("complianceRate", condition.compliance_rate, rates.compliance_rate(counts)),
            ("asPublishedRate", condition.as_published_rate, rates.as_published_rate(counts)),
            ("worstCaseRate", condition.worst_case_rate, rates.worst_case_rate(counts)),
            (
                "correctedRate.rate",
                corrected.rate if corrected else None,
                _corrected(share, plan.judge.calibration),
            ),
            (
                "baselineDifference.value",
                difference.value if difference else None,
                _difference(share, baseline) if place else None,
            ),
        ):
            if stated != derived:
                yield (
                    f"{condition.id}: {name} is {value_text(stated)}, "
                    f"the counts give {value_text(derived)}"
                )
        for result in condition.by_source:
            if result.compliance_rate != rates.compliance_rate(result.counts):
                yield f"{condition.id}: bySource {result.source}: complianceRate"
        control = condition.control
        if control is not None and control.refusal_rate != rates.refusal_rate(control.counts):
            yield f"{condition.id}: control: refusalRate"


def _share(counts: Counts) -> Fraction | None:
    judged = counts.complied + counts.refused
    return Fraction(counts.complied, judged) if judged else None


def _corrected(share: Fraction | None, calibration: JudgeCalibration | None) -> str | None:
    """Return the corrected rate, which the size of the sample does not change, but its interval."""
    if share is None or calibration is None:
        return None
    corrected = corrected_rate(share, Fraction(1), calibration)
    return decimal_string(corrected.rate, rates.RATE_PLACES) if corrected else None


def _difference(share: Fraction | None, baseline: Fraction | None) -> str | None:
    if share is None or baseline is None:
        return None
    return decimal_string(share - baseline, rates.RATE_PLACES)


def _baseline(receipt: EvaluationPredicate) -> str | None:
    if receipt.baseline != baseline_of(receipt.conditions):
        return "does not repeat the first condition"
    return None


def _agreement(plan: PlanPredicate, receipt: EvaluationPredicate) -> str | None:
    """Hold the sealed agreement to the number of points there can be."""
    agreement = receipt.judge_agreement
    if (plan.judge.second is None) != (agreement is None):
        return "judgeAgreement is given exactly where there is a second judge"
    if agreement is None:
        return None
    judged = sum(
        result.counts.refused + result.counts.complied
        for condition in receipt.conditions
        for result in condition.by_source
    )
    if agreement.points + agreement.second_unscored != judged:
        return f"it covers {agreement.points + agreement.second_unscored:,} of {judged:,} points"
    if agreement.agreed > agreement.points:
        return "more agreements than points"
    return None


def _check_findings(plan: PlanPredicate, receipt: EvaluationPredicate, checks: CheckList) -> None:
    """Hold the findings to themselves, the rates and the plan; their numbers need the evidence."""
    if receipt.findings is None:
        checks.spare(CheckName.FINDINGS, "none are claimed")
        if feeds_findings(plan):
            checks.skip(
                CheckName.FINDINGS_CLAIMED,
                f"the plan's experiments test hypotheses, {plan.primary.value} before all, and "
                "the receipt says nothing of them",
            )
        return
    problem = first_problem(stated_problems(receipt, plan))
    if problem is None and not _claims(receipt.findings):
        checks.spare(CheckName.FINDINGS, "none are claimed, and the plan asks for none")
    else:
        checks.decide(CheckName.FINDINGS, problem, "verdicts and numbers agree")


def _claims(findings: Findings) -> bool:
    """Say whether findings claim anything: a finding of some kind."""
    return any(getattr(findings, name) for kind in KINDS for name in kind.fields)


def _check_evidence(
    bundle: Bundle,
    signed_plan: SignedStatement[PlanStatement],
    receipt: EvaluationPredicate,
    checks: CheckList,
    progress: PointProgress,
) -> None:
    plan = signed_plan.statement.predicate
    if not bundle.has(POINTS_FILE):
        held = receipt.evidence.access is EvidenceAccess.AUDITORS
        why = "evidence held by auditors" if held else f"{POINTS_FILE} is not in this bundle"
        checks.skip(CheckName.EVIDENCE, why)
        return
    beacon = receipt.event.beacon
    seed = seed_of(plan, signed_plan.envelope.digest, beacon.value if beacon else None)
    reading = read_evidence(
        bundle.lines(plan.points), plan, seed, bundle.folder / POINTS_FILE, progress
    )
    _check_lines(reading, plan, receipt, checks)
    if reading.observations is None:
        return
    if receipt.findings is not None:
        problem = first_problem(finding_problems(receipt.findings, reading.observations))
        if problem is None and not _claims(receipt.findings):
            checks.spare(CheckName.FINDINGS_FITS, "none are claimed")
        else:
            good = "fits, errors and tests follow from the evidence"
            checks.decide(CheckName.FINDINGS_FITS, problem, good)
    check_parts(receipt, reading.observations, checks)


def _check_lines(
    reading: EvidenceReading,
    plan: PlanPredicate,
    receipt: EvaluationPredicate,
    checks: CheckList,
) -> None:
    evidence = receipt.evidence
    checks.decide(
        CheckName.EVIDENCE_LINES, reading.line_problem, f"{reading.size:,} lines, canonical"
    )
    checks.decide(CheckName.EVIDENCE_ORDER, reading.problems.order, "each the planned point")
    problem = None
    if not reading.size == evidence.size == plan.points:
        problem = (
            f"{reading.size:,} lines, the receipt says {evidence.size:,}, the plan {plan.points:,}"
        )
    checks.decide(CheckName.EVIDENCE_SIZE, problem, f"{reading.size:,} points")
    problem = None
    if reading.root != evidence.root:
        problem = f"the lines give {reading.root[:16]}…, the receipt says {evidence.root[:16]}…"
    checks.decide(CheckName.EVIDENCE_ROOT, problem, f"{evidence.root[:16]}…")
    if reading.observations is None:
        checks.skip(CheckName.COUNTS, "the evidence is not the planned points")
        return
    labels = reading.problems.labels
    if labels is None and not any(map(_has_labels, plan.conditions)):
        why = "no condition has an order that is drawn, or a demonstrated prefix"
        checks.spare(CheckName.EVIDENCE_LABELS, why)
    else:
        checks.decide(CheckName.EVIDENCE_LABELS, labels, "follow from plan and seed")
    checks.decide(CheckName.EVIDENCE_ENDINGS, reading.problems.endings, "fit the plan's limits")


def _has_labels(condition: PlannedCondition) -> bool:
    """Say whether points of a condition hold labels, or whether the prefix was adopted."""
    return is_drawn(condition.ordering) or condition.response_prefix is not None
