"""Observed against fitted rates: do conditions follow the slope?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from safety_receipts.receipts.findings.fits.clusters import (
    NO_VARIANCE,
    Floats,
    PointClusters,
    TailTest,
)
from safety_receipts.receipts.findings.fits.logit import Logit
from safety_receipts.receipts.findings.fits.low_rank import low_rank
from safety_receipts.receipts.findings.fits.study import ClusteredEstimate, Mask, StudyPoints
from safety_receipts.receipts.findings.fits.wire import p_string, score
from safety_receipts.receipts.model.findings import LackOfFit


@dataclass(frozen=True, eq=False)
class FittedPoints:
    """Conditions and what was fitted to them."""

    study: StudyPoints
    places: Sequence[int]
    """The conditions."""
    covariates: Floats
    """Shape (conditions, k)."""
    n_harmful: Floats
    """N_h of each condition."""
    n_benign: Floats
    """N_b of each condition."""


def lack_of_fit(
    points: FittedPoints, fitted: tuple[ClusteredEstimate, Logit], complied: Mask, judged: Mask
) -> LackOfFit | None:
    """Hold the rates of conditions to the fitted ones; None where nothing is left free.

    Args:
        points: The conditions.
        fitted: What was fitted to them.
        complied: Which points comply, shape (all conditions, queries, draws).
        judged: Which points count, same shape.
    """
    study, chosen, (estimate, logit) = points.study, list(points.places), fitted
    free = len(chosen) - len(estimate.values)
    shares = study.shares(chosen, complied, judged)
    if free <= 0 or shares is None:
        return None
    slopes = logit.fitted * (1 - logit.fitted)
    residuals = shares.values - logit.fitted
    influence = shares.influence - estimate.influence @ (slopes[:, None] * points.covariates).T
    # By the fit, which no rate of 0 or 1 makes zero.
    independent = slopes / logit.points
    remaining = _Remaining(study, residuals, influence, judged[chosen], independent)
    test, bend, bent = remaining.tested(points.n_harmful)
    worst = _largest(residuals)
    reach = float(np.ptp(np.log(points.n_benign + 1)))
    return LackOfFit(
        statistic=None if test is None else score(test.statistic),
        df=free,
        p=None if test is None else p_string(test.p),
        largest=score(float(residuals[worst])),
        condition=study.condition(chosen[worst]).id,
        largest_benign=score(float(bent[_largest(bent)])),
        p_benign=None if bend is None else p_string(bend.p),
        largest_of_margin=score(float(study.plan.effect_margin) * reach / 8),
    )


@dataclass(frozen=True, eq=False)
class _Remaining:
    """Differences of observed and fitted rates."""

    study: StudyPoints
    values: Floats
    influence: Floats
    used: Mask
    independent: Floats

    def tested(self, n_harmful: Floats) -> tuple[TailTest | None, TailTest | None, Floats]:
        """Test all of them, and what is left of them when the mean at each N_h is taken off.

        Returns:
            Both tests, and what is left.
        """
        study = self.study
        clusters = PointClusters(study.lists, self.used.sum(axis=0), study.requests)
        few = low_rank(self.values, self.influence, clusters)
        if few is None:
            all_ = study.estimate(self.values, self.influence, self.used, self.independent)
            same = n_harmful[:, None] == n_harmful
            benign = all_.contrast(np.eye(len(self.values)) - same / same.sum(axis=1))
            return all_.f_test(), benign.f_test(), benign.values
        levels = _Levels(n_harmful)
        bent = few.turned(levels.centred)
        # Of a number less the mean of n, itself among them: (1 − 2/n) σ² + Σ σ² / n².
        own = self.independent * (1 - 2 / levels.sizes)
        independent = own + levels.sums(self.independent) / levels.sizes**2
        return (
            few.f_test(NO_VARIANCE * float(self.independent.max())),
            bent.f_test(NO_VARIANCE * float(independent.max())),
            bent.values,
        )


class _Levels:
    """Conditions that share a number of harmful demonstrations."""

    def __init__(self, n_harmful: Floats) -> None:
        _, self._of = np.unique(n_harmful, return_inverse=True)
        self._counts = np.bincount(self._of)
        self.sizes: Floats = self._counts[self._of].astype(np.float64)
        """Conditions at each condition's number."""

    def sums(self, values: Floats) -> Floats:
        """Return, for each condition, the sum over those at its number."""
        totals = np.zeros((len(self._counts), *values.shape[1:]))
        np.add.at(totals, self._of, values)
        return totals[self._of]

    def centred(self, values: Floats) -> Floats:
        """Return values less their mean at each number; the first axis is the conditions'."""
        sizes = self.sizes.reshape(-1, *(1,) * (values.ndim - 1))
        result: Floats = values - self.sums(values) / sizes
        return result


def _largest(values: Floats) -> int:
    """Return the place of the largest size.

    Sizes are rounded: equal ones must not be told apart by the last bit of a fit.
    """
    return int(np.argmax(np.abs(values).round(6)))
