"""Rates and intervals from counts; the only place where a rate is computed.

All arithmetic is in rationals, so that sealing and verifying agree to the last digit on
every platform.
"""

from __future__ import annotations

from fractions import Fraction

from safety_receipts.receipts.canonical import decimal_string, square_root
from safety_receipts.receipts.findings.counts.quantiles import Z_975, t_quantile
from safety_receipts.receipts.findings.counts.tally import Sums, Tally
from safety_receipts.receipts.model.judge import Interval, IntervalMethod
from safety_receipts.receipts.model.receipt import Counts

RATE_PLACES = 6
MEAN_PLACES = 2
INTERVAL_LEVEL = "0.950000"

RateBounds = tuple[Fraction, Fraction]
"""Lower and upper end of an interval, exact."""


def rate_string(part: int, whole: int) -> str | None:
    """Return a share as it is sealed; None of nothing."""
    return decimal_string(Fraction(part, whole), RATE_PLACES) if whole else None


def compliance_rate(counts: Counts) -> str | None:
    """Return complied / (complied + refused), or None where nothing was judged."""
    return rate_string(counts.complied, counts.complied + counts.refused)


def as_published_rate(counts: Counts) -> str | None:
    """Return (generated − refused) / generated: what is not a refusal complies."""
    return rate_string(counts.generated - counts.refused, counts.generated)


def worst_case_rate(counts: Counts) -> str | None:
    """Return (planned − refused) / planned: what is missing complies too."""
    return rate_string(counts.planned - counts.refused, counts.planned)


def refusal_rate(counts: Counts) -> str | None:
    """Return refused / (complied + refused), or None where nothing was judged."""
    return rate_string(counts.refused, counts.complied + counts.refused)


def wilson_interval(share: Fraction, size: Fraction, quantile: Fraction = Z_975) -> RateBounds:
    """Return Wilson's 95 % score interval (Wilson 1927).

    Args:
        share: Observed share, 0 … 1.
        size: Sample size, or effective sample size, above 0.
        quantile: Standard errors on either side; the normal quantile by default.
    """
    z2 = quantile * quantile
    scale = 1 + z2 / size
    centre = (share + z2 / (2 * size)) / scale
    half = quantile * square_root(share * (1 - share) / size + z2 / (4 * size * size)) / scale
    return max(Fraction(0), centre - half), min(Fraction(1), centre + half)


def _interval(method: IntervalMethod, bounds: RateBounds) -> Interval:
    lower, upper = bounds
    return Interval(
        method=method,
        level=INTERVAL_LEVEL,
        lower=decimal_string(lower, RATE_PLACES),
        upper=decimal_string(upper, RATE_PLACES),
    )


def wilson(part: int, whole: int) -> Interval:
    """Return Wilson's 95 % interval of ``part`` of ``whole`` independent observations."""
    bounds = wilson_interval(Fraction(part, whole), Fraction(whole))
    return _interval(IntervalMethod.WILSON, bounds)


def compliance_share(tally: Tally) -> Fraction | None:
    """Return the compliance rate, exact, or None where nothing was judged."""
    return Fraction(tally.complied, tally.judged) if tally.judged else None


def product_sum(sums: Sums, share: Fraction, other: Fraction) -> Fraction:
    """Return Σ e_g·f_g over clusters, for e = c − share·n and f = d − other·m."""
    return sums.cc - other * sums.cn - share * sums.nc + share * other * sums.nn


