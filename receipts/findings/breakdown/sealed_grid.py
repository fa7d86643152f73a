"""The conditions of a plan with the counts that are sealed of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Final

import numpy as np

from safety_receipts.receipts.findings.breakdown.boxes import CountBox
from safety_receipts.receipts.findings.breakdown.extremes import (
    UNBOUNDED,
    SlopeStatistic,
    SlopeTerm,
)
from safety_receipts.receipts.findings.breakdown.foreseen import SlopeQuestion
from safety_receipts.receipts.findings.breakdown.shares import (
    gap_share,
    slope_limits,
    slope_shares,
)
from safety_receipts.receipts.findings.breakdown.urns import FittedSlope
from safety_receipts.receipts.findings.fits.clusters import Floats
from safety_receipts.receipts.findings.fits.covariates import joint_covariates
from safety_receipts.receipts.findings.fits.wire import score
from safety_receipts.receipts.model.base import ConditionId
from safety_receipts.receipts.model.breakdown import FindingBreakdown, SlopeSpan
from safety_receipts.receipts.model.demonstrations import PlannedCondition
from safety_receipts.receipts.model.findings import Effect
from safety_receipts.receipts.model.plan import EvaluationSetup
from safety_receipts.receipts.model.receipt import Counts, EvaluationPredicate

AskedSlope = tuple[str, Effect, Sequence[tuple[Sequence[ConditionId], float]]]
"""A finding's name, what it is called, and the conditions of each fit with its slope's weight."""
TOLERATED: Final = "0.05"
"""Share of false labels at which spans of slopes are told: an audit's default tolerance."""
WORDED: Final = frozenset({Effect.DILUTION, Effect.AMPLIFICATION, Effect.NONE})
"""What a slope may be called that has a breakdown point."""


@dataclass(frozen=True)
class NamedSlope:
    """A slope on log(N_b+1) that is called something, of one fit."""

    finding: str
    """Name of the finding."""
    effect: Effect
    """What it is called: dilution, amplification or none."""
    conditions: tuple[ConditionId, ...]
    """Those that it is fitted to, in the order of the plan."""


