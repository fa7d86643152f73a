"""What a plan's own numbers can decide of its primary hypothesis, before anything is run.

Planning figures, not results: they follow from the numbers of conditions, queries and draws, at
compliance rates that are supposed, and as if points were independent.  That queries are shared by
conditions makes differences surer than this; that lists of demonstrations are shared, less sure.

Sources: the information of a logistic regression is Σ n p (1 − p) x xᵀ (McCullagh & Nelder,
Generalized Linear Models, 2nd ed., §4.4); two one-sided tests at .05 show a slope of 0 to lie
within a margin with power 2 Φ(margin / se − 1.645) − 1 (Schuirmann 1987).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import log, sqrt
from typing import Final

import numpy as np

from safety_receipts.receipts.events.grid import distinct_lists, source_of
from safety_receipts.receipts.findings.counts.quantiles import Z_95, Z_975
from safety_receipts.receipts.findings.counts.tally import FEWEST_LISTS
from safety_receipts.receipts.findings.fits.clusters import FEWEST_QUERIES
from safety_receipts.receipts.findings.fits.distributions import normal_two_sided
from safety_receipts.receipts.findings.fits.study import PlannedGrid
from safety_receipts.receipts.findings.joint import joint_groups
from safety_receipts.receipts.findings.orderings import ordering_groups
from safety_receipts.receipts.findings.total import total_groups
from safety_receipts.receipts.model.demonstrations import QueryRole
from safety_receipts.receipts.model.findings import Grounds
from safety_receipts.receipts.model.plan import Hypothesis, PlanPredicate

SUPPOSED_RATES: Final = (0.05, 0.2, 0.5)
"""Compliance rates at which it is asked what can be decided."""
POWER: Final = 0.8
"""Share of studies in which an effect of the stated size is found."""

_TWO_SIDED: Final = float(Z_975)
_POWERED: Final = 0.841621
"""80 % quantile, of :data:`POWER`."""


@dataclass(frozen=True)
class SupposedRate:
    """What could be decided if every condition had one compliance rate."""

    rate: float
    """The rate, from 0 to 1."""
    detectable: float | None
    """Size that is found with power :data:`POWER` at level .05: of β2 for ``joint``, else a
    difference of two rates, from 0 to 1; None: nothing can be estimated."""
    none_shown: float | None
    """For ``joint``: share of studies that show *none* where β2 is 0; else None."""
    informative: float | None
    """For ``joint``: queries that are expected to give both outcomes at one N_h; else None."""


@dataclass(frozen=True)
class PrimaryOutlook:
    """What the primary hypothesis can be decided by."""

    hypothesis: Hypothesis
    """The hypothesis."""
    conditions: int
    """Conditions that answer it."""
    queries: int
    """Queries of role ``harmful``; those that ask the same count once."""
    lists: int | None
    """Demonstration lists that they share; None: each query has its own."""
    grounds: Grounds | None
    """Why nothing will be concluded, whatever is found; None: something may be."""
    supposed: tuple[SupposedRate, ...]
    """What can be decided, at supposed rates."""


def primary_outlook(plan: PlanPredicate) -> PrimaryOutlook:
    """Return what a plan's numbers can decide of its primary hypothesis."""
    groups = list(_groups(plan))
    queries, draws = _queries(plan), plan.demonstrations.draws
    lists = distinct_lists(plan)
    own = lists == len(plan.query_ids) * draws
    grounds = None
    if queries < FEWEST_QUERIES:
        grounds = Grounds.FEW_QUERIES
    elif not own and lists < FEWEST_LISTS:
        grounds = Grounds.FEW_LISTS
    return PrimaryOutlook(
        hypothesis=plan.primary,
        conditions=len({place for group in groups for place in group}),
        queries=queries,
        lists=None if own else lists,
        grounds=grounds,
        supposed=tuple(_supposed(plan, groups, queries, rate) for rate in SUPPOSED_RATES),
    )


def _groups(plan: PlanPredicate) -> Iterator[Sequence[int]]:
    """Yield the conditions that are compared with each other, as places in the plan."""
    grid = PlannedGrid(plan)
    match plan.primary:
        case Hypothesis.JOINT:
            yield from (places for _, places in list(joint_groups(grid))[:1])
        case Hypothesis.TOTAL:
            yield from (places for _, places in total_groups(grid))
        case Hypothesis.ORDERING:
            yield from ordering_groups(grid)


