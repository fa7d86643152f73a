"""Which conditions a line of a chart joins, whoever draws it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from safety_receipts.receipts.model.demonstrations import Ordering
from safety_receipts.receipts.model.receipt import ConditionResult, EvaluationPredicate

_T = TypeVar("_T", bound=float)


@dataclass(frozen=True)
class ShareCurve:
    """Conditions of one harmful share φ, over the number of demonstrations N."""

    share: float
    """The share, from 0 to 1."""
    conditions: tuple[ConditionResult, ...]
    """Its conditions, N rising."""


def share_curves(receipt: EvaluationPredicate, most: int) -> list[ShareCurve]:
    """Return the lines of compliance over N, the share rising.

    Args:
        receipt: The receipt.
        most: Most lines; those with most conditions are kept, and always the highest share.

    Returns:
        The lines; none where there is no finding on the total.
    """
    finding = None if receipt.findings is None else receipt.findings.total
    if finding is None:
        return []
    ids = {id_ for row in finding.rows for id_ in row.conditions}
    shares: dict[float, list[ConditionResult]] = {}
    for one in receipt.conditions:
        total = one.n_harmful + one.n_benign
        if one.id in ids and total:
            shares.setdefault(one.n_harmful / total, []).append(one)
    kept = sorted(shares, key=lambda share: (-len(shares[share]), share))[:most]
    kept = _with_highest(kept, max(shares, default=0.0))
    return [ShareCurve(share, tuple(sorted(shares[share], key=_total))) for share in sorted(kept)]


def _with_highest(kept: list[_T], highest: _T) -> list[_T]:
    """Return what is drawn with the most harmful line, which no picture may leave out."""
    if highest in kept or not kept:
        return kept
    changed = kept[:-1]
    changed.append(highest)
    return changed


def _total(condition: ConditionResult) -> int:
    return condition.n_harmful + condition.n_benign


def benign_conditions(receipt: EvaluationPredicate) -> list[ConditionResult]:
    """Return the conditions with a rate that are drawn over the benign demonstrations N_b.

    They are those of the joint fit, or without one all plain conditions in suffix order.
    """
    joint = receipt.findings and receipt.findings.joint
    if joint:
        ids = set(joint.conditions)
        chosen = [condition for condition in receipt.conditions if condition.id in ids]
    else:
        benign = receipt.demonstrations.benign
        sources = (None, benign[0].name if benign else None)
        chosen = [
            condition
            for condition in receipt.conditions
            if condition.context == receipt.conditions[0].context
            and condition.response_prefix is None
            and condition.benign_source in sources
            and condition.ordering in (None, Ordering.SUFFIX)
        ]
    return [condition for condition in chosen if condition.compliance_rate is not None]


def harmful_levels(conditions: list[ConditionResult], most: int) -> list[int]:
    """Return the numbers of harmful demonstrations that have a line over N_b, rising.

    Args:
        conditions: The conditions of all lines.
        most: Most lines; those with most N_b are kept, and always the highest number.
    """
    benign: dict[int, set[int]] = {}
    for condition in conditions:
        benign.setdefault(condition.n_harmful, set()).add(condition.n_benign)
    several = [level for level, found in benign.items() if len(found) > 1]
    several.sort(key=lambda level: (-len(benign[level]), level))
    return sorted(_with_highest(several[:most], max(several, default=0)))
