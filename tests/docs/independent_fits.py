"""Fits, clustered errors and tails for independent_findings.py, with numpy alone.

Written from the section *Findings* of docs/protocol.md and the papers it names; the tails are
integrated, not expanded.  Arrays of points have shape (conditions, queries, draws).
"""

from fractions import Fraction
from functools import cache
from itertools import combinations
from math import asin, ceil, erfc, exp, floor, lgamma, log, log10, pi, sqrt
from typing import Any

import numpy as np
from independent_rates import Document, fixed_point
from numpy.typing import NDArray

Array = NDArray[Any]
NODES, WEIGHTS = np.polynomial.legendre.leggauss(16)
PANELS = 400


# Tails


def f_tail(value: float, df1: int, df2: int) -> float:
    """P(F ≥ value): sin²φ of the angle φ is beta distributed, and the angle's density smooth."""
    if value <= 0:
        return 1.0
    end = asin(sqrt(df2 / (df2 + df1 * value)))
    edges = np.linspace(0, end, PANELS + 1)
    half = (edges[1] - edges[0]) / 2
    angle = (edges[:-1, None] + half + half * NODES).ravel()
    with np.errstate(divide="ignore"):
        density = (df2 - 1) * np.log(np.sin(angle)) + (df1 - 1) * np.log(np.cos(angle))
    scale = log(2) + lgamma((df1 + df2) / 2) - lgamma(df1 / 2) - lgamma(df2 / 2)
    return float((np.exp(scale + density) * np.tile(WEIGHTS * half, PANELS)).sum())


def t_tail(t: float, df: int) -> float:
    """P(|T| ≥ |t|): T² is F with 1 degree of freedom above."""
    return f_tail(t * t, 1, df)


@cache
def t_quantile(tail: float, df: int) -> float:
    """What |T| exceeds with a probability of ``tail``, by bisection."""
    low, high = 0.0, 1e3
    while high - low > 1e-13 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if t_tail(middle, df) > tail else (low, middle)
    return (low + high) / 2


def chi_tail(value: float, df: int) -> float:
    """P(X ≥ value) for chi-square (Abramowitz and Stegun 26.4.4 and 26.4.5)."""
    if df % 2:
        total, term = erfc(sqrt(value / 2)), sqrt(2 * value / pi) * exp(-value / 2)
        for odd in range(3, df + 1, 2):
            total, term = total + term, term * value / odd
        return total
    total = term = exp(-value / 2)
    for even in range(2, df, 2):
        term *= value / even
        total += term
    return total


# Numbers as they are written


def six(value: float) -> str:
    """A fitted number."""
    return fixed_point(Fraction(value))


def p_text(p: float | Fraction) -> str:
    """A p-value: six significant digits, rounded up, at most twenty places."""
    if p >= 1:
        return "1"
    places = min(20, 5 - floor(log10(p))) if p > 1e-20 else 20
    scaled = max(1, ceil(Fraction(p) * 10**places))
    return fixed_point(Fraction(scaled, 10**places), places)


# Estimates


class Fitted:
    """Numbers, the influence of every query and draw on them, and their clustered covariance."""

    def __init__(
        self, values: Array, influence: Array, used: Array, lists: Array, independent: Array
    ) -> None:
        self.values, self.influence, self.independent = values, influence, independent
        self.clusters = Clusters(used.sum(axis=0) > 0, lists)
        self.covariance = self.clusters.covariance(influence)

    def combined(self, rows: Array) -> "Fitted":
        """Linear combinations, with the covariance that follows from this one."""
        other = object.__new__(Fitted)
        other.values, other.influence = rows @ self.values, self.influence @ rows.T
        other.clusters, other.covariance = self.clusters, rows @ self.covariance @ rows.T
        other.independent = rows**2 @ self.independent
        return other

    def interval(self, place: int, level: str) -> Document:
        """The t interval of one number."""
        se = sqrt(max(0.0, self.covariance[place, place]))
        half = t_quantile(float(1 - Fraction(level)), self.clusters.df) * se
        beta = self.values[place]
        return {"level": level, "lower": six(beta - half), "upper": six(beta + half)}

    def slope(self, place: int) -> Document | None:
        """One number and its test; None where its variance is rounding."""
        variance = float(self.covariance[place, place])
        if variance <= max(0.0, 1e-12 * self.independent[place]):
            return None
        beta, se, df = float(self.values[place]), sqrt(variance), self.clusters.df
        numbers = {"beta": six(beta), "se": six(se), "t": six(beta / se)}
        return numbers | {"df": df, "p": p_text(t_tail(beta / se, df))}


