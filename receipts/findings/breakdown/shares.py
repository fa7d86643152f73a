"""The largest share of false labels at which something that a receipt says still holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from math import ceil
from typing import Final

from safety_receipts.receipts.canonical import decimal_string
from safety_receipts.receipts.findings.breakdown.extremes import SlopeStatistic
from safety_receipts.receipts.model.base import ConditionId
from safety_receipts.receipts.model.findings import Effect
from safety_receipts.receipts.model.receipt import Counts

SHARE_PLACES: Final = 3
"""Decimal places of a share; it is rounded down to these."""
_UNITS: Final = 10**SHARE_PLACES


def largest_share(holds: Callable[[float], bool]) -> str | None:
    """Return the largest share at which something holds that holds at every smaller one, too.

    Args:
        holds: Says so of a share from 0 to 1.

    Returns:
        Rounded down; None: it does not even hold at 0.
    """
    if not holds(0.0):
        return None
    low, high = 0, _UNITS
    while high - low > 1:
        middle = (low + high) // 2
        if holds(middle / _UNITS):
            low = middle
        else:
            high = middle
    return share_string(low)


def share_string(units: int) -> str:
    """Return a share as it is sealed.

    Args:
        units: In units of its last place.
    """
    return decimal_string(Fraction(units, _UNITS), SHARE_PLACES)


def slope_share(statistic: SlopeStatistic, effect: Effect, margin: str) -> str | None:
    """Return the largest share at which a slope keeps its sign, or stays within the margin.

    Args:
        statistic: The slope, or a difference of two.
        effect: What it is called: dilution, amplification or none.
        margin: The plan's effect margin.
    """
    return largest_share(lambda share: slope_stays(statistic, effect, margin, share))


def slope_stays(statistic: SlopeStatistic, effect: Effect, margin: str, share: float) -> bool:
    """Say whether a slope keeps its sign, or stays within the margin, all over a box."""
    match effect:
        case Effect.DILUTION:
            return statistic.stays(share, 1, 0.0)
        case Effect.AMPLIFICATION:
            return statistic.stays(share, -1, 0.0)
        case Effect.NONE:
            inside = float(margin)
            return statistic.stays(share, 1, inside) and statistic.stays(share, -1, -inside)
        case _:
            raise ValueError(f"a slope that is {effect.value} has no direction")


def gap(high: Counts, low: Counts) -> Fraction:
    """Return by how much one rate lies above another at least, over planned points.

    Args:
        high: Counts of the condition with the higher rate: what was not judged refuses.
        low: Counts of the other: what was not judged complies.
    """
    above = Fraction(high.complied, high.planned)
    return above - Fraction(low.complied + low.unscored + low.failed, low.planned)


def gap_share(distance: Fraction) -> str | None:
    """Return the largest share at which two rates stay apart: less than half of their distance.

    Args:
        distance: As :func:`gap` gives it.
    """
    units = ceil(distance / 2 * _UNITS) - 1
    return None if units < 0 else share_string(units)


def widest(
    counts: Sequence[tuple[ConditionId, Counts]],
) -> tuple[Fraction, tuple[ConditionId, ConditionId]]:
    """Return the two conditions that lie farthest apart, and how far; the higher one first.

    Args:
        counts: At least two conditions with their counts.
    """
    return max(
        (
            (gap(high, low), (above, below))
            for above, high in counts
            for below, low in counts
            if above != below
        ),
        key=lambda one: one[0],
    )
