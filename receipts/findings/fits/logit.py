"""Logits fitted to conditions: coefficients, and the influence of every point on them.

Covariates belong to conditions, so that a fit sees only the points and compliances of each; a
fit to a million points costs as much as one to a thousand.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from warnings import catch_warnings, simplefilter

import numpy as np
from numpy.typing import NDArray

from safety_receipts.receipts.errors import IntegrityError
from safety_receipts.receipts.findings.fits.clusters import Floats

CountArray = NDArray[np.int64]

Fitter = Callable[[Floats, CountArray, CountArray], Floats]
"""Takes covariates (conditions × k), compliances and points; returns k coefficients.

It is called only where the maximum of the likelihood exists."""

_MOST_STEPS: Final = 100
_CONVERGED: Final = 1e-12
_NOTHING: Final = 1e-9
_DIVERGED: Final = "a logit of the findings cannot be fitted: its likelihood is flat"


@dataclass(frozen=True, eq=False)
class Logit:
    """A fitted logit."""

    covariates: Floats
    """Shape (conditions, k)."""
    points: CountArray
    """Points of each condition."""
    coefficients: Floats
    """Shape (k,)."""
    fitted: Floats
    """Fitted probability of each condition."""
    information_inverse: Floats
    """Inverse of the information matrix, shape (k, k): the covariance, were points independent."""

    def influence(self, complied: NDArray[np.bool_], used: NDArray[np.bool_]) -> Floats:
        """Return the influence of each query and draw on the coefficients.

        Args:
            complied: Which points complied, shape (conditions, queries, draws).
            used: Which points are in the fit, same shape.

        Returns:
            Shape (queries, draws, k): information⁻¹ times the sum of the scores.
        """
        residual = np.where(used, complied - self.fitted[:, None, None], 0.0)
        weights = self.covariates @ self.information_inverse
        product: Floats = np.einsum("cqd,ck->qdk", residual, weights)
        return product


def fit_logit(
    covariates: Floats, complied: CountArray, points: CountArray, fitter: Fitter
) -> Logit | None:
    """Fit a logit; None where its likelihood has no maximum, or coefficients cannot be told apart.

    Args:
        covariates: Shape (conditions, k), the constant included.
        complied: Compliances of each condition.
        points: Points of each condition.
        fitter: What maximises the likelihood.
    """
    there = points > 0
    x, y, n = covariates[there], complied[there], points[there]
    if len(x) < x.shape[1] or np.linalg.matrix_rank(x) < x.shape[1] or separated(x, y, n):
        return None
    coefficients = fitter(x, y, n)
    fitted = _probability(covariates @ coefficients)
    weights = points * fitted * (1 - fitted)
    information = (covariates.T * weights) @ covariates
    inverse = np.linalg.inv(information).astype(np.float64)
    return Logit(covariates, points, coefficients, fitted, inverse)


def newton(covariates: Floats, complied: CountArray, points: CountArray) -> Floats:
    """Maximise the likelihood with numpy alone: Newton's steps, halved where they overshoot.

    Raises:
        IntegrityError: It did not converge.
    """
    beta = np.zeros(covariates.shape[1])
    best = _log_likelihood(beta, covariates, complied, points)
    for _ in range(_MOST_STEPS):
        fitted = _probability(covariates @ beta)
        score = covariates.T @ (complied - points * fitted)
        information = (covariates.T * (points * fitted * (1 - fitted))) @ covariates
        step = np.linalg.solve(information, score)
        if float(score @ step) < _CONVERGED * max(1.0, abs(best)) * 1e-6:
            return beta + step
        size = 1.0
        while (
            found := _log_likelihood(beta + size * step, covariates, complied, points)
        ) < best - abs(best) * 1e-14:
            size /= 2
            if size < _CONVERGED:
                raise IntegrityError(_DIVERGED)
        beta, best = beta + size * step, found
    raise IntegrityError(_DIVERGED)


def statsmodels_fit(covariates: Floats, complied: CountArray, points: CountArray) -> Floats:
    """Maximise the likelihood with statsmodels (extra ``findings``).

    Raises:
        ModuleNotFoundError: statsmodels is not installed.
    """
    from statsmodels.genmod.families import Binomial  # noqa: PLC0415  # slow, and only to fit
    from statsmodels.genmod.generalized_linear_model import GLM  # noqa: PLC0415

    # One row an outcome and condition, weighted: a saturated fit to shares would be taken for a
    # separated one, and warned of.
    rows = np.vstack([covariates, covariates])
    outcomes = np.repeat([1.0, 0.0], len(points))
    weights = np.concatenate([complied, points - complied]).astype(np.float64)
    there = weights > 0
    model = GLM(outcomes[there], rows[there], family=Binomial(), freq_weights=weights[there])
    with catch_warnings():
        # What it may warn of is excluded before (separation), or comes out in the comparison
        # with our own fit.
        simplefilter("ignore")
        result = model.fit(maxiter=_MOST_STEPS, tol=1e-10, tol_criterion="params")
    coefficients: Floats = np.asarray(result.params, dtype=np.float64)
    return coefficients


def separated(covariates: Floats, complied: CountArray, points: CountArray) -> bool:
    """Say whether some direction of the covariates parts compliances from refusals.

    Then the likelihood rises for ever along it and has no maximum (Albert and Anderson,
    Biometrika 71, 1984).  Such a direction is flat over conditions with both outcomes, and the
    rest of them, turned so that it must not descend, lie on one side of it.  The directions form
    a cone, pointed as covariates have full rank: if there are any, one lies on k − 1 of its faces.

    Args:
        covariates: A constant and at most two others, shape (conditions, k), of full rank.
        complied: Compliances of each condition.
        points: Points of each condition, above 0.
    """
    sign = np.where(complied == points, 1.0, np.where(complied == 0, -1.0, 0.0))
    scale = covariates / np.maximum(np.abs(covariates).max(axis=0), _NOTHING)
    mixed = scale[sign == 0]
    if len(mixed) == 0:
        extreme = np.vstack([_hull(scale[sign > 0]), -_hull(scale[sign < 0])])
        flat = np.eye(covariates.shape[1])
    else:
        # All directions of the covariates, and no more of those of the conditions than there are.
        few = len(mixed) < mixed.shape[1]
        _, sizes, vectors = np.linalg.svd(mixed, full_matrices=few)
        flat = vectors[int((sizes > _NOTHING).sum()) :].T
        extreme = sign[sign != 0, None] * scale[sign != 0]
    turned = np.unique((extreme @ flat).round(12), axis=0)
    return bool(flat.shape[1]) and _has_halfspace(turned)


def _has_halfspace(rows: Floats) -> bool:
    """Say whether some direction descends along no row and rises along one.

    Args:
        rows: Shape (n, k), k from 1 to 3.
    """
    width = rows.shape[1]
    if width == 1:
        normals = np.ones((1, 1))
    elif width == 2:
        normals = np.column_stack([-rows[:, 1], rows[:, 0]])
    else:
        first, second = np.triu_indices(len(rows), 1)
        normals = np.cross(rows[first], rows[second])
    lengths = np.linalg.norm(normals, axis=1)
    normals = normals[lengths > _NOTHING] / lengths[lengths > _NOTHING, None]
    along = rows @ normals.T
    rises = (along > -_NOTHING).all(axis=0) & (along > _NOTHING).any(axis=0)
    falls = (along < _NOTHING).all(axis=0) & (along < -_NOTHING).any(axis=0)
    return bool((rises | falls).any())


def _hull(rows: Floats) -> Floats:
    """Return the rows that span the convex hull of all: the others follow from them.

    Andrew's monotone chain (Inf. Process. Lett. 9, 1979), over the last two columns; the first is
    constant.
    """
    rows = np.unique(rows, axis=0)
    if rows.shape[1] < 3 or len(rows) < 4:
        return rows
    chain: list[Floats] = []
    for ordered in (rows, rows[::-1]):
        part: list[Floats] = []
        for row in ordered:
            while len(part) > 1 and _turn(part[-2], part[-1], row) <= 0:
                part.pop()
            part.append(row)
        chain += part
    return np.unique(np.array(chain), axis=0)


def _turn(one: Floats, two: Floats, three: Floats) -> float:
    ahead, aside = two - one, three - one
    return float(ahead[1] * aside[2] - ahead[2] * aside[1])


def _probability(logits: Floats) -> Floats:
    result: Floats = 1 / (1 + np.exp(-np.clip(logits, -700, 700)))
    return result


def _log_likelihood(beta: Floats, x: Floats, complied: CountArray, points: CountArray) -> float:
    logits = x @ beta
    # Not complied · logits − points · log(1 + e^logits): near 1 that is a difference of large
    # numbers, and steps are judged by its last digits.
    lost = complied * np.logaddexp(0, -logits) + (points - complied) * np.logaddexp(0, logits)
    return -float(lost.sum())