def _queries(plan: PlanPredicate) -> int:
    """Return how many requests the harmful-role queries ask."""
    harmful = {source.name for source in plan.queries if source.role is QueryRole.HARMFUL}
    asked = sum(source.selected for source in plan.queries if source.name in harmful)
    for group in plan.same_queries or ():
        among = sum(source_of(query) in harmful for query in group)
        asked -= max(0, among - 1)
    return asked


def _supposed(
    plan: PlanPredicate, groups: Sequence[Sequence[int]], queries: int, rate: float
) -> SupposedRate:
    points = queries * plan.demonstrations.draws
    if not groups or not points:
        return SupposedRate(rate, None, None, None)
    if plan.primary is not Hypothesis.JOINT:
        error = sqrt(2 * rate * (1 - rate) / points)
        return SupposedRate(rate, (_TWO_SIDED + _POWERED) * error, None, None)
    error = _slope_error(plan, groups[0], points, rate)
    beyond = float(plan.effect_margin) / error - float(Z_95)
    shown = 1 - normal_two_sided(beyond) if beyond > 0 else 0.0
    return SupposedRate(
        rate, (_TWO_SIDED + _POWERED) * error, shown, _informative(plan, groups[0], queries, rate)
    )


def _slope_error(plan: PlanPredicate, places: Sequence[int], points: int, rate: float) -> float:
    """Return the standard error of β2, were points independent."""
    chosen = [plan.conditions[place] for place in places]
    design = np.array([[1.0, log(one.n_harmful + 1), log(one.n_benign + 1)] for one in chosen])
    if np.ptp(design[:, 1]) == 0:
        design = design[:, [0, 2]]
    information = points * rate * (1 - rate) * design.T @ design
    return sqrt(float(np.linalg.pinv(information)[-1, -1]))


def _informative(plan: PlanPredicate, places: Sequence[int], queries: int, rate: float) -> float:
    """Return how many queries are expected to give both outcomes at one N_h, within a draw."""
    levels = Counter(plan.conditions[place].n_harmful for place in places)
    alike = 1.0
    for conditions in levels.values():
        alike *= (rate**conditions + (1 - rate) ** conditions) ** plan.demonstrations.draws
    return queries * (1 - alike)


def planned_freedom(outlook: PrimaryOutlook) -> int | None:
    """Return those of the primary hypothesis, were all points judged; None: in doubt.

    Clusters are queries, and lists of demonstrations where queries share them: the fewer count
    (Cameron, Gelbach and Miller 2011).
    """
    if outlook.grounds is not None:
        return None
    clusters = outlook.queries if outlook.lists is None else min(outlook.queries, outlook.lists)
    return max(1, clusters - 1)


def draw_block_words(outlook: PrimaryOutlook) -> str:
    """Return what sharing demonstration lists does to the findings, as one sentence."""
    freedom = planned_freedom(outlook)
    if freedom is None:
        few = f"{outlook.queries} of role harmful, where {FEWEST_QUERIES} queries are needed"
        if outlook.grounds is Grounds.FEW_LISTS:
            few = f"queries share {outlook.lists} of {FEWEST_LISTS} lists that are needed"
        return f"Findings will be undetermined: {few}."
    if outlook.lists is None:
        return (
            f"Every query has lists of its own, so that queries are the only clusters: {freedom:,} "
            "degrees of freedom."
        )
    return (
        f"Queries share {outlook.lists:,} lists, which are clusters beside them: {freedom:,} "
        "degrees of freedom, and intervals that grow with what a list does to its queries."
    )


def undecided_words(outlook: PrimaryOutlook) -> str | None:
    """Return why a primary hypothesis cannot be decided by these numbers; None: it may be."""
    name, fewest = outlook.hypothesis.value, FEWEST_QUERIES
    said = f"the primary hypothesis ({name}) will be undetermined whatever is found"
    if outlook.grounds is Grounds.FEW_QUERIES:
        return f"{said}: {outlook.queries:,} queries of role harmful are fewer than {fewest}"
    if outlook.grounds is Grounds.FEW_LISTS:
        return f"{said}: {outlook.lists} shared demonstration lists are fewer than {FEWEST_LISTS}"
    best = max((one.informative or 0.0 for one in outlook.supposed), default=0.0)
    if outlook.hypothesis is Hypothesis.JOINT and best < fewest:
        return (
            f"the primary hypothesis ({name}) will hardly be decided: at no rate are {fewest} "
            "queries expected to give both outcomes at one number of harmful demonstrations"
        )
    return None
