"""Quantiles as exact rationals, so that intervals agree to the last digit on every platform."""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from typing import Final

Z_975: Final = Fraction("1.959963984540054")
"""97.5 % quantile of the standard normal distribution."""
Z_95: Final = Fraction("1.6448536269514722")
"""95 % quantile of the standard normal distribution."""

_PLACES: Final = 15

# Numerators by falling odd powers of z, and denominators.
_TERMS: Final = (
    ((1, 1), 4),
    ((5, 16, 3), 96),
    ((3, 19, 17, -15), 384),
    ((79, 776, 1482, -1920, -945), 92160),
)


@cache
def t_quantile(z: Fraction, df: int) -> Fraction:
    """Return the quantile of Student's t where the normal one is ``z``.

    z + g1/df + g2/df² + g3/df³ + g4/df⁴, the polynomials of Abramowitz and Stegun (1964),
    26.7.5, rounded to fifteen places, half to even.  It is too small by less than 0.0003 from
    5 degrees of freedom up, and by 0.0009, 0.004, 0.033 and 1.41 at 4, 3, 2 and 1 (97.5 %).

    Args:
        z: :data:`Z_975` or :data:`Z_95`.
        df: Degrees of freedom, at least 1.
    """
    quantile = z
    for order, (numerators, denominator) in enumerate(_TERMS, start=1):
        power = 2 * order + 1
        terms = (n * z ** (power - 2 * place) for place, n in enumerate(numerators))
        quantile += sum(terms, Fraction(0)) / (denominator * df**order)
    return Fraction(round(quantile * 10**_PLACES), 10**_PLACES)
