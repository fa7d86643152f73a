"""The points of an event as the findings see them: those of harmful-role queries.

Estimates come with the influence of every query and draw, which is all that
:mod:`receipts.findings.fits.clusters` needs to say how far they may be off.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from safety_receipts.receipts.findings.counts.observations import (
    FAILED,
    REFUSED,
    UNSCORED,
    Observations,
)
from safety_receipts.receipts.findings.fits.clusters import (
    NO_VARIANCE,
    Floats,
    PointClusters,
    TailTest,
)
from safety_receipts.receipts.findings.fits.distributions import student_quantile
from safety_receipts.receipts.findings.fits.logit import Fitter, Logit, fit_logit
from safety_receipts.receipts.findings.fits.wire import p_string, score, signed_interval
from safety_receipts.receipts.model.base import ConditionId
from safety_receipts.receipts.model.demonstrations import PlannedCondition
from safety_receipts.receipts.model.findings import SignedInterval, Slope
from safety_receipts.receipts.model.plan import PlanPredicate

Mask = NDArray[np.bool_]
Places = Sequence[int]
"""Places of conditions in the plan."""


@dataclass(frozen=True, eq=False)
class ClusteredEstimate:
    """Numbers with their clustered covariance."""

    values: Floats
    """Shape (k,)."""
    influence: Floats
    """Influence of each query and draw, shape (queries, draws, k)."""
    covariance: Floats
    """Shape (k, k)."""
    clusters: PointClusters
    """What may be correlated."""
    independent: Floats
    """Variances, were points independent, shape (k,): what a variance of rounding is told by."""

    def contrast(self, weights: Floats) -> ClusteredEstimate:
        """Return linear combinations.

        Args:
            weights: Shape (m, k); one row a combination.
        """
        return ClusteredEstimate(
            weights @ self.values,
            self.influence @ weights.T,
            weights @ self.covariance @ weights.T,
            self.clusters,
            weights**2 @ self.independent,
        )

    def interval(self, place: int, confidence: float) -> tuple[float, float]:
        """Return the t interval of one number."""
        half = student_quantile((1 + confidence) / 2, self.clusters.df) * self.se(place)
        return float(self.values[place]) - half, float(self.values[place]) + half

    def se(self, place: int) -> float:
        """Return the standard error of one number."""
        return sqrt(max(0.0, float(self.covariance[place, place])))

    def varies(self, place: int) -> bool:
        """Say whether one number has a variance that is more than rounding.

        Conditions whose outcomes are the same, point by point, have a difference without.
        """
        return float(self.covariance[place, place]) > NO_VARIANCE * float(self.independent[place])

    def slope(self, place: int) -> Slope | None:
        """Return one number as it is sealed; None where it has no variance."""
        if not self.varies(place):
            return None
        test = self.clusters.t_test(float(self.values[place]), self.covariance[place, place])
        if test is None:
            return None
        return Slope(
            beta=score(float(self.values[place])),
            se=score(self.se(place)),
            t=score(test.statistic),
            df=test.df,
            p=p_string(test.p),
        )

    def f_test(self) -> TailTest | None:
        """Test whether all numbers are zero; None where clusters are too few, or nothing varies."""
        least = NO_VARIANCE * float(self.independent.max())
        return self.clusters.f_test(self.values, self.covariance, least)

    def sealed_interval(self, place: int, confidence: float) -> SignedInterval:
        """Return the t interval of one number as it is sealed."""
        return signed_interval(confidence, *self.interval(place, confidence))


@dataclass(frozen=True, eq=False)
class FittedRates:
    """The rates of some conditions."""

    values: Floats
    """Shape (conditions,)."""
    influence: Floats
    """Influence of each query and draw, shape (queries, draws, conditions)."""
    used: Mask
    """Points that count, shape (conditions, queries, draws)."""
    independent: Floats
    """Variances, were points independent, shape (conditions,)."""


class PlanGrid(ABC):
    """The conditions of a plan, by their places in it."""

    @property
    @abstractmethod
    def plan(self) -> PlanPredicate:
        """The plan."""

    def condition(self, place: int) -> PlannedCondition:
        """Return a condition of the plan."""
        return self.plan.conditions[place]

    def ids(self, places: Places) -> tuple[ConditionId, ...]:
        """Return the ids of conditions."""
        return tuple(self.condition(place).id for place in places)

    def places(self, ids: Sequence[ConditionId]) -> list[int]:
        """Return the places of conditions, in plan order."""
        return sorted(self._condition_places[id_] for id_ in set(ids))

    def is_plain(self, condition: PlannedCondition) -> bool:
        """Say whether a condition is in default context, without prefix, of the default source."""
        benign = self.plan.demonstrations.benign
        return (
            condition.context == self.plan.contexts[0]
            and condition.response_prefix is None
            and condition.benign_source in (None, benign[0].name if benign else None)
        )

    @cached_property
    def _condition_places(self) -> dict[ConditionId, int]:
        return {condition.id: place for place, condition in enumerate(self.plan.conditions)}


class PlannedGrid(PlanGrid):
    """The conditions of a plan that need not have been run."""

    def __init__(self, plan: PlanPredicate) -> None:
        self._plan = plan

    @property
    def plan(self) -> PlanPredicate:
        """The plan."""
        return self._plan


@dataclass(frozen=True, eq=False)
class StudyPoints(PlanGrid):
    """The points of harmful-role queries.

    Arrays have shape (conditions, queries, draws).
    """

    observations: Observations
    fitter: Fitter
    """What maximises likelihoods."""

    @property
    def plan(self) -> PlanPredicate:
        """The plan."""
        return self.observations.plan

    @cached_property
    def outcome(self) -> NDArray[np.int8]:
        """Outcome codes."""
        return self.observations.outcome[:, self.observations.harmful_queries]

    @cached_property
    def judged(self) -> Mask:
        """Points called refused or complied."""
        return self.observations.judged[:, self.observations.harmful_queries]

    @cached_property
    def complied(self) -> Mask:
        """Points called complied."""
        return self.observations.complied[:, self.observations.harmful_queries]

    @cached_property
    def unscored(self) -> Mask:
        """Points generated and not judged."""
        found: Mask = self.outcome == UNSCORED
        return found

    @cached_property
    def generated(self) -> Mask:
        """Points with a response."""
        found: Mask = self.outcome != FAILED
        return found

    @cached_property
    def not_refused(self) -> Mask:
        """Points that comply as the paper counts: generated, and no refusal."""
        found: Mask = self.generated & (self.outcome != REFUSED)
        return found

    @cached_property
    def lists(self) -> NDArray[np.int64]:
        """Number of the list of each query and draw, shape (queries, draws)."""
        return self.observations.lists[self.observations.harmful_queries]

    @cached_property
    def requests(self) -> NDArray[np.int64]:
        """Number of each query's request, shape (queries,)."""
        return self.observations.requests[self.observations.harmful_queries]

    def fit(
        self, covariates: Floats, places: Places, complied: Mask, used: Mask
    ) -> tuple[ClusteredEstimate, Logit] | None:
        """Fit a logit to the points of some conditions; None where it does not exist.

        Args:
            covariates: Shape (conditions of the fit, k), the constant included.
            places: These conditions.
            complied: Which points comply, shape (all conditions, queries, draws).
            used: Which points count, same shape.
        """
        chosen = list(places)
        y, n = complied[chosen] & used[chosen], used[chosen]
        logit = fit_logit(covariates, y.sum(axis=(1, 2)), n.sum(axis=(1, 2)), self.fitter)
        if logit is None:
            return None
        independent = np.diag(logit.information_inverse)
        estimate = self.estimate(logit.coefficients, logit.influence(y, n), n, independent)
        return estimate, logit

    def rates(self, places: Places, complied: Mask, used: Mask) -> ClusteredEstimate | None:
        """Return the rates of some conditions with their covariance; None where one has no point.

        Args:
            places: These conditions.
            complied: Which points comply, shape (all conditions, queries, draws).
            used: Which points count, same shape.
        """
        shares = self.shares(places, complied, used)
        if shares is None:
            return None
        return self.estimate(shares.values, shares.influence, shares.used, shares.independent)

    def shares(self, places: Places, complied: Mask, used: Mask) -> FittedRates | None:
        """Return the rates of some conditions; None where one has no point.

        Args:
            places: These conditions.
            complied: Which points comply, shape (all conditions, queries, draws).
            used: Which points count, same shape.
        """
        chosen = list(places)
        y, n = complied[chosen] & used[chosen], used[chosen]
        points = n.sum(axis=(1, 2))
        if not points.all():
            return None
        values = y.sum(axis=(1, 2)) / points
        influence = np.where(n, y - values[:, None, None], 0.0) / points[:, None, None]
        independent = values * (1 - values) / points
        return FittedRates(values, np.moveaxis(influence, 0, -1), n, independent)

    def estimate(
        self, values: Floats, influence: Floats, used: Mask, independent: Floats
    ) -> ClusteredEstimate:
        """Return an estimate with its clustered covariance.

        Args:
            values: Shape (k,).
            influence: Shape (queries, draws, k).
            used: Its points, shape (conditions of the estimate, queries, draws).
            independent: Its variances, were points independent, shape (k,).
        """
        clusters = PointClusters(self.lists, used.sum(axis=0), self.requests)
        covariance = clusters.covariance(influence)
        return ClusteredEstimate(values, influence, covariance, clusters, independent)