class Clusters:
    """What a set of points shares; ``lists`` are the numbers of the lists, and of the requests."""

    def __init__(self, there: Array, lists: Array) -> None:
        self.there, self.numbers = there, lists[0]
        self.asked = lists[1][:, 0]
        self.cells = int(there.sum())
        self.queries = len(set(self.asked[there.any(axis=1)].tolist()))
        self.lists = len(set(self.numbers[there].tolist()))
        self.method = "query" if self.lists == self.cells else "query-and-list"
        if self.lists < min(20, self.cells):
            self.method = "query-given-lists"
        two_way = self.method == "query-and-list"
        self.df = max(1, (min(self.queries, self.lists) if two_way else self.queries) - 1)

    @property
    def doubt(self) -> str | None:
        """Why nothing can be concluded."""
        if self.queries < 30:
            return "few-queries"
        return "few-lists" if self.method == "query-given-lists" else None

    @property
    def stated(self) -> Document:
        """As it is written."""
        return {"queries": self.queries, "lists": self.lists, "method": self.method}

    def covariance(self, influence: Array) -> Array:
        """The covariance of an estimate from influences of shape (queries, draws, k)."""
        asking = self.asked[:, None] == np.unique(self.asked)
        queries = asking.T @ influence.sum(axis=1)
        one = queries.T @ queries / (1 - 1 / self.queries if self.queries > 1 else 1)
        if self.method != "query-and-list":
            return np.asarray(one)
        cells, names = influence[self.there], self.numbers[self.there]
        sums = [cells[names == name].sum(axis=0) for name in np.unique(names)]
        by_list = np.array(sums)
        total = queries.T @ queries + by_list.T @ by_list - cells.T @ cells
        two = total / (1 - 1 / self.queries - 1 / self.lists + 1 / self.cells)
        return raised(two, one)


def raised(two: Array, one: Array) -> Array:
    """The first covariance, in no direction below the second."""
    size, axes = np.linalg.eigh(one)
    kept = size > 1e-9 * max(size[-1], 0.0)
    if not kept.any():
        return two if np.trace(two) > 0 else one
    axes = axes[:, kept] * np.sqrt(size[kept])
    white = axes / size[kept]
    ratio, turned = np.linalg.eigh(white.T @ two @ white)
    axes = axes @ turned
    return np.asarray((axes * np.maximum(1, ratio)) @ axes.T)


def f_test(
    values: Array, covariance: Array, df: int, least: float
) -> tuple[str | None, str | None]:
    """Hotelling's T² as an F: statistic and p-value; None where there is none."""
    size, axes = np.linalg.eigh(covariance)
    kept = size > max(least, 1e-9 * size[-1])
    rank = int(kept.sum())
    if rank == 0 or df - rank + 1 < 1:
        return None, None
    squared = float(((axes[:, kept].T @ values) ** 2 / size[kept]).sum())
    f = squared * (df - rank + 1) / (df * rank)
    return six(f), p_text(f_tail(f, rank, df - rank + 1))


def f_of(fitted: Fitted) -> tuple[str | None, str | None]:
    """F and p of all numbers at once."""
    least = 1e-12 * float(fitted.independent.max())
    return f_test(fitted.values, fitted.covariance, fitted.clusters.df, least)


# Logits


def overlapping(x: Array, some: Array, other: Array) -> bool:
    """Whether no hyperplane parts the outcomes: a line through two of the points, if any does.

    Shape of ``x``: (conditions, 1 or 2), without the constant; ``some`` and ``other`` say where
    each outcome occurs.
    """
    if not (some.any() and other.any()):
        return False
    x = x / np.maximum(np.abs(x).max(axis=0), 1e-9)
    if x.shape[1] == 1:
        normals = [np.array([1.0])]
    else:
        places = np.unique(x, axis=0)
        pairs = [b - a for a, b in combinations(places, 2)]
        normals = [np.array([-d[1], d[0]]) for d in pairs]
    for normal in normals:
        along = x @ normal
        if (
            along[some].min() >= along[other].max() - 1e-9
            or along[other].min() >= along[some].max() - 1e-9
        ):
            return False
    return True


def fit_logit(
    x: Array, complied: Array, used: Array, lists: Array
) -> tuple[Fitted, Array, Array] | None:
    """Fit a logit to conditions: the estimate, fitted probabilities, inverse information.

    None where the likelihood has no maximum.  ``x`` holds the constant, shape (conditions, k).
    """
    y, n = (complied & used).sum(axis=(1, 2)), used.sum(axis=(1, 2))
    there = n > 0
    if np.linalg.matrix_rank(x[there]) < x.shape[1]:
        return None
    if x.shape[1] > 1 and not overlapping(x[there][:, 1:], (y > 0)[there], (y < n)[there]):
        return None
    beta = np.zeros(x.shape[1])

    def loss(at: Array) -> float:
        return float((n * np.logaddexp(0, x @ at) - y * (x @ at)).sum())

    for _ in range(200):
        p = 1 / (1 + np.exp(-x @ beta))
        inverse = np.linalg.inv((x.T * (n * p * (1 - p))) @ x)
        step = inverse @ (x.T @ (y - n * p))
        while loss(beta + step) > loss(beta) + 1e-12 * abs(loss(beta)):
            step = step / 2
        beta = beta + step
        if np.abs(step).max() < 1e-11 * (1 + np.abs(beta).max()):
            break
    p = 1 / (1 + np.exp(-x @ beta))
    inverse = np.linalg.inv((x.T * (n * p * (1 - p))) @ x)
    residual = np.where(used, complied - p[:, None, None], 0.0)
    influence = np.einsum("cqd,ck->qdk", residual, x @ inverse)
    return Fitted(beta, influence, used, lists, np.diag(inverse)), p, inverse


def rates_of(complied: Array, used: Array, lists: Array) -> Fitted | None:
    """The rates of conditions; None where one has no point."""
    n = used.sum(axis=(1, 2))
    if not n.all():
        return None
    p = (complied & used).sum(axis=(1, 2)) / n
    influence = np.where(used, complied - p[:, None, None], 0.0) / n[:, None, None]
    return Fitted(p, np.moveaxis(influence, 0, 2), used, lists, p * (1 - p) / n)
