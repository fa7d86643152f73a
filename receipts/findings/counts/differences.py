"""Differences of two rates over the same queries.

Each query is asked under both conditions, so that the rates rise and fall together; an interval
that ignored this would be too wide.  MOVER (method of variance estimates recovery: Newcombe 1998;
Zou and Donner 2008; Zou 2007 for correlated estimates) makes the interval of a difference from
those of the two rates and their correlation, and so keeps their asymmetry near 0 and 1.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from safety_receipts.receipts.canonical import decimal_string, square_root
from safety_receipts.receipts.findings.counts.observations import Observations
from safety_receipts.receipts.findings.counts.rates import (
    INTERVAL_LEVEL,
    RATE_PLACES,
    centring,
    clustered_bounds,
    compliance_share,
    effective_size,
    product_sum,
)
from safety_receipts.receipts.findings.counts.tally import (
    Selection,
    Sums,
    Tally,
    count_true,
    products,
    tally,
)
from safety_receipts.receipts.model.difference import Difference
from safety_receipts.receipts.model.judge import IntervalMethod


def paired_difference(
    observations: Observations, place: int, against: int, selection: Selection | None = None
) -> Difference | None:
    """Return the compliance rate of one condition less that of another, with its 95 % interval.

    Args:
        observations: The event's points.
        place: The condition's place.
        against: Place of the condition whose rate is taken off.
        selection: Over which queries; None: those of role ``harmful``.

    Returns:
        None where either rate is null.
    """
    selection = selection or Selection(observations, observations.harmful_queries)
    first = tally(observations, place, selection)
    second = tally(observations, against, selection)
    p1, p0 = compliance_share(first), compliance_share(second)
    if p1 is None or p0 is None:
        return None
    rho = _correlation(observations, (place, against), selection, (first, second))
    (l1, u1), (l0, u0) = clustered_bounds(first, p1), clustered_bounds(second, p0)
    value = p1 - p0
    below, above = _joined(p1 - l1, u0 - p0, rho), _joined(u1 - p1, p0 - l0, rho)
    return Difference(
        value=decimal_string(value, RATE_PLACES),
        method=IntervalMethod.MOVER_WILSON,
        level=INTERVAL_LEVEL,
        lower=decimal_string(value - below, RATE_PLACES),
        upper=decimal_string(value + above, RATE_PLACES),
    )


def _joined(a: Fraction, b: Fraction, rho: Fraction) -> Fraction:
    return square_root(a * a - 2 * rho * a * b + b * b)


def _correlation(
    observations: Observations,
    places: tuple[int, int],
    selection: Selection,
    tallies: tuple[Tally, Tally],
) -> Fraction:
    """Return the correlation of two compliance rates, −1 to 1.

    Their covariance is estimated as the variance of one is, with products of the two conditions'
    sums over a cluster in place of squares; lists take part where they do in both variances.  The
    variances are those of the intervals, rate·(1 − rate) / effective size.  0 where a rate is 0
    or 1, and where fewer than two queries (or lists) have judged points of both conditions.
    """
    first, second = tallies
    p1, p0 = Fraction(first.complied, first.judged), Fraction(second.complied, second.judged)
    spread = p1 * (1 - p1) / effective_size(first) * (p0 * (1 - p0) / effective_size(second))
    if not spread:
        return Fraction(0)
    (c, n), (d, m) = (_points(observations, place, selection) for place in places)
    queries = products(*(selection.by_query(points) for points in (c, n, d, m)))
    total, kept = product_sum(queries, p1, p0), queries.clusters
    if kept < 2:
        return Fraction(0)
    divisor = 1 - Fraction(1, kept)
    if all(one.method is IntervalMethod.WILSON_CLUSTERED_TWO_WAY for one in tallies):
        by_list = products(*(selection.by_list(points) for points in (c, n, d, m)))
        if by_list.clusters < 2:
            return Fraction(0)
        by_point = Sums(
            clusters=count_true(n & m),
            cc=count_true(c & d),
            cn=count_true(c & m),
            nc=count_true(n & d),
            nn=count_true(n & m),
        )
        if not by_point.clusters:
            return Fraction(0)
        total += product_sum(by_list, p1, p0) - product_sum(by_point, p1, p0)
        divisor = centring(kept, by_list.clusters, by_point.clusters)
    covariance = total / divisor / (first.judged * second.judged)
    rho = covariance / square_root(spread)
    return max(Fraction(-1), min(Fraction(1), rho))


def _points(
    observations: Observations, place: int, selection: Selection
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return the complied and the judged points, shape (selected, draws)."""
    queries = selection.queries
    return observations.complied[place][queries], observations.judged[place][queries]
