"""Sealed decimal strings as people read them: shares in percent, p-values, signed numbers."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

P_FLOOR: Final = Decimal("1e-20")
"""Least p-value that a receipt can state."""
NOTHING: Final = "–"
"""In place of a number that does not exist."""


def percent(rate: str | None) -> str:
    """Return a share in percent with one decimal, or a dash."""
    return NOTHING if rate is None else f"{Decimal(rate) * 100:.1f}"


def signed_number(value: str | Decimal, places: int = 3) -> str:
    """Return a number with its sign; one that would round to zero keeps one digit."""
    number = Decimal(value)
    text = f"{number:+.{places}f}"
    if number and not Decimal(text):
        text = f"{number:+.{-number.adjusted()}f}"
    return (text if Decimal(text) else text[1:]).replace("-", "−")


def percentage_points(value: str) -> str:
    """Return a difference of shares in percentage points, with its sign."""
    return signed_number(Decimal(value) * 100, 1)


def span(lower: str, upper: str) -> str:
    """Return the two ends of an interval of signed numbers."""
    return f"{signed_number(lower)} to {signed_number(upper)}"


def point_span(lower: str, upper: str) -> str:
    """Return the two ends of an interval of differences of shares, in percentage points."""
    return f"{percentage_points(lower)} to {percentage_points(upper)}"


def level(share: str) -> str:
    """Return the coverage of an interval: ``95 %``."""
    return f"{(Decimal(share) * 100).normalize():f} %"


def p_number(p: str | None) -> str:
    """Return a p-value with at most three significant digits, or a dash.

    ``< 1e-20`` at the least value that is sealed.
    """
    if p is None:
        return NOTHING
    if is_floor(p):
        return "< 1e-20"
    mantissa, e, exponent = f"{float(p):.3g}".partition("e")
    return f"{mantissa}e{int(exponent)}" if e else mantissa


def is_floor(p: str) -> bool:
    """Say whether a p-value is the least that is sealed: the true one may lie anywhere below."""
    return Decimal(p) <= P_FLOOR


def p_value(p: str, *, at_most: bool = False) -> str:
    """Return ``p = 0.0123`` or ``p < 1e-20``; with ``at_most``, always the latter kind."""
    number = p_number(p)
    if number.startswith("<"):
        return f"p {number}"
    return f"p {'<' if at_most and Decimal(p) < 1 else '='} {number}"


def counted(number: int, one: str, many: str | None = None) -> str:
    """Return a number with its noun: ``1 list``, ``1,404 queries``."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
