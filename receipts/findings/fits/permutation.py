"""A test of the benign effect that needs no fit.

Where nearly every query refuses throughout (or complies throughout), a Wald number is worth
nothing: the slope may be infinite, and its error is that of a handful of queries.  What remains is
the score: the sum of log(N_b + 1) over complied points, within query, N_h and draw, less its
expectation if benign demonstrations did nothing.  It is tested twice, and the larger p-value
counts.  Permutations are exact, but take every query's own slope for zero; the clustered t allows
queries and lists to differ, but wants many of them.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Final

import numpy as np
from numpy.typing import NDArray

from safety_receipts.receipts.findings.fits.clusters import NO_VARIANCE, Floats, PointClusters
from safety_receipts.receipts.findings.fits.wire import p_string, score
from safety_receipts.receipts.model.findings import Permutation

PERMUTATIONS: Final = 1999
_MOST_CELLS: Final = 30_000
"""More outcomes than these are not permuted, for the time it takes: queries are many then, and
the clustered t does by itself."""
_KEY: Final = 20_260_620_508
"""Anybody's permutations are these: the p-value can be computed again."""
_TIE: Final = 1e-9


def permutation_test(
    weights: Floats,
    strata: NDArray[np.int64],
    points: tuple[NDArray[np.bool_], NDArray[np.bool_]],
    lists: NDArray[np.int64],
    requests: NDArray[np.int64] | None = None,
) -> Permutation:
    """Test whether compliance goes with a weight, within strata, queries and draws.

    The permutation p-value is exact for any number of permutations (Phipson and Smyth, Stat.
    Appl. Genet. Mol. Biol. 9, 2010).  The raw stream of numpy's Philox generator, which numpy
    keeps stable, orders each stratum's outcomes.

    Args:
        weights: log(N_b + 1) of each condition, shape (conditions,).
        strata: N_h of each condition, same shape.
        points: Which points comply, and which count, shape (conditions, queries, draws) both.
        lists: Number of the list of each query and draw, shape (queries, draws).
        requests: Number of each query's request, shape (queries,): the same request is one
            cluster, and permuted alike; None: no two are the same.
    """
    complied, used = points
    levels = [strata == level for level in np.unique(strata)]
    centred = [_centred(weights[level], used[level]) for level in levels]
    blocks, scores, size = [], np.zeros(lists.shape), 0.0
    for level, x in zip(levels, centred, strict=True):
        # Strata of one outcome say nothing: their sums are zero but for rounding.
        both = differing(complied[level], used[level])
        scores += np.where(both, (x * (complied & used)[level]).sum(axis=0), 0.0)
        size += float((x**2)[:, both].sum())
        y = (complied & used)[level][:, both] * 1.0
        blocks.append((x[:, both], y, used[level][:, both], _alike(both, requests)))
    informative = informative_queries(strata, complied, used)
    clusters = PointClusters(lists, used.sum(axis=0) * informative[:, None], requests)
    total = float(scores.sum())
    test = None
    if clusters.queries > 1:
        # Not centred: what is tested is that they are zero on average.
        variance = float(clusters.covariance(scores[:, :, None])[0, 0])
        test = clusters.t_test(total, variance) if variance > NO_VARIANCE * size else None
    few = sum(y.size for _, y, _, _ in blocks) <= _MOST_CELLS
    permuted = _permuted(blocks, total) if few else None
    p_values = [] if test is None else [Fraction(test.p)]
    p_values += [] if permuted is None else [permuted]
    return Permutation(
        statistic=score(total),
        t=None if test is None else score(test.statistic),
        df=clusters.df,
        p_clustered=None if test is None else p_string(test.p),
        p_permutation=None if permuted is None else p_string(permuted),
        permutations=PERMUTATIONS if few else 0,
        p=p_string(max(p_values, default=Fraction(1))),
    )


def informative_queries(
    strata: NDArray[np.int64], complied: NDArray[np.bool_], used: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Return which queries have both outcomes at one N_h and draw, shape (queries,).

    Only they can show what benign demonstrations do.

    Args:
        strata: N_h of each condition, shape (conditions,).
        complied: Which points comply, shape (conditions, queries, draws).
        used: Which points count, same shape.
    """
    found = np.zeros(used.shape[1], dtype=np.bool_)
    for level in np.unique(strata):
        found |= differing(complied[strata == level], used[strata == level]).any(axis=1)
    return found


def differing(complied: NDArray[np.bool_], used: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which queries and draws have both outcomes among some conditions.

    Args:
        complied: Which points comply, shape (conditions, queries, draws).
        used: Which points count, same shape.
    """
    return np.logical_and((complied & used).any(axis=0), (used & ~complied).any(axis=0))


_Block = tuple[Floats, Floats, NDArray[np.bool_], NDArray[np.intp]]
"""Centred weights, outcomes and use of strata side by side, each of shape (conditions, strata);
and for each stratum the first that is permuted as it is, shape (strata,)."""


def _alike(both: NDArray[np.bool_], requests: NDArray[np.int64] | None) -> NDArray[np.intp]:
    """Return for each stratum the first of its request and draw.

    Args:
        both: Which queries and draws have both outcomes, shape (queries, draws).
        requests: Number of each query's request; None: no two are the same.
    """
    queries, draws = np.nonzero(both)
    names = queries if requests is None else requests[queries]
    _, first, of = np.unique(names * both.shape[1] + draws, return_index=True, return_inverse=True)
    found: NDArray[np.intp] = first[of]
    return found


def _permuted(blocks: list[_Block], observed: float) -> Fraction:
    generator = np.random.Philox(key=_KEY)
    extreme = 0
    for _ in range(PERMUTATIONS):
        drawn = 0.0
        for x, y, there, alike in blocks:
            order = generator.random_raw(y.size).reshape(y.shape).astype(np.float64)[:, alike]
            # Points that do not count keep out of it: their keys come last, where y is 0 too.
            ranks = np.argsort(np.where(there, order, np.inf), axis=0, kind="stable")
            shuffled = np.zeros_like(y)
            slots = np.argsort(~there, axis=0, kind="stable")
            np.put_along_axis(shuffled, slots, np.take_along_axis(y, ranks, axis=0), axis=0)
            drawn += float((x * shuffled).sum())
        extreme += abs(drawn) >= abs(observed) - _TIE
    return Fraction(1 + extreme, 1 + PERMUTATIONS)


def _centred(weights: Floats, used: NDArray[np.bool_]) -> Floats:
    """Return weights less their mean over the points that count, and 0 elsewhere."""
    x = np.where(used, weights[:, None, None], 0.0)
    mean = x.sum(axis=0) / np.maximum(1, used.sum(axis=0))
    result: Floats = np.where(used, x - mean, 0.0)
    return result
