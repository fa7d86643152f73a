"""Tail probabilities of the distributions that the tests refer to, without scipy.

Whoever verifies a receipt needs them, and a release gate does not install scipy.  The incomplete
beta and gamma functions are summed as in Press et al., "Numerical Recipes", 3rd ed., 6.2 and 6.4;
tests hold them to scipy's, to nine significant digits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import erfc, exp, isfinite, lgamma, log, log1p, sqrt
from typing import Final

_TINY: Final = 1e-300
_PRECISION: Final = 1e-15
_MOST_TERMS: Final = 100_000
_MOST_DF: Final = 1e9
"""Above this the logarithms of gamma functions differ by less than their rounding, and Student's t
by less than that from the normal.  No event has so many points."""


def normal_two_sided(z: float) -> float:
    """Return P(|Z| ≥ |z|) for a standard normal Z."""
    return erfc(abs(z) / sqrt(2))


def t_two_sided(t: float, df: float) -> float:
    """Return P(|T| ≥ |t|) for Student's t with ``df`` degrees of freedom."""
    if df > _MOST_DF:
        return normal_two_sided(t)
    return _beta_share(df / 2, 0.5, df / (df + t * t))


def f_upper(value: float, df1: float, df2: float) -> float:
    """Return P(F ≥ value) for Fisher's F with ``df1`` and ``df2`` degrees of freedom."""
    if value <= 0:
        return 1.0
    return _beta_share(df2 / 2, df1 / 2, df2 / (df2 + df1 * value))


def chi_square_upper(value: float, df: float) -> float:
    """Return P(X ≥ value) for a chi-square X with ``df`` degrees of freedom."""
    return _gamma_upper(df / 2, value / 2)


def student_quantile(p: float, df: float) -> float:
    """Return the value that Student's t exceeds with probability 1 − ``p``, for p ≥ 0.5.

    By bisection, to machine precision.
    """
    tail = 2 * (1 - p)
    low, high = 0.0, 1.0
    while t_two_sided(high, df) > tail:
        high *= 2
    for _ in range(200):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        if t_two_sided(middle, df) > tail:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _beta_share(a: float, b: float, x: float) -> float:
    """Return the regularised incomplete beta function I_x(a, b)."""
    if x <= 0:
        return 0.0
    if x >= 1:
        return 1.0
    front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x))
    if x < (a + 1) / (a + b + 2):
        return front * _beta_fraction(a, b, x) / a
    return 1 - front * _beta_fraction(b, a, 1 - x) / b


def _beta_fraction(a: float, b: float, x: float) -> float:
    def terms() -> Iterator[float]:
        m = 0
        while True:
            if m:
                yield m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
            yield -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
            m += 1

    numerators = terms()
    return 1 / _continued(1.0, lambda _: (next(numerators), 1.0))


def _gamma_upper(a: float, x: float) -> float:
    """Return the regularised upper incomplete gamma function Q(a, x)."""
    if x <= 0:
        return 1.0
    front = exp(-x + a * log(x) - lgamma(a))
    if x < a + 1:
        term = total = 1 / a
        for n in range(1, _MOST_TERMS):
            term *= x / (a + n)
            total += term
            if term < total * _PRECISION:
                break
        return max(0.0, 1 - total * front)
    return front / _continued(x + 1 - a, lambda i: (-i * (i - a), x + 2 * i + 1 - a))


def _continued(first: float, step: Callable[[int], tuple[float, float]]) -> float:
    """Return b0 + a1/(b1 + a2/(b2 + …)) by Lentz's method; ``step(i)`` gives (a_i, b_i)."""
    value = first or _TINY
    c, d = value, 0.0
    for i in range(1, _MOST_TERMS):
        a, b = step(i)
        d = 1 / (b + a * d or _TINY)
        c = b + a / c or _TINY
        factor = c * d
        value *= factor
        if abs(factor - 1) < _PRECISION:
            break
    if not isfinite(value):
        raise ArithmeticError("a tail probability did not converge")
    return value
