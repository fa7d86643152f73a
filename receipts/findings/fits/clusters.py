"""How far an estimate may be off when points share queries and demonstration lists.

Every estimate of the findings (a rate, a difference, a slope) is to first order a sum of one
term a point, its influence.  Summed over the conditions of the estimate, influences form an array
with one row a query and one column a draw, and what is left to ask is how its cells hang
together: those of a query do, and those that show one demonstration list do.

The variance is Cameron, Gelbach and Miller's ("Robust Inference with Multiway Clustering",
J. Bus. Econ. Stat. 29, 2011),

    (Σ_q s_q s_qᵀ + Σ_l s_l s_lᵀ − Σ_c s_c s_cᵀ) / (1 − 1/Q − 1/L + 1/C),

with s_q, s_l and s_c the sums of the influences over a query, a list and a cell.  Influences of a
fit add up to nothing, as those of the truth would not; in a crossing design that costs the three
sums the shares 1/Q, 1/L and 1/C of the variance, whatever correlates, which the divisor gives
back.  Where no two queries share a list, lists lie within queries, the second sum equals the
third, and the query-clustered variance with its G/(G − 1) remains.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from safety_receipts.receipts.findings.counts.requests import by_request, count_requests
from safety_receipts.receipts.findings.counts.tally import FEWEST_LISTS
from safety_receipts.receipts.findings.fits.distributions import f_upper, t_two_sided
from safety_receipts.receipts.model import findings as wire
from safety_receipts.receipts.model.findings import ClusterMethod

Floats = NDArray[np.float64]

FEWEST_QUERIES: Final = 30
"""With fewer queries nothing is concluded."""
NO_VARIANCE: Final = 1e-12
"""A variance below this share of what it is made of is rounding, which fits do differently."""
_SINGULAR: Final = 1e-9
"""Eigenvalues below this share of the largest count as none."""


@dataclass(frozen=True)
class TailTest:
    """A test that one number, or several at once, are zero."""

    statistic: float
    """Student's t, or Fisher's F."""
    df: int
    """Degrees of freedom, of F the denominator's."""
    p: float
    """p-value: two-sided for t, upper tail for F."""


