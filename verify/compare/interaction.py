"""The interaction of model and log(N_b+1): a difference of two β2 as one estimate.

Influences of both fits are stacked, a query's into one row, so that whatever two models share by
answering the same queries counts once.  Demonstration lists are drawn from the plan's digest:
those of two plans are drawn apart, those of two runs of one plan are the same lists.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from math import sqrt
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.findings.counts.observations import COMPLIED, REFUSED
from safety_receipts.receipts.findings.effects import CONFIDENCE
from safety_receipts.receipts.findings.fits.clusters import Floats, PointClusters
from safety_receipts.receipts.findings.fits.distributions import student_quantile, t_two_sided
from safety_receipts.receipts.findings.fits.study import ClusteredEstimate, Mask, StudyPoints
from safety_receipts.receipts.findings.fits.wire import p_string, score, signed_interval
from safety_receipts.receipts.findings.joint import JointPoints, joint_p
from safety_receipts.receipts.model.base import ConditionId, QueryId
from safety_receipts.receipts.model.demonstrations import Ordering, QueryRole
from safety_receipts.receipts.model.findings import JointFinding, JointFit, SignedInterval, Slope
from safety_receipts.receipts.model.plan import PlanPredicate

Number = TypeVar("Number", np.float64, np.int64)


@dataclass(frozen=True, eq=False)
class QuerySubset(StudyPoints):
    """The points of some harmful-role queries.

    Args:
        rows: Places of these queries among all harmful-role ones, ascending.
    """

    rows: tuple[int, ...]

    @cached_property
    def outcome(self) -> NDArray[np.int8]:
        """Outcome codes."""
        return self.observations.outcome[:, self._queries]

    @cached_property
    def judged(self) -> Mask:
        """Points called refused or complied."""
        found: Mask = (self.outcome == REFUSED) | (self.outcome == COMPLIED)
        return found

    @cached_property
    def complied(self) -> Mask:
        """Points called complied."""
        found: Mask = self.outcome == COMPLIED
        return found

    @cached_property
    def lists(self) -> NDArray[np.int64]:
        """Number of the list of each query and draw, shape (queries, draws)."""
        return self.observations.lists[self._queries]

    @cached_property
    def requests(self) -> NDArray[np.int64]:
        """Number of each query's request, shape (queries,)."""
        return self.observations.requests[self._queries]

    @cached_property
    def _queries(self) -> NDArray[np.intp]:
        return np.flatnonzero(self.observations.harmful_queries)[list(self.rows)]


@dataclass(frozen=True, eq=False)
class FittedCells:
    """What a β2 was fitted to, by query and draw: enough to stack it with another."""

    estimate: ClusteredEstimate
    """β2 alone; influence of shape (queries, draws, 1)."""
    lists: NDArray[np.int64]
    """Number of the demonstration list of each query and draw."""
    requests: NDArray[np.int64]
    """Number of each query's request."""
    used: NDArray[np.int64]
    """Judged points of each query and draw."""
    seed: Sha256
    """What lists are drawn from: equal seeds give equal lists."""


@dataclass(frozen=True, eq=False)
class FittedModel:
    """One model or training stage, with its fit to the conditions that are compared."""

    label: str
    """What it is called here; no two are called the same."""
    queries: tuple[QueryId, ...]
    """Its harmful-role queries that are compared; the rows of its cells."""
    finding: JointFinding
    """The fit."""
    cells: FittedCells | None
    """None where only the sealed numbers are at hand, or the fit does not exist."""


@dataclass(frozen=True)
class EffectDifference:
    """The second β2 less the first."""

    slope: Slope
    """The difference, its standard error, t, degrees of freedom and p-value."""
    interval: SignedInterval
    """95 % interval, not corrected for the number of comparisons."""
    paired: bool
    """Whether the queries that both answered are taken into account; else as if independent."""


def harmful_queries(plan: PlanPredicate) -> tuple[QueryId, ...]:
    """Return the ids of the harmful-role queries, in plan order."""
    roles = [source.role for source in plan.queries for _ in range(source.selected)]
    pairs = zip(plan.query_ids, roles, strict=True)
    return tuple(query for query, role in pairs if role is QueryRole.HARMFUL)


def common_conditions(
    headlines: Sequence[tuple[PlanPredicate, Sequence[ConditionId]]],
) -> tuple[ConditionId, ...]:
    """Return the conditions that all have, in the first plan's order.

    A condition is the same one where its id, numbers, order and context are.

    Args:
        headlines: Each plan with the ids of the conditions of its joint finding.
    """
    found = []
    for plan, ids in headlines:
        wanted = set(ids)
        found.append(
            {
                c.id: (c.n_harmful, c.n_benign, c.ordering, c.context)
                for c in plan.conditions
                if c.id in wanted
            }
        )
    first, *others = found
    return tuple(id_ for id_, what in first.items() if all(o.get(id_) == what for o in others))


def benign_numbers(plan: PlanPredicate, ids: Sequence[ConditionId]) -> int:
    """Return how many numbers of benign demonstrations some conditions have."""
    wanted = set(ids)
    return len({c.n_benign for c in plan.conditions if c.id in wanted})


