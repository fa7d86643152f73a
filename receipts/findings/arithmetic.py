"""What sealed numbers must be to one another, as far as their rounding lets see."""

from __future__ import annotations

from collections.abc import Iterator
from math import isclose
from typing import Final

from safety_receipts.receipts.findings.effects import CONFIDENCE, EQUIVALENCE
from safety_receipts.receipts.findings.fits.distributions import student_quantile, t_two_sided
from safety_receipts.receipts.model.findings import (
    AdoptionRate,
    JointFinding,
    SignedInterval,
    Slope,
    SlopeFinding,
)
from safety_receipts.receipts.model.plan import PlanPredicate

HALF_PLACE: Final = 5e-7
"""How far a number with six decimals may be from the one that was rounded."""


def slope_problems(where: str, slope: Slope, plan: PlanPredicate) -> Iterator[str]:
    """Yield what in a slope does not follow from its estimate and standard error."""
    if slope.df > plan.points:
        yield f"{where}: {slope.df:,} degrees of freedom of {plan.points:,} points"
    if not is_ratio(slope.t, slope.beta, slope.se):
        yield f"{where}: t is not beta / se"
    t = float(slope.t)
    if not is_p(slope.p, p := t_two_sided(t, slope.df), t):
        yield f"{where}: p is {slope.p}, t gives {p:.6g}"


def estimate_of(slope: Slope) -> tuple[float, float, int]:
    """Return estimate, standard error and degrees of freedom."""
    return float(slope.beta), float(slope.se), slope.df


def interval_problems(
    where: str, stated: JointFinding | SlopeFinding, fitted: tuple[float, float, int]
) -> Iterator[str]:
    """Yield which interval does not follow from estimate, standard error and degrees of freedom."""
    beta, se, df = fitted
    for name, interval, confidence in (
        ("interval", stated.interval, CONFIDENCE),
        ("equivalence", stated.equivalence, EQUIVALENCE),
    ):
        half = student_quantile((1 + confidence) / 2, df)
        room = HALF_PLACE * (2 + half) + 1e-9 * abs(beta)
        if interval is None or not _is_interval(interval, confidence, (beta, half * se), room):
            yield f"{where}.{name} does not follow from slope and standard error"


def _is_interval(
    interval: SignedInterval, confidence: float, middle: tuple[float, float], room: float
) -> bool:
    centre, half = middle
    return (
        float(interval.level) == confidence
        and abs(float(interval.lower) - (centre - half)) <= room
        and abs(float(interval.upper) - (centre + half)) <= room
    )


def is_ratio(ratio: str, above: str, below: str) -> bool:
    """Say whether a ratio is that of two numbers, as far as their rounding lets see."""
    size, divisor = abs(float(above)), float(below)
    if divisor <= 2 * HALF_PLACE:
        return divisor >= 0
    room = (HALF_PLACE + HALF_PLACE * size / divisor) / (divisor - HALF_PLACE)
    return abs(float(ratio) - float(above) / divisor) <= 2 * room + 2 * HALF_PLACE


def is_p(stated: str, derived: float, statistic: float) -> bool:
    """Say whether a p-value is that of a statistic with six decimals."""
    room = 1e-4 + 4 * HALF_PLACE * (1 + abs(statistic))
    return isclose(float(stated), derived, rel_tol=room, abs_tol=1e-18)


def is_share(rate: AdoptionRate) -> bool:
    """Say whether a share is that of its counts."""
    if rate.rate is None or rate.responses == 0:
        return rate.rate is None and rate.responses == 0
    return abs(float(rate.rate) - rate.adopted / rate.responses) <= 2 * HALF_PLACE