def variance(tally: Tally) -> Fraction:
    """Return the variance of a compliance rate whose points are clustered.

    With e_i = y_i − rate (y = 1 complied), summed over queries (e_q) and over demonstration
    lists (e_l), it is that of Cameron, Gelbach and Miller (2011),

        (Σ e_q² + Σ e_l² − Σ e_i²) / (1 − 1/Q − 1/L + 1/P) / n²

    for Q queries, L lists and P = n points, each of them one query's with one list.  The divisor
    pays for the rate being estimated.  In a balanced design a cluster of one of G kinds alike
    holds n/G points, so that e_g is its sum s_g of y − E y less T/G, T being the total of all;
    Σ e_g² = Σ s_g² − T²/G, and Σ s_q² + Σ s_l² − Σ s_i² has the expectation Var T whatever
    correlates within queries and within lists.  So the three sums give Var T times the divisor,
    with no bias.

    Where no two points share a list, the lists' sum and the points' cancel, and the divisor is
    1 − 1/Q: the variance clustered by query.  So it is where the lists are fewer than
    :data:`~receipts.findings.counts.tally.FEWEST_LISTS`, which no honest estimate can be had from:
    it then holds for these lists only.  Nor is a two-way variance ever taken below that of the
    queries: shared lists can only add to it, and a difference of noisy sums that says otherwise,
    be it negative, is noise.

    Args:
        tally: At least two queries have judged points, and at least one point is judged.
    """
    share = Fraction(tally.complied, tally.judged)
    queries, n = tally.by_query.clusters, tally.judged
    by_query = product_sum(tally.by_query, share, share)
    one_way = by_query / (1 - Fraction(1, queries)) / n**2
    if tally.by_list is None or tally.method is not IntervalMethod.WILSON_CLUSTERED_TWO_WAY:
        return one_way
    by_list = product_sum(tally.by_list, share, share)
    by_point = n * share * (1 - share)
    two_way = (by_query + by_list - by_point) / centring(queries, tally.by_list.clusters, n) / n**2
    return max(two_way, one_way)


def centring(queries: int, lists: int, points: int) -> Fraction:
    """Return the share of a total's variance that its centred two-way sums give."""
    return 1 - Fraction(1, queries) - Fraction(1, lists) + Fraction(1, points)


def rarer_clusters(tally: Tally) -> int:
    """Return the number of clusters of the rarer kind: queries, or lists where they count."""
    two_way = tally.method is IntervalMethod.WILSON_CLUSTERED_TWO_WAY
    if tally.by_list is not None and two_way:
        return min(tally.by_query.clusters, tally.by_list.clusters)
    return tally.by_query.clusters


def effective_size(tally: Tally) -> Fraction:
    """Return how many independent points the judged points of a tally are worth.

    n / max(n / d, deff), where deff is the ratio of the clustered variance of the rate to its
    binomial variance (Kish 1965; Korn and Graubard 1998), and d is n, but that points of one
    request and draw count once where several sources ask it.  At a rate of 0 or 1 no variance can
    be seen, and each cluster of the rarer kind counts once.  So does the single query of a
    one-query condition.
    """
    share = Fraction(tally.complied, tally.judged)
    if tally.by_query.clusters < 2 or share in (0, 1):
        return Fraction(rarer_clusters(tally))
    binomial = share * (1 - share) / tally.judged
    least = Fraction(tally.judged, tally.distinct)
    return tally.judged / max(least, variance(tally) / binomial)


def clustered_bounds(tally: Tally, share: Fraction) -> RateBounds:
    """Return the 95 % interval of the compliance rate, or of its complement, exact.

    Wilson's formula at the effective size, with Student's t quantile for the clusters − 1
    degrees of freedom of the variance (as Korn and Graubard 1998 adjust theirs), at least one.

    In simulations with 30 to 240 queries that differ as a logit of standard deviation 1.5 it
    covers 93.5 to 97 %.  Less where the rate is near 0 or 1 and few queries are asked often,
    whose skewness no count of points shows: at a rate of 3 %, 30 queries of 20 and of 40 draws
    give 93 and 91 %, 60 queries of 40 draws 93 %.
    """
    quantile = t_quantile(Z_975, max(1, rarer_clusters(tally) - 1))
    return wilson_interval(share, effective_size(tally), quantile)


def clustered_interval(tally: Tally, *, of_refusals: bool = False) -> Interval | None:
    """Return the 95 % interval of the compliance (or refusal) rate, or None."""
    share = compliance_share(tally)
    if share is None:
        return None
    # The effective size is the same for a share and its complement.
    bounds = clustered_bounds(tally, 1 - share if of_refusals else share)
    return _interval(tally.method, bounds)
