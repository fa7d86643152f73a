"""The conditions of a plan with the counts that are sealed of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import numpy as np

from safety_receipts.receipts.findings.breakdown.boxes import CountBox
from safety_receipts.receipts.findings.breakdown.extremes import (
    UNBOUNDED,
    SlopeStatistic,
    SlopeTerm,
)
from safety_receipts.receipts.findings.breakdown.shares import (
    gap_share,
    slope_share,
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

    def slope(
        self, finding: str, effect: Effect, fits: Sequence[tuple[Sequence[ConditionId], float]]
    ) -> FindingBreakdown:
        """Return the breakdown of a slope on log(N_b+1), or of a difference of two.

        Args:
            finding: Its name.
            effect: What it is called: dilution, amplification or none.
            fits: The conditions of each fit, and the weight of its slope.
        """
        statistic, conditions = self.statistic(fits)
        return FindingBreakdown(
            finding=finding,
            conditions=conditions,
            share=slope_share(statistic, effect, self._margin),
            span=slope_span(statistic),
        )

    def fitted(self, slope: NamedSlope) -> FittedSlope:
        """Return a slope with the counts that it is fitted to, in the order of its conditions."""
        conditions = self._ordered(slope.conditions)
        return FittedSlope(
            covariates=self.covariates(conditions),
            box=CountBox.of(self.counts, conditions),
            effect=slope.effect,
            margin=float(self._margin),
        )

    def statistic(
        self, fits: Sequence[tuple[Sequence[ConditionId], float]]
    ) -> tuple[SlopeStatistic, tuple[ConditionId, ...]]:
        """Return a weighted sum of slopes on log(N_b+1), and the conditions that it is fitted to.

        Args:
            fits: The conditions of each fit, and the weight of its slope.
        """
        conditions = self._ordered([id_ for ids, _ in fits for id_ in ids])
        places = {id_: place for place, id_ in enumerate(conditions)}
        terms = []
        for ids, weight in fits:
            at = np.array([places[id_] for id_ in ids])
            terms.append(SlopeTerm(self.covariates(ids), at, weight))
        return SlopeStatistic(terms, CountBox.of(self.counts, conditions)), conditions

    def covariates(self, ids: Sequence[ConditionId]) -> Floats:
        """Return the covariates of a fit to some conditions, shape (conditions, 2 or 3)."""
        planned = [self.conditions[id_] for id_ in ids]
        return joint_covariates(
            np.array([condition.n_harmful for condition in planned], float),
            np.array([condition.n_benign for condition in planned], float),
        )

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