class SealedGrid:
    """The conditions of a plan with the counts that are sealed of them.

    Args:
        setup: Names the effect margin.
        conditions: The plan's, in its order.
        counts: Counts of harmful-role queries of each of them.
    """

    def __init__(
        self,
        setup: EvaluationSetup,
        conditions: Sequence[PlannedCondition],
        counts: Mapping[ConditionId, Counts],
    ) -> None:
        self.conditions = {condition.id: condition for condition in conditions}
        """The conditions, by id."""
        self.counts = counts
        """Counts of harmful-role queries, by condition."""
        self._margin = setup.effect_margin
        self._covariates: dict[tuple[tuple[int, int], ...], Floats] = {}

    @classmethod
    def of(cls, receipt: EvaluationPredicate) -> SealedGrid:
        """Return that of a receipt."""
        return cls(receipt, receipt.conditions, {one.id: one.counts for one in receipt.conditions})

    def rates_apart(
        self, finding: str, pair: Sequence[ConditionId], distance: Fraction
    ) -> FindingBreakdown:
        """Return the breakdown of a finding that two rates differ.

        Args:
            finding: Its name.
            pair: The two conditions.
            distance: By how much they lie apart at least, as sealed.
        """
        return FindingBreakdown(
            finding=finding, conditions=self._ordered(pair), share=gap_share(distance), span=None
        )

    def slopes(self, asked: Sequence[AskedSlope]) -> list[FindingBreakdown]:
        """Return the breakdowns of slopes on log(N_b+1), or of differences of two.

        Args:
            asked: Of each its name, what it is called (dilution, amplification or none), and the
                conditions of each fit with the weight of its slope.
        """
        made = [self.statistic(fits) for _, _, fits in asked]
        questions = [
            SlopeQuestion(statistic, slope_limits(effect, self._margin))
            for (_, effect, _), (statistic, _) in zip(asked, made, strict=True)
        ]
        shares = slope_shares(questions, told=[float(TOLERATED)])
        return [
            FindingBreakdown(finding=name, conditions=ids, share=share, span=slope_span(statistic))
            for (name, *_), (statistic, ids), share in zip(asked, made, shares, strict=True)
        ]

    def fitted(self, slope: NamedSlope) -> tuple[FittedSlope, tuple[ConditionId, ...]]:
        """Return a slope with the counts that it is fitted to, and their conditions, in order."""
        conditions = self._ordered(slope.conditions)
        fitted = FittedSlope(
            covariates=self.covariates(conditions),
            box=CountBox.of(self.counts, conditions),
            limits=slope_limits(slope.effect, self._margin),
        )
        return fitted, conditions

    def opposite_share(self, fits: Sequence[Sequence[ConditionId]]) -> str | None:
        """Return the largest share at which one slope is left above 0, and another below.

        Args:
            fits: The conditions of each slope's fit.
        """
        statistics = [self.statistic([(ids, 1.0)])[0] for ids in fits]
        limits = [(1, 0.0), (-1, 0.0)]
        shares = slope_shares(
            [SlopeQuestion(one, (limit,)) for limit in limits for one in statistics]
        )
        left = [
            [share for share in of_limit if share is not None]
            for of_limit in (shares[: len(fits)], shares[len(fits) :])
        ]
        if not all(left):
            return None
        return min((max(each, key=Decimal) for each in left), key=Decimal)

    def statistic(
        self, fits: Sequence[tuple[Sequence[ConditionId], float]]
    ) -> tuple[SlopeStatistic, tuple[ConditionId, ...]]:
        """Return a weighted sum of slopes on log(N_b+1), and the conditions that it is fitted to.

        Args:
            fits: The conditions of each fit, and the weight of its slope.
        """
        conditions = self._ordered([id_ for ids, _ in fits for id_ in ids])
        # By their mixtures, so that fits of one grid are alike, in whatever order it was planned.
        boxed = sorted(conditions, key=self._mixture)
        places = {id_: place for place, id_ in enumerate(boxed)}
        terms = []
        for ids, weight in fits:
            fitted = sorted(ids, key=places.__getitem__)
            covariates = self._covariates_of(tuple(map(self._mixture, fitted)))
            terms.append(SlopeTerm(covariates, np.array([places[id_] for id_ in fitted]), weight))
        return SlopeStatistic(terms, CountBox.of(self.counts, boxed)), conditions

    def _mixture(self, id_: ConditionId) -> tuple[int, int]:
        condition = self.conditions[id_]
        return condition.n_harmful, condition.n_benign

    def _covariates_of(self, mixtures: tuple[tuple[int, int], ...]) -> Floats:
        """Return the covariates of a fit; N_h and N_b of each of its conditions."""
        if mixtures not in self._covariates:
            n_harmful, n_benign = np.array(mixtures, float).T
            self._covariates[mixtures] = joint_covariates(n_harmful, n_benign)
        return self._covariates[mixtures]

    def covariates(self, ids: Sequence[ConditionId]) -> Floats:
        """Return the covariates of a fit to some conditions, shape (conditions, 2 or 3)."""
        return self._covariates_of(tuple(map(self._mixture, ids)))

    def _ordered(self, ids: Sequence[ConditionId]) -> tuple[ConditionId, ...]:
        wanted = set(ids)
        return tuple(id_ for id_ in self.conditions if id_ in wanted)


def slope_span(statistic: SlopeStatistic) -> SlopeSpan:
    """Return where a slope, or a difference of two, could lie at :data:`TOLERATED`."""
    ends = []
    for sign in (-1, 1):
        value, _ = statistic.extreme(float(TOLERATED), sign)
        ends.append(score(value) if abs(value) < UNBOUNDED else None)
    return SlopeSpan(share=TOLERATED, lower=ends[0], upper=ends[1])
