"""Many logits with the same covariates, fitted at once."""

from __future__ import annotations

from typing import Final

import numpy as np

from safety_receipts.receipts.findings.fits.clusters import Floats

_MOST_STEPS: Final = 60
_MOST_HALVINGS: Final = 30
_CONVERGED: Final = 1e-10
_FAR: Final = 25.0
"""A logit this far from 0 stands for a rate of 0 or 1: e⁻²⁵ is nothing beside any count."""


def fit_many(x: Floats, complied: Floats, planned: Floats) -> Floats:
    """Return the coefficients of many logits: Newton's steps, halved where they overshoot.

    Where a likelihood has no maximum, its coefficients are those at which rates are within e⁻²⁵ of
    where they run to; a slope that runs away is large then, and one that does not is at its limit.

    Args:
        x: Covariates, shape (conditions, k), of full rank.
        complied: Compliances, shape (fits, conditions), from 0 to the planned points.
        planned: Points of each condition, shape (conditions,), above 0.

    Returns:
        Shape (fits, k).
    """
    beta = np.zeros((len(complied), x.shape[1]))
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
        information = (planned * fitted * (1 - fitted)) @ squares
        score = (complied[open_] - planned * fitted) @ x
        width = x.shape[1]
        step = np.linalg.solve(information.reshape(-1, width, width), score[:, :, None])[:, :, 0]
        last = np.abs(step).max(axis=1) < _CONVERGED
        tried = beta[open_] + step
        found = _log_likelihood(tried, x, complied[open_], planned)
        for _ in range(_MOST_HALVINGS):
            worse = ~last & (found < best[open_] - np.abs(best[open_]) * 1e-13)
            if not worse.any():
                break
            step[worse] /= 2
            tried[worse] = beta[open_[worse]] + step[worse]
            found[worse] = _log_likelihood(tried[worse], x, complied[open_[worse]], planned)
        beta[open_], best[open_] = tried, found
        open_ = open_[~last]
    return beta


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
    lost = complied * np.logaddexp(0, -logits) + (planned - complied) * np.logaddexp(0, logits)
    total: Floats = -lost.sum(axis=1)
    return total
