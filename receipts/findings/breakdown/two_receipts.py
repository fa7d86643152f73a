"""How many false labels a difference between two receipts stands.

What is false in one says nothing of what is false in the other: the box of both is all pairs of
what either allows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from safety_receipts.receipts.findings.breakdown.boxes import CountBox
from safety_receipts.receipts.findings.breakdown.extremes import SlopeStatistic, SlopeTerm
from safety_receipts.receipts.findings.breakdown.foreseen import SlopeQuestion
from safety_receipts.receipts.findings.breakdown.sealed_grid import (
    TOLERATED,
    SealedGrid,
    slope_span,
)
from safety_receipts.receipts.findings.breakdown.shares import slope_shares
from safety_receipts.receipts.model.base import ConditionId
from safety_receipts.receipts.model.breakdown import DifferenceBreakdown


def difference_breakdown(
    first: SealedGrid, second: SealedGrid, conditions: Sequence[ConditionId], *, rises: bool
) -> DifferenceBreakdown:
    """Return the breakdown of a difference of two slopes on log(N_b+1).

    Args:
        first: Conditions and counts of the receipt that is the reference.
        second: Those of the one that is read against it.
        conditions: What both slopes are fitted to; both receipts have them.
        rises: Whether the second slope is said to lie above the first, or else below.

    Raises:
        KeyError: One of the receipts has no such condition.
    """
    grids, number = (first, second), len(conditions)
    terms = [
        SlopeTerm(grid.covariates(conditions), np.arange(number) + start, weight)
        for grid, start, weight in zip(grids, (0, number), (-1.0, 1.0), strict=True)
    ]
    box = CountBox.joined([CountBox.of(grid.counts, conditions) for grid in grids])
    statistic, sign = SlopeStatistic(terms, box), -1 if rises else 1
    [share] = slope_shares([SlopeQuestion(statistic, ((sign, 0.0),))], told=[float(TOLERATED)])
    return DifferenceBreakdown(share=share, span=slope_span(statistic))
