"""Many logits with the same covariates, fitted at once."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from safety_receipts.receipts.findings.fits.clusters import Floats

_MOST_STEPS: Final = 60
_MOST_HALVINGS: Final = 30
_CONVERGED: Final = 1e-10
_PLAIN_STEPS: Final = 20
_CLOSE: Final = 1e-7
"""A score is off by the square of the last step, and a sign is all that is asked of it."""
_ROUGH: Final = 1e-6
_NOTHING: Final = 1e-9
_LONGEST: Final = 2.0
"""Longest step of a coefficient where steps are not halved."""
_FAR: Final = 25.0
"""A logit this far from 0 stands for a rate of 0 or 1: e⁻²⁵ is nothing beside any count."""


def fit_many(x: Floats, complied: Floats, planned: Floats, start: Floats | None = None) -> Floats:
    """Return the coefficients of many logits: Newton's steps, halved where they overshoot.

    Where a likelihood has no maximum, its coefficients are those at which rates are within e⁻²⁵ of
    where they run to; a slope that runs away is large then, and one that does not is at its limit.

    Args:
        x: Covariates, shape (conditions, k), of full rank.
        complied: Compliances, shape (fits, conditions), from 0 to the planned points.
        planned: Points of each condition, shape (conditions,) or that of the compliances, above 0.
        start: Coefficients to begin at, shape (k,) or (fits, k); None: zeros.

    Returns:
        Shape (fits, k).
    """
    planned = np.broadcast_to(planned, complied.shape)
    beta = np.zeros((len(complied), x.shape[1]))
    if start is not None:
        beta += start
    squares = (x[:, :, None] * x[:, None, :]).reshape(len(x), -1)
    best = _log_likelihood(beta, x, complied, planned)
    open_ = np.arange(len(complied))
    for _ in range(_MOST_STEPS):
        logits = beta[open_] @ x.T
        near = np.abs(logits).max(axis=1) < _FAR
        open_, logits = open_[near], logits[near]
        if not len(open_):
            break
        fitted = 1 / (1 + np.exp(-logits))
        expected = planned[open_] * fitted
        information = (expected * (1 - fitted)) @ squares
        score = (complied[open_] - expected) @ x
        width = x.shape[1]
        step = np.linalg.solve(information.reshape(-1, width, width), score[:, :, None])[:, :, 0]
        last = np.abs(step).max(axis=1) < _CONVERGED
        tried = beta[open_] + step
        found = _log_likelihood(tried, x, complied[open_], planned[open_])
        for _ in range(_MOST_HALVINGS):
            worse = ~last & (found < best[open_] - np.abs(best[open_]) * 1e-13)
            if not worse.any():
                break
            step[worse] /= 2
            tried[worse] = beta[open_[worse]] + step[worse]
            still = open_[worse]
            found[worse] = _log_likelihood(tried[worse], x, complied[still], planned[still])
        beta[open_], best[open_] = tried, found
        open_ = open_[~last]
    return beta


def slope_scores(
    x: Floats,
    complied: Floats,
    planned: Floats,
    slope: float | Floats,
    start: Floats | None = None,
) -> Floats:
    """Return the derivative of many likelihoods by the slope, where it has some value.

    The other coefficients are those that fit best beside it.  A likelihood is concave: its slope
    lies above that value where this is positive, and below where it is negative, even if it has no
    maximum.

    Args:
        x: Covariates, the slope's last, shape (conditions, 2 or 3).
        complied: Compliances, shape (fits, conditions).
        planned: Points of each condition, shape (conditions,) or that of the compliances, above 0.
        slope: The value, or one of each fit.
        start: The other coefficients to begin at, shape (k − 1,) or (fits, k − 1); None: those of
            one rate.

    Returns:
        Shape (fits,), with that sign; 0 where all points comply, or none does.
    """
    others, last = x[:, :-1], x[:, -1]
    width = others.shape[1]
    squares = (others[:, :, None] * others[:, None, :]).reshape(len(x), -1)
    beta = np.zeros((len(complied), width))
    planned = np.broadcast_to(planned, complied.shape)
    offset = np.multiply.outer(slope, last)
    if start is None:
        middle = planned @ last / planned.sum(axis=1)
        beta[:, 0] = _logit_of_mean(complied, planned) - slope * middle
    else:
        beta += start
    rest: Floats = np.zeros_like(complied)
    step: NDArray[np.floating[Any]] = np.zeros_like(beta)
    for _ in range(_PLAIN_STEPS):
        logits = np.clip(beta @ others.T + offset, -_FAR, _FAR)
        fitted = 1 / (1 + np.exp(-logits))
        expected = planned * fitted
        rest = complied - expected
        information = ((expected * (1 - fitted)) @ squares).reshape(-1, width, width)
        step = np.linalg.solve(information, (rest @ others)[:, :, None])[:, :, 0]
        if np.abs(step).max() < _CLOSE:
            break
        beta += step.clip(-_LONGEST, _LONGEST)
    scores: Floats = rest @ last
    if (lost := np.abs(step).max(axis=1) > _ROUGH).any():  # steps that went to and fro
        limits = np.broadcast_to(slope, len(scores))[lost]
        scores[lost] = fit_many(x, complied[lost], planned[lost])[:, -1] - limits
    total = complied.sum(axis=1)
    scores[(total < _NOTHING) | (total > planned.sum(axis=1) - _NOTHING)] = 0.0
    return scores


def _logit_of_mean(complied: Floats, planned: Floats) -> Floats:
    share = complied.sum(axis=1) / planned.sum(axis=1)
    near: Floats = np.clip(share, 1e-9, 1 - 1e-9)
    return np.log(near / (1 - near))


def influences(x: Floats, coefficients: Floats, planned: Floats) -> Floats:
    """Return the derivatives of a logit's last coefficient by the compliances.

    Args:
        x: Covariates, shape (conditions, k).
        coefficients: Of one fit, shape (k,).
        planned: Points of each condition, shape (conditions,).

    Returns:
        Shape (conditions,): the last row of information⁻¹ · covariatesᵀ.
    """
    fitted = 1 / (1 + np.exp(-np.clip(x @ coefficients, -_FAR, _FAR)))
    information = (x.T * (planned * fitted * (1 - fitted))) @ x
    last = np.zeros(x.shape[1])
    last[-1] = 1.0
    product: Floats = x @ np.linalg.solve(information, last)
    return product


def _log_likelihood(beta: Floats, x: Floats, complied: Floats, planned: Floats) -> Floats:
    logits = beta @ x.T
    lost = planned * np.log1p(np.exp(-np.abs(logits)))
    lost += np.where(logits > 0, planned - complied, complied) * np.abs(logits)
    total: Floats = -lost.sum(axis=1)
    return total
