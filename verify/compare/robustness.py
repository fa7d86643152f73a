"""How many false labels stated differences stand, by the sealed counts of whole evaluations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from decimal import Decimal
from typing import Final

from safety_receipts.receipts.findings.breakdown.sealed_grid import SealedGrid
from safety_receipts.receipts.findings.breakdown.two_receipts import difference_breakdown
from safety_receipts.receipts.model.base import ConditionId, QueryId
from safety_receipts.receipts.model.breakdown import DifferenceBreakdown
from safety_receipts.verify.compare.comparison import EffectChange, ModelComparison, ModelPair
from safety_receipts.verify.compare.evaluations import Evaluation
from safety_receipts.verify.compare.interaction import harmful_queries

_SAYS_NOTHING: Final = frozenset({EffectChange.NOT_SHOWN, EffectChange.UNTESTED})
"""What is said of a difference that has no direction."""


def with_breakdowns(
    comparison: ModelComparison,
    evaluations: Sequence[Evaluation],
    conditions: Sequence[ConditionId],
    queries: Set[QueryId],
) -> ModelComparison:
    """Return a comparison whose pairs say how many false labels their differences stand.

    Those do that differ in a direction and are compared on all their queries: sealed counts are
    of all, and so is what an audit confirms.

    Args:
        comparison: The comparison.
        evaluations: Its bundles.
        conditions: What β2 is fitted to.
        queries: Which queries it is fitted to, of those that a bundle has.
    """
    grids = {
        each.label: SealedGrid.of(each.receipt)
        for each in evaluations
        if queries >= frozenset(harmful_queries(each.plan))
    }
    pairs = (
        replace(pair, breakdown=_breakdown(pair, grids, conditions)) for pair in comparison.pairs
    )
    return replace(comparison, pairs=tuple(pairs))


def _breakdown(
    pair: ModelPair, grids: Mapping[str, SealedGrid], conditions: Sequence[ConditionId]
) -> DifferenceBreakdown | None:
    first, second = (grids.get(side.model.label) for side in (pair.first, pair.second))
    if pair.gap is None or pair.statement.word in _SAYS_NOTHING or first is None or second is None:
        return None
    rises = Decimal(pair.gap.slope.beta) > 0
    return difference_breakdown(first, second, conditions, rises=rises)
