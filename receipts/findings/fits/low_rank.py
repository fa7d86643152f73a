"""Tests of more numbers than there are clusters, without a matrix of all by all.

The covariance of k numbers is a sum of one term a cluster, and so lies in the space that the
clusters' influences span.  Where they are fewer than the numbers, it is found there: in time
that is linear in k, and not cubic.  It is the same covariance, and the same tests follow.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from safety_receipts.receipts.findings.fits.clusters import Floats, PointClusters, TailTest


@dataclass(frozen=True, eq=False)
class LowRank:
    """Numbers with their covariance, basis · core · basisᵀ."""

    values: Floats
    """Shape (k,)."""
    basis: Floats
    """Shape (k, r)."""
    core: Floats
    """Shape (r, r)."""
    clusters: PointClusters
    """What may be correlated."""

    def turned(self, linear: Callable[[Floats], Floats]) -> LowRank:
        """Return linear combinations of the numbers.

        Args:
            linear: Takes the first axis of an array to its combinations.
        """
        return LowRank(linear(self.values), linear(self.basis), self.core, self.clusters)

    def f_test(self, least: float) -> TailTest | None:
        """Test whether all numbers are zero, as :meth:`PointClusters.f_test` does."""
        turn, triangle = np.linalg.qr(self.basis)
        core = triangle @ self.core @ triangle.T
        return self.clusters.f_test(turn.T @ self.values, core, least)


def low_rank(
    values: Floats, influence: Floats, clusters: PointClusters, variances: Floats | None = None
) -> LowRank | None:
    """Return numbers with their covariance; None where a matrix of all by all is no larger.

    Args:
        values: Shape (k,).
        influence: Influence of each query and draw, shape (queries, draws, k).
        clusters: What may be correlated.
        variances: More variance of each number, correlated with nothing, shape (k,); None: none.
    """
    terms = clusters.terms(influence)
    own = np.flatnonzero(variances) if variances is not None else np.arange(0)
    if len(terms) + len(own) >= len(values):
        return None
    alone = np.zeros((len(own), len(values)))
    alone[np.arange(len(own)), own] = 1.0
    basis, _ = np.linalg.qr(np.concatenate([terms, alone]).T)
    core = clusters.covariance(influence @ basis)
    if variances is not None:
        core = core + (basis.T * variances) @ basis
    return LowRank(values, basis, core, clusters)