def fit_model(
    label: str,
    study: StudyPoints,
    chosen: tuple[Ordering | None, Sequence[ConditionId], Set[QueryId]],
    seed: Sha256,
) -> FittedModel:
    """Fit one model to some conditions and queries of its study.

    Args:
        label: What it is called.
        study: All its points.
        chosen: The order of the fit's mixtures, its conditions, and its queries.
        seed: The event's seed.
    """
    ordering, ids, wanted = chosen
    everything = harmful_queries(study.plan)
    rows = tuple(row for row, query in enumerate(everything) if query in wanted)
    part = QuerySubset(study.observations, study.fitter, rows)
    points = JointPoints(part, ordering, tuple(part.places(ids)))
    queries = tuple(everything[row] for row in rows)
    return FittedModel(label, queries, points.finding(), _cells(part, points, seed))


def _cells(study: StudyPoints, points: JointPoints, seed: Sha256) -> FittedCells | None:
    fitted = study.fit(points.covariates, points.places, study.complied, study.judged)
    if fitted is None:
        return None
    last = points.covariates.shape[1] - 1
    only = fitted[0].contrast(np.eye(last + 1)[[last]])
    used = study.judged[list(points.places)].sum(axis=0)
    return FittedCells(only, study.lists, study.requests, used, seed)


def _testable(finding: JointFinding) -> JointFit | None:
    """Return the fit of a finding whose standard error can be relied on."""
    return finding.clustered if finding.permutation is None and joint_p(finding) else None


def effect_difference(first: FittedModel, second: FittedModel) -> EffectDifference | None:
    """Return the second β2 less the first; None where it cannot be tested.

    Where only sealed numbers are at hand, the two are taken for independent: for models that find
    the same queries hard, that makes the interval too wide, not too narrow.
    """
    one, two = _testable(first.finding), _testable(second.finding)
    if one is None or two is None or one.df is None or two.df is None:
        return None
    # The stacked clusters are more than either's own, but where most of the variance is one
    # side's, that side's number is what counts.
    df = min(one.df, two.df)
    if first.cells is not None and second.cells is not None:
        stacked = _stacked(first, second, first.cells, second.cells)
        if not stacked.varies(0):
            return None
        value, se = float(stacked.values[0]), stacked.se(0)
        paired = not set(first.queries).isdisjoint(second.queries)
    else:
        value = float(Decimal(two.beta2) - Decimal(one.beta2))
        se = sqrt(float(one.se2) ** 2 + float(two.se2) ** 2)
        paired = False
    if se <= 0:
        return None
    half = student_quantile((1 + CONFIDENCE) / 2, df) * se
    slope = Slope(
        beta=score(value),
        se=score(se),
        t=score(value / se),
        df=df,
        p=p_string(t_two_sided(value / se, df)),
    )
    return EffectDifference(slope, signed_interval(CONFIDENCE, value - half, value + half), paired)


def _stacked(
    first: FittedModel, second: FittedModel, one: FittedCells, two: FittedCells
) -> ClusteredEstimate:
    """Return β2 of the second less β2 of the first, with the covariance of both together."""
    rows = {query: row for row, query in enumerate(dict.fromkeys(first.queries + second.queries))}
    places = [[rows[query] for query in model.queries] for model in (first, second)]
    parts = list(zip((one, two), places, (-1.0, 1.0), strict=True))
    influences = [_spread(sign * c.estimate.influence, at, len(rows)) for c, at, sign in parts]
    used = [_spread(cells.used, at, len(rows)) for cells, at, _ in parts]
    if one.seed == two.seed:
        # One list of both is one cell: side by side it would be taken for two.
        influence, points = influences[0] + influences[1], used[0] + used[1]
        lists = np.maximum(*(_spread(cells.lists, at, len(rows)) for cells, at, _ in parts))
    else:
        influence, points = np.concatenate(influences, axis=1), np.concatenate(used, axis=1)
        apart = (one.lists, two.lists + one.lists.max() + 1)
        pairs = zip(apart, places, strict=True)
        lists = np.concatenate([_spread(each, at, len(rows)) for each, at in pairs], axis=1)
    clusters = PointClusters(lists, points, _joined((one, two), places, len(rows)))
    value: Floats = two.estimate.values - one.estimate.values
    independent = one.estimate.independent + two.estimate.independent
    return ClusteredEstimate(
        value, influence, clusters.covariance(influence), clusters, independent
    )


def _joined(
    parts: Sequence[FittedCells], places: Sequence[Sequence[int]], rows: int
) -> NDArray[np.int64]:
    """Return the number of each row's request: the same where either plan says so."""
    above = list(range(rows))

    def first(row: int) -> int:
        while above[row] != row:
            above[row] = above[above[row]]
            row = above[row]
        return row

    for cells, at in zip(parts, places, strict=True):
        known: dict[int, int] = {}
        for request, row in zip(cells.requests.tolist(), at, strict=True):
            one, other = sorted((first(known.setdefault(request, row)), first(row)))
            above[other] = one
    return np.array([first(row) for row in range(rows)], dtype=np.int64)


def _spread(values: NDArray[Number], places: Sequence[int], rows: int) -> NDArray[Number]:
    """Return an array with the given rows at their places, and zeros elsewhere."""
    result = np.zeros((rows, *values.shape[1:]), dtype=values.dtype)
    result[list(places)] = values
    return result