class PointClusters:
    """What may be correlated among the points of an estimate.

    Args:
        lists: Number of the demonstration list of each query and draw, shape (queries, draws).
        used: Points of the estimate in each of these cells, same shape.
        requests: Number of each query's request, shape (queries,): queries of several sources
            that ask the same are one cluster; None: no two do.
    """

    def __init__(
        self,
        lists: NDArray[np.int64],
        used: NDArray[np.int64],
        requests: NDArray[np.int64] | None = None,
    ) -> None:
        self._there = used > 0
        self._requests = requests
        names, self._list_of = np.unique(lists[self._there], return_inverse=True)
        self._cells = len(self._list_of)
        asked: NDArray[np.bool_] = np.asarray(self._there.any(axis=1))
        self.queries = count_requests(asked, requests)
        """Queries with a point in the estimate; those that ask the same count once."""
        self.lists = len(names)
        """Lists with a point in the estimate."""
        if self.lists == self._cells:
            self.method = ClusterMethod.QUERY
        elif self.lists < FEWEST_LISTS:
            self.method = ClusterMethod.QUERY_GIVEN_LISTS
        else:
            self.method = ClusterMethod.QUERY_AND_LIST

    @property
    def df(self) -> int:
        """Degrees of freedom: clusters of the rarer kind − 1."""
        return degrees_of_freedom(self.to_wire())

    @property
    def grounds_for_doubt(self) -> wire.Grounds | None:
        """Why nothing can be concluded, or None."""
        return doubt(self.to_wire())

    def covariance(self, influence: Floats) -> Floats:
        """Return the covariance of an estimate, shape (k, k).

        Args:
            influence: Influence of each query and draw, shape (queries, draws, k).
        """
        if self.method is not ClusterMethod.QUERY_AND_LIST:
            return self.unfloored(influence)
        return _at_least(self.unfloored(influence), self._by_query(influence))

    def unfloored(self, influence: Floats) -> Floats:
        """Return the covariance before noise is kept from shrinking it: without bias."""
        if self.method is not ClusterMethod.QUERY_AND_LIST:
            return self._by_query(influence)
        cells = influence[self._there]
        by_list = np.zeros((self.lists, influence.shape[2]))
        np.add.at(by_list, self._list_of, cells)
        sums = self._over_queries(influence) + _outer(by_list) - _outer(cells)
        return sums / (1 - 1 / self.queries - 1 / self.lists + 1 / self._cells)

    def terms(self, influence: Floats) -> Floats:
        """Return terms whose span holds the covariance of an estimate, shape (terms, k)."""
        if self.method is not ClusterMethod.QUERY_AND_LIST:
            return by_request(influence.sum(axis=1), self._requests)
        cells: Floats = influence[self._there]
        return cells

    def _by_query(self, influence: Floats) -> Floats:
        return self._over_queries(influence) * self.queries / max(1, self.queries - 1)

    def _over_queries(self, influence: Floats) -> Floats:
        return _outer(by_request(influence.sum(axis=1), self._requests))

    def t_test(self, value: float, variance: float) -> TailTest | None:
        """Test whether one number is zero; None where it has no variance."""
        if variance <= 0:
            return None
        t = value / variance**0.5
        return TailTest(t, self.df, t_two_sided(t, self.df))

    def f_test(self, values: Floats, covariance: Floats, least: float = 0.0) -> TailTest | None:
        """Test whether several numbers are zero at once (Hotelling's T²).

        Args:
            values: Shape (k,).
            covariance: Theirs, shape (k, k).
            least: Variances up to this are rounding.

        Returns:
            The test, combinations without variance left out; None where there are more numbers
            than degrees of freedom, or none of them varies.
        """
        eigenvalues, vectors = np.linalg.eigh(covariance)
        kept = eigenvalues > max(least, eigenvalues[-1] * _SINGULAR)
        rank, left = int(kept.sum()), self.df - int(kept.sum()) + 1
        if not rank or left < 1:
            return None
        along = vectors[:, kept].T @ values
        squared = float((along**2 / eigenvalues[kept]).sum())
        f = squared * left / (self.df * rank)
        return TailTest(f, left, f_upper(f, rank, left))

    def to_wire(self) -> wire.Clusters:
        """Return what is sealed of them."""
        return wire.Clusters(queries=self.queries, lists=self.lists, method=self.method)


def degrees_of_freedom(clusters: wire.Clusters) -> int:
    """Return the clusters of the rarer kind − 1, at least 1."""
    two_way = clusters.method is ClusterMethod.QUERY_AND_LIST
    return max(1, (min(clusters.queries, clusters.lists) if two_way else clusters.queries) - 1)


def doubt(clusters: wire.Clusters) -> wire.Grounds | None:
    """Return why nothing can be concluded from so many clusters, or None."""
    if clusters.queries < FEWEST_QUERIES:
        return wire.Grounds.FEW_QUERIES
    if clusters.method is ClusterMethod.QUERY_GIVEN_LISTS:
        return wire.Grounds.FEW_LISTS
    return None


def _outer(sums: Floats) -> Floats:
    """Return Σ s sᵀ over the rows of an array of shape (n, k)."""
    product: Floats = sums.T @ sums
    return product


def _at_least(two_way: Floats, one_way: Floats) -> Floats:
    """Return the two-way covariance, in no direction below the one-way one.

    The difference of two noisy sums may come out too small, even negative; shared lists can only
    add variance.
    """
    eigenvalues, vectors = np.linalg.eigh(one_way)
    kept = eigenvalues > max(0.0, eigenvalues[-1]) * _SINGULAR
    if not kept.any():
        return two_way if np.trace(two_way) > 0 else one_way
    root = vectors[:, kept] * np.sqrt(eigenvalues[kept])
    inverse = vectors[:, kept] / np.sqrt(eigenvalues[kept])
    relative, turned = np.linalg.eigh(inverse.T @ two_way @ inverse)
    scaled = root @ turned
    product: Floats = scaled * np.maximum(relative, 1.0) @ scaled.T
    return product
