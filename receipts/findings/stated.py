"""What findings say of themselves, without the points: their arithmetic, words and grid.

A published receipt has no points to fit again.  Its numbers must still agree with each other, with
the rates beside them, and with the plan.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from math import isclose
from typing import Final

import numpy as np

from safety_receipts.receipts.findings.counts.observations import Observations
from safety_receipts.receipts.findings.counts.tally import FEWEST_LISTS
from safety_receipts.receipts.findings.derive import differences
from safety_receipts.receipts.findings.effects import (
    ALPHA,
    CONFIDENCE,
    EQUIVALENCE,
    bonferroni,
    is_significant,
)
from safety_receipts.receipts.findings.fits.clusters import (
    FEWEST_QUERIES,
    degrees_of_freedom,
    doubt,
)
from safety_receipts.receipts.findings.fits.distributions import (
    normal_two_sided,
    student_quantile,
    t_two_sided,
)
from safety_receipts.receipts.findings.fits.logit import newton
from safety_receipts.receipts.findings.fits.study import Study
from safety_receipts.receipts.findings.formats import format_places
from safety_receipts.receipts.findings.joint import joint_groups
from safety_receipts.receipts.findings.multiplicity import settle
from safety_receipts.receipts.findings.orderings import ordering_groups
from safety_receipts.receipts.findings.total import total_groups
from safety_receipts.receipts.model.base import ConditionId
from safety_receipts.receipts.model.demonstrations import QueryRole
from safety_receipts.receipts.model.findings import (
    ONE_IN_TWENTY,
    AdoptionRate,
    ClusterMethod,
    Clusters,
    Findings,
    FormatFinding,
    FormatWord,
    JointFinding,
    JointFit,
    SignedInterval,
    Slope,
    SlopeFinding,
    TotalFinding,
)
from safety_receipts.receipts.model.plan import PlanPredicate
from safety_receipts.receipts.model.receipt import EvaluationPredicate

_HALF_PLACE: Final = 5e-7
"""How far a number with six decimals may be from the one that was rounded."""


def stated_problems(receipt: EvaluationPredicate, plan: PlanPredicate) -> Iterator[str]:
    """Yield what in a receipt's findings contradicts itself, its rates or the plan.

    Args:
        receipt: A receipt with findings, whose conditions are the plan's.
        plan: The plan.
    """
    findings = receipt.findings
    if findings is None:
        return
    if findings.alpha != ALPHA:
        yield f"findings.alpha is {findings.alpha}, not {ALPHA}"
    yield from differences(findings.to_wire(), settle(findings, plan).to_wire())
    yield from _grid_problems(findings, plan)
    joints = filter(None, (findings.joint, *(findings.joint_in_other_orders or ())))
    for joint in joints:
        yield from _joint_problems(joint, plan)
    if findings.total is not None:
        yield from _total_problems(findings.total)
    sources = findings.sources
    for slope in (*sources.slopes, *sources.length_matched) if sources else ():
        yield from _slope_problems("findings.sources", slope, plan)
        yield from _interval_problems("findings.sources", slope, _ends(slope))
    rates = {condition.id: condition.compliance_rate for condition in receipt.conditions}
    for ordering in findings.orderings or ():
        for rate in ordering.rates:
            if rate.compliance_rate != rates.get(rate.condition, "none"):
                yield f"findings.orderings: {rate.condition} has another rate among the conditions"
        if ordering.position is not None and ordering.position.slope is not None:
            yield from _slope_problems("findings.orderings", ordering.position.slope, plan)
    for format_ in findings.formats or ():
        yield from _format_problems(format_)


def feeds_findings(plan: PlanPredicate) -> bool:
    """Say whether some experiment of the plan feeds a joint, total-count or ordering finding."""
    study = _without_points(plan)
    groups = (joint_groups(study), total_groups(study), ordering_groups(study))
    return any(True for found in groups for _ in found)


def _without_points(plan: PlanPredicate) -> Study:
    """Return a study that knows its grid, and no point."""
    nothing = np.zeros((len(plan.conditions), 0, 0), dtype=np.int8)
    tokens = nothing.astype(np.int64)
    return Study(Observations(plan, nothing, nothing, nothing, tokens, nothing, nothing), newton)


def _grid_problems(findings: Findings, plan: PlanPredicate) -> Iterator[str]:
    study = _without_points(plan)
    joints = [] if findings.joint is None else [findings.joint]
    joints += findings.joint_in_other_orders or ()
    total = findings.total.rows if findings.total else ()
    found: dict[str, tuple[object, object]] = {
        "joint": (
            [(joint.ordering, joint.conditions) for joint in joints],
            [(order, study.ids(places)) for order, places in joint_groups(study)],
        ),
        "total": (
            [(row.total, row.conditions) for row in total],
            [(number, study.ids(places)) for number, places in total_groups(study)],
        ),
        "orderings": (
            [sorted(rate.condition for rate in one.rates) for one in findings.orderings or ()],
            [sorted(study.ids(places)) for places in ordering_groups(study)],
        ),
        "formats": (
            [(one.condition, one.prefix) for one in findings.formats or ()],
            [(study.condition(place).id, prefix) for place, prefix in format_places(study)],
        ),
    }
    for name, (stated, planned) in found.items():
        if stated != planned:
            yield f"findings.{name}: not the conditions that the plan's experiments ask for"
    known = {condition.id for condition in plan.conditions}
    for id_ in _other_ids(findings):
        if id_ not in known:
            yield f"findings name {id_}, which is no condition of the plan"


def _other_ids(findings: Findings) -> Iterator[ConditionId]:
    for source in findings.sources.slopes if findings.sources else ():
        yield from source.conditions
    for context in findings.contexts or ():
        yield from (context.condition, context.turns)


def _joint_problems(joint: JointFinding, plan: PlanPredicate) -> Iterator[str]:
    where = "findings.joint"
    if (joint.alpha, joint.margin) != (ALPHA, plan.effect_margin):
        yield f"{where}: another level or margin than the plan's"
    yield from _cluster_problems(joint.clusters, plan)
    for fit in filter(None, (joint.as_published, joint.clustered)):
        yield from _fit_problems(where, fit)
    clustered = joint.clustered
    if clustered is None:
        if joint.interval is not None or joint.equivalence is not None:
            yield f"{where}: intervals without a fit"
    elif clustered.clusters != joint.clusters or clustered.df != degrees_of_freedom(joint.clusters):
        yield f"{where}: degrees of freedom or clusters of the fit are not those of its points"
    else:
        yield from _interval_problems(
            where,
            joint,
            (float(clustered.beta2), float(clustered.se2), degrees_of_freedom(joint.clusters)),
        )
    if (joint.permutation is not None) != (
        doubt(joint.clusters) is None
        and (clustered is None or joint.informative_queries < FEWEST_QUERIES)
    ):
        yield f"{where}: the test without fit goes with fewer than 30 informative queries"
    for level in joint.by_harmful:
        yield from _slope_problems(f"{where}.byHarmful", level, plan)
        if level.informative_queries > joint.informative_queries:
            yield f"{where}.byHarmful: more informative queries than there are in all"


def _cluster_problems(clusters: Clusters, plan: PlanPredicate) -> Iterator[str]:
    asked = sum(one.selected for one in plan.queries if one.role is QueryRole.HARMFUL)
    own = plan.demonstrations.draw_block == 1
    most = asked * plan.demonstrations.draws if own else plan.demonstrations.distinct_lists
    if clusters.queries > asked or clusters.lists > most:
        yield "findings.joint.clusters: more queries or lists than the plan has"
    if own and clusters.method is not ClusterMethod.QUERY:
        yield "findings.joint.clusters: no two queries of this plan share a list"
    if clusters.method is not ClusterMethod.QUERY and (
        (clusters.lists < FEWEST_LISTS) != (clusters.method is ClusterMethod.QUERY_GIVEN_LISTS)
    ):
        yield "findings.joint.clusters: the method does not go with the number of lists"


def _fit_problems(where: str, fit: JointFit) -> Iterator[str]:
    if not _is_ratio(fit.z2, fit.beta2, fit.se2):
        yield f"{where}: z2 is not beta2 / se2"
    z = float(fit.z2)
    p = normal_two_sided(z) if fit.df is None else t_two_sided(z, fit.df)
    if not _is_p(fit.p2, p, z):
        yield f"{where}: p2 is {fit.p2}, z2 gives {p:.6g}"


def _slope_problems(where: str, slope: Slope, plan: PlanPredicate) -> Iterator[str]:
    if slope.df > plan.points:
        yield f"{where}: {slope.df:,} degrees of freedom of {plan.points:,} points"
    if not _is_ratio(slope.t, slope.beta, slope.se):
        yield f"{where}: t is not beta / se"
    t = float(slope.t)
    if not _is_p(slope.p, p := t_two_sided(t, slope.df), t):
        yield f"{where}: p is {slope.p}, t gives {p:.6g}"


def _ends(slope: Slope) -> tuple[float, float, int]:
    return float(slope.beta), float(slope.se), slope.df


def _interval_problems(
    where: str, stated: JointFinding | SlopeFinding, fitted: tuple[float, float, int]
) -> Iterator[str]:
    beta, se, df = fitted
    for name, interval, confidence in (
        ("interval", stated.interval, CONFIDENCE),
        ("equivalence", stated.equivalence, EQUIVALENCE),
    ):
        half = student_quantile((1 + confidence) / 2, df)
        room = _HALF_PLACE * (2 + half) + 1e-9 * abs(beta)
        if interval is None or not _is_interval(interval, confidence, (beta, half * se), room):
            yield f"{where}.{name} does not follow from slope and standard error"


def _is_interval(
    interval: SignedInterval, confidence: float, middle: tuple[float, float], room: float
) -> bool:
    centre, half = middle
    return (
        float(interval.level) == confidence
        and abs(float(interval.lower) - (centre - half)) <= room
        and abs(float(interval.upper) - (centre + half)) <= room
    )


def _is_ratio(ratio: str, above: str, below: str) -> bool:
    """Say whether a ratio is that of two numbers, as far as their rounding lets see."""
    size, divisor = abs(float(above)), float(below)
    if divisor <= 2 * _HALF_PLACE:
        return divisor >= 0
    room = (_HALF_PLACE + _HALF_PLACE * size / divisor) / (divisor - _HALF_PLACE)
    return abs(float(ratio) - float(above) / divisor) <= 2 * room + 2 * _HALF_PLACE


def _is_p(stated: str, derived: float, statistic: float) -> bool:
    """Say whether a p-value is that of a statistic with six decimals."""
    room = 1e-4 + 4 * _HALF_PLACE * (1 + abs(statistic))
    return isclose(float(stated), derived, rel_tol=room, abs_tol=1e-18)


def _total_problems(total: TotalFinding) -> Iterator[str]:
    published = bonferroni([row.p_as_published for row in total.rows if row.p_as_published])
    if total.rejected_as_published != (published is not None and is_significant(published)):
        yield "findings.total.rejectedAsPublished does not follow from its rows"
    if total.p != bonferroni([row.p for row in total.rows if row.p is not None]):
        yield "findings.total.p does not follow from its rows"


def _format_problems(format_: FormatFinding) -> Iterator[str]:
    where = f"findings.formats: {format_.condition}"
    for rate in (format_.among_refusals, format_.among_compliances):
        if rate.adopted > rate.responses or not _is_share(rate):
            yield f"{where}: adoption does not follow from its counts"
    refusals, compliances = format_.among_refusals, format_.among_compliances
    follows = {
        FormatWord.DISSOCIATED: Decimal(refusals.lower or 0) > ONE_IN_TWENTY,
        FormatWord.COUPLED: (
            Decimal(refusals.upper or 1) < ONE_IN_TWENTY < Decimal(compliances.lower or 0)
        ),
        FormatWord.UNDETERMINED: True,
    }
    if not follows[format_.verdict]:
        yield f"{where}: {format_.verdict.value} does not follow from the adoption rates"


def _is_share(rate: AdoptionRate) -> bool:
    if rate.rate is None or rate.responses == 0:
        return rate.rate is None and rate.responses == 0
    return abs(float(rate.rate) - rate.adopted / rate.responses) <= 2 * _HALF_PLACE
