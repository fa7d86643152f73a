"""The largest share of false labels at which something that a receipt says still holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from math import ceil, lcm
from typing import Final

from safety_receipts.receipts.canonical import decimal_string
from safety_receipts.receipts.findings.breakdown.extremes import SlopeStatistic
from safety_receipts.receipts.findings.breakdown.foreseen import SlopeLimit, SlopeQuestion, foresee
from safety_receipts.receipts.model.base import ConditionId
from safety_receipts.receipts.model.findings import Effect
from safety_receipts.receipts.model.receipt import Counts

SHARE_PLACES: Final = 3
"""Decimal places of a share; it is rounded down to these."""
_UNITS: Final = 10**SHARE_PLACES


def largest_share(
    holds: Callable[[float], bool],
    may_hold: Callable[[float], bool] | None = None,
    guess: int | None = None,
) -> str | None:
    """Return the largest share at which something holds that holds at every smaller one, too.

    Args:
        holds: Says so of a share from 0 to 1.
        may_hold: A quick look, which may take something to hold that does not; what ``holds`` has
            found out it knows.
        guess: Which share it is, in thousandths, where somebody thinks so; −1: none.

    Returns:
        Rounded down; None: it does not even hold at 0.
    """
    quick = may_hold or holds
    if guess is not None and not quick((guess + 1) / _UNITS):
        if guess < 0:
            return None
        if holds(guess / _UNITS):
            return share_string(guess)
    if not holds(0.0):
        return None
    low, high = 0, _UNITS
    while True:
        below, above = low, high
        while above - below > 1:
            middle = (below + above) // 2
            if quick(middle / _UNITS):
                below = middle
            else:
                above = middle
        if may_hold is None or below == low or holds(below / _UNITS):
            return share_string(below)
        high = below


def share_string(units: int) -> str:
    """Return a share as it is sealed.

    Args:
        units: In units of its last place.
    """
    return decimal_string(Fraction(units, _UNITS), SHARE_PLACES)


def slope_limits(effect: Effect, margin: str) -> tuple[SlopeLimit, ...]:
    """Return what a slope has to stay below, or above, for what it is called.

    Args:
        effect: What it is called: dilution, amplification or none.
        margin: The plan's effect margin.

    Raises:
        ValueError: It is called mixed or undetermined, and has no direction.
    """
    inside = float(margin)
    limits: dict[Effect, tuple[SlopeLimit, ...]] = {
        Effect.DILUTION: ((1, 0.0),),
        Effect.AMPLIFICATION: ((-1, 0.0),),
        Effect.NONE: ((1, inside), (-1, -inside)),
    }
    if effect not in limits:
        raise ValueError(f"a slope that is {effect.value} has no direction")
    return limits[effect]


def slope_share(statistic: SlopeStatistic, effect: Effect, margin: str) -> str | None:
    """Return the largest share at which a slope keeps its sign, or stays within the margin.

    Args:
        statistic: The slope, or a difference of two.
        effect: What it is called: dilution, amplification or none.
        margin: The plan's effect margin.

    Raises:
        ValueError: It is called mixed or undetermined, and has no direction.
    """
    return slope_shares([SlopeQuestion(statistic, slope_limits(effect, margin))])[0]


def slope_shares(
    questions: Sequence[SlopeQuestion], told: Sequence[float] = ()
) -> list[str | None]:
    """Return the largest shares at which slopes stay within their limits.

    Args:
        questions: The slopes.
        told: Other shares at which their extremes will be asked for.

    Returns:
        Rounded down; None: it does not even stay there at 0.
    """
    guesses = foresee(questions, _UNITS, told)
    return [_stay_share(*each) for each in zip(questions, guesses, strict=True)]


def _stay_share(question: SlopeQuestion, guess: int | None) -> str | None:
    statistic, limits = question.statistic, question.limits
    return largest_share(
        lambda share: all(statistic.stays(share, *limit) for limit in limits),
        lambda share: all(statistic.may_stay(share, *limit) for limit in limits),
        guess,
    )


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
    whole = lcm(*(one.planned for _, one in counts))
    sides = [
        (id_, one.complied * part, (one.complied + one.unscored + one.failed) * part)
        for id_, one in counts
        for part in (whole // one.planned,)
    ]
    distance, pair = max(
        (
            (least - most, (above, below))
            for above, least, _ in sides
            for below, _, most in sides
            if above != below
        ),
        key=lambda one: one[0],
    )
    return Fraction(distance, whole), pair
