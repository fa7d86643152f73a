"""Fitted numbers as they are sealed, and how close two of them must be to count as one."""

from __future__ import annotations

from fractions import Fraction
from math import ceil, floor, log10
from typing import Final

from safety_receipts.receipts.canonical import decimal_string
from safety_receipts.receipts.model.findings import SignedInterval

P_PLACES: Final = 20
"""Most decimals of a sealed p-value."""
_P_DIGITS: Final = 6
_SCORE_PLACES: Final = 6


def score(value: float | Fraction) -> str:
    """Return a fitted number with six decimals, never −0."""
    return decimal_string(Fraction(value), _SCORE_PLACES)


def signed_interval(confidence: float, lower: float, upper: float) -> SignedInterval:
    """Return an interval as it is sealed."""
    level = decimal_string(Fraction(confidence), _SCORE_PLACES)
    return SignedInterval(level=level, lower=score(lower), upper=score(upper))


def p_string(p: float | Fraction) -> str:
    """Return a p-value as it is sealed: six significant digits, at most 20 decimals.

    Rounded up, as no rounding may make it look smaller: the least is 10⁻²⁰.
    """
    if p >= 1:
        return "1"
    if p <= Fraction(1, 10**P_PLACES):
        return decimal_string(Fraction(1, 10**P_PLACES), P_PLACES)
    places = min(P_PLACES, _P_DIGITS - 1 - floor(log10(p)))
    scaled = Fraction(ceil(Fraction(p) * 10**places), 10**places)
    return decimal_string(min(scaled, Fraction(1)), places)
