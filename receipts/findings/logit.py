"""Logits fitted to conditions: coefficients, and the influence of every point on them.

Covariates belong to conditions, so that a fit sees only the points and compliances of each; a
fit to a million points costs as much as one to a thousand.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

Fitter = Callable[[Floats, Counts, Counts], Floats]
"""Takes covariates (conditions × k), compliances and points; returns k coefficients.

It is called only where the maximum of the likelihood exists."""

_MOST_STEPS: Final = 100
_CONVERGED: Final = 1e-12
_NOTHING: Final = 1e-9


@dataclass(frozen=True, eq=False)
class Logit:
    """A fitted logit."""

    covariates: Floats
    """Shape (conditions, k)."""
    points: Counts
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


def fit_logit(covariates: Floats, complied: Counts, points: Counts, fitter: Fitter) -> Logit | None:
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


def newton(covariates: Floats, complied: Counts, points: Counts) -> Floats:
    """Maximise the likelihood with numpy alone: Newton's steps, halved where they overshoot.

    Raises:
        ArithmeticError: It did not converge.
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
                raise ArithmeticError("a logit did not converge")
        beta, best = beta + size * step, found
    raise ArithmeticError("a logit did not converge")


def statsmodels_fit(covariates: Floats, complied: Counts, points: Counts) -> Floats:
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
    result = model.fit(maxiter=_MOST_STEPS, tol=_CONVERGED)
    coefficients: Floats = np.asarray(result.params, dtype=np.float64)
    return coefficients


def separated(covariates: Floats, complied: Counts, points: Counts) -> bool:
    """Say whether some direction of the covariates parts compliances from refusals.

    Then the likelihood rises for ever along it and has no maximum (Albert and Anderson,
    Biometrika 71, 1984).  The directions that part them form a cone, which here, with full rank,
    is pointed: if there are any, one lies on k − 1 of its faces, and those are few enough to try.

    Args:
        covariates: Shape (conditions, k), of full rank.
        complied: Compliances of each condition.
        points: Points of each condition, above 0.
    """
    width = covariates.shape[1]
    sign = np.where(complied == points, 1, np.where(complied == 0, -1, 0))
    mixed = sign == 0
    scale = covariates / np.maximum(np.abs(covariates).max(axis=0), _NOTHING)
    if np.linalg.matrix_rank(scale[mixed]) == width:
        return False
    rows = np.unique(scale, axis=0)
    for chosen in combinations(range(len(rows)), width - 1):
        faces = rows[list(chosen)]
        *_, last = np.linalg.svd(np.vstack([faces, np.zeros((1, width))]))
        if width > 1 and np.linalg.matrix_rank(faces) < width - 1:
            continue
        for direction in (last[-1], -last[-1]):
            along = scale @ direction
            if (
                (np.abs(along[mixed]) < _NOTHING).all()
                and (along[~mixed] * sign[~mixed] > -_NOTHING).all()
                and (np.abs(along) > _NOTHING).any()
            ):
                return True
    return False


def _probability(logits: Floats) -> Floats:
    result: Floats = 1 / (1 + np.exp(-np.clip(logits, -700, 700)))
    return result


def _log_likelihood(beta: Floats, x: Floats, complied: Counts, points: Counts) -> float:
    logits = x @ beta
    return float((complied * logits - points * np.logaddexp(0, logits)).sum())
