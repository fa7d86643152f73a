"""Logits: against statsmodels, and where no maximum exists."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from safety_receipts.receipts.findings.fits.clusters import PointClusters
from safety_receipts.receipts.findings.fits.logit import (
    fit_logit,
    newton,
    separated,
    statsmodels_fit,
)

HARMFUL = np.repeat([8, 16, 32], 4)
BENIGN = np.tile([0, 4, 16, 64], 3)
DESIGN = np.column_stack([np.ones(12), np.log(HARMFUL + 1), np.log(BENIGN + 1)])

Complied = st.lists(st.integers(0, 20), min_size=12, max_size=12)


def _points(queries: int, draws: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    logits = DESIGN @ [-1.0, 0.3, -0.2]
    own = rng.normal(size=(1, queries, 1))
    return rng.random((12, queries, draws)) < 1 / (1 + np.exp(-(logits[:, None, None] + own)))


def test_a_saturated_fit_is_the_log_odds() -> None:
    covariates = np.array([[1.0, 0.0], [1.0, 1.0]])
    found = newton(covariates, np.array([3, 8]), np.array([10, 10]))
    assert found == pytest.approx([np.log(3 / 7), np.log(8 / 2) - np.log(3 / 7)])


@given(Complied)
@settings(max_examples=50)
def test_the_score_vanishes_at_the_fit(complied: list[int]) -> None:
    y, n = np.array(complied), np.full(12, 20)
    fit = fit_logit(DESIGN, y, n, newton)
    assume(fit is not None)
    assert fit is not None
    assert np.abs(DESIGN.T @ (y - n * fit.fitted)).max() < 1e-6


@given(Complied)
@settings(max_examples=25, deadline=None)
def test_two_maximisers_agree(complied: list[int]) -> None:
    pytest.importorskip("statsmodels")
    y, n = np.array(complied), np.full(12, 20)
    assume(not separated(DESIGN, y, n))
    assert newton(DESIGN, y, n) == pytest.approx(statsmodels_fit(DESIGN, y, n), abs=1e-7)


def test_the_sandwich_is_that_of_statsmodels() -> None:
    api = pytest.importorskip("statsmodels.api")
    complied = _points(40, 2, seed=5)
    used = np.random.default_rng(6).random(complied.shape) < 0.9
    fit = fit_logit(DESIGN, (complied & used).sum((1, 2)), used.sum((1, 2)), newton)
    assert fit is not None
    lists = np.arange(80).reshape(40, 2)
    ours = PointClusters(lists, used.sum(axis=0)).covariance(fit.influence(complied, used))
    place, query, _ = np.nonzero(used)
    theirs = api.GLM(
        complied[used].astype(float), DESIGN[place], family=api.families.Binomial()
    ).fit(cov_type="cluster", cov_kwds={"groups": query, "use_correction": False})
    assert fit.coefficients == pytest.approx(theirs.params, abs=1e-7)
    # use_correction would add (n − 1)/(n − k) to the G/(G − 1) that is ours.
    assert ours == pytest.approx(np.asarray(theirs.cov_params()) * 40 / 39, rel=1e-6)


def test_conditions_without_points_are_left_out() -> None:
    y, n = np.array([3, 8, 0]), np.array([10, 10, 0])
    covariates = np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0]])
    fit = fit_logit(covariates, y, n, newton)
    assert fit is not None
    assert fit.coefficients == pytest.approx(newton(covariates[:2], y[:2], n[:2]))


@pytest.mark.parametrize(
    "complied",
    [
        [0] * 12,
        [20] * 12,
        [0, 20, 20, 20] * 3,
        [0, 0, 0, 5] * 3,
        [0, 0, 0, 0] * 2 + [20, 20, 20, 20],
        [0, 7, 20, 20, *([0, 9, 20, 20] * 2)],
    ],
)
def test_separated_points_have_no_fit(complied: list[int]) -> None:
    assert separated(DESIGN, np.array(complied), np.full(12, 20))
    assert fit_logit(DESIGN, np.array(complied), np.full(12, 20), newton) is None


def test_coefficients_that_cannot_be_told_apart_are_not_fitted() -> None:
    covariates = np.array([[1.0, 2.0], [1.0, 2.0]])
    assert fit_logit(covariates, np.array([3, 4]), np.array([9, 9]), newton) is None


@given(st.lists(st.sampled_from([0, 3, 20]), min_size=12, max_size=12))
@settings(max_examples=200, deadline=None)
def test_separation_is_what_a_linear_programme_finds(complied: list[int]) -> None:
    """Some direction parts the outcomes exactly if Σ of what it gains can be made positive."""
    optimize = pytest.importorskip("scipy.optimize")
    y, n = np.array(complied), np.full(12, 20)
    sides = np.vstack([DESIGN[y > 0], -DESIGN[y < n]])
    programme = optimize.linprog(
        -sides.sum(axis=0), A_ub=-sides, b_ub=np.zeros(len(sides)), bounds=[(-1, 1)] * 3
    )
    assert separated(DESIGN, y, n) == (-programme.fun > 1e-7)
