"""No compliances within a box give a slope beyond its extremes: no corner, no point inside."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safety_receipts.receipts.findings.breakdown.boxes import CountBox
from safety_receipts.receipts.findings.breakdown.extremes import (
    UNBOUNDED,
    SlopeStatistic,
    SlopeTerm,
    parted_by_lines,
)
from safety_receipts.receipts.findings.breakdown.many_fits import fit_many, influences
from safety_receipts.receipts.findings.fits.clusters import Floats
from safety_receipts.receipts.findings.fits.covariates import joint_covariates
from safety_receipts.receipts.findings.fits.logit import newton

NEAR = 1e-7
HELD = 12.0
"""Logits within this are held by points of both kinds: the likelihood has a maximum."""


def study(seed: int, most: int) -> tuple[Floats, CountBox, np.random.Generator]:
    """Return covariates of a fit that exists, and counts."""
    rng = np.random.default_rng(seed)
    while True:
        number = int(rng.integers(4, most + 1))
        harmful = rng.choice([0, 1, 2, 4, 8, 16], number).astype(float)
        benign = rng.choice([0, 1, 4, 16, 64], number).astype(float)
        covariates = joint_covariates(harmful, benign)
        if len(set(benign)) > 1 and np.linalg.matrix_rank(covariates) == covariates.shape[1]:
            break
    planned = rng.integers(30, 300, number).astype(float)
    rates = 1 / (1 + np.exp(-covariates @ rng.normal(0, 0.5, covariates.shape[1])))
    complied = rng.binomial(planned.astype(int), rates).astype(float)
    unjudged = np.minimum(planned - complied, rng.integers(0, 5, number))
    return covariates, CountBox(complied, unjudged, planned), rng


def held(statistic: SlopeStatistic, terms: list[SlopeTerm], box: CountBox, tried: Floats) -> bool:
    """Say whether all fits have a maximum: beyond, a slope is whatever it is on its way to."""
    for term in terms:
        found = fit_many(term.covariates, tried[:, term.places], box.planned[term.places])
        if np.abs(found @ term.covariates.T).max() > HELD:
            return False
    return bool(np.abs(statistic.values(tried)).max() < UNBOUNDED)


def corners(box: CountBox, share: float) -> Floats:
    least, most = box.bounds(share)
    ways = np.array(list(product((False, True), repeat=len(least))))
    return np.where(ways, most, least)


def inside(box: CountBox, share: float, rng: np.random.Generator, number: int) -> Floats:
    """Return compliances within a box, some of them near its corners."""
    least, most = box.bounds(share)
    shape = (number, len(least))
    where = rng.random(shape) ** rng.choice([0.05, 1.0, 20.0], shape)
    return least + (most - least) * where


SHARES = st.sampled_from([0.0, 0.02, 0.05, 0.1, 0.2])


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**32 - 1), share=SHARES)
def test_the_extremes_of_a_slope_are_those_of_all_corners(seed: int, share: float) -> None:
    covariates, box, rng = study(seed, 12)
    terms = [SlopeTerm(covariates, np.arange(len(covariates)))]
    _compare(terms, box, share, rng)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), share=SHARES)
def test_the_extremes_of_a_difference_are_those_of_all_corners(seed: int, share: float) -> None:
    covariates, box, rng = study(seed, 11)
    half, shared = len(covariates) // 2 + 1, int(rng.integers(1, 3))
    first = np.arange(half)
    second = np.concatenate([np.arange(shared), np.arange(half, len(covariates))])
    terms = []
    for places, weight in ((first, 1.0), (second, -1.0)):
        part = covariates[places][:, [0, -1]]
        if len(set(part[:, 1])) < 2:
            return
        terms.append(SlopeTerm(part, places, weight))
    _compare(terms, box, share, rng)


def _compare(terms: list[SlopeTerm], box: CountBox, share: float, rng: np.random.Generator) -> None:
    statistic = SlopeStatistic(terms, box)
    every, some = corners(box, share), inside(box, share, rng, 100)
    if not held(statistic, terms, box, every):
        return
    values = statistic.values(every)
    for sign in (1, -1):
        found, at = statistic.extreme(share, sign)
        most = float((sign * values).max())
        assert sign * found >= most - NEAR
        assert (sign * statistic.values(some) <= sign * found + NEAR).all()
        least, largest = box.bounds(share)
        assert ((least - NEAR <= at) & (at <= largest + NEAR)).all()
        assert statistic.values(at[None])[0] == pytest.approx(found, abs=NEAR)
        if sign * found > most + NEAR:  # beyond all corners: somewhere between two
            assert not np.isclose(at, least).all() | np.isclose(at, largest).all()


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), share=SHARES)
def test_nothing_escapes_the_extremes_of_forty_conditions(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    harmful, benign = (
        side.ravel().astype(float)
        for side in np.meshgrid([0, 1, 2, 4, 8], [0, 1, 2, 4, 8, 16, 32, 64])
    )
    covariates = joint_covariates(harmful, benign)
    rates = 1 / (1 + np.exp(-covariates @ rng.normal([-1, 0.3, 0], 0.3)))
    planned = np.full(40, 300.0)
    complied = rng.binomial(300, rates).astype(float)
    box = CountBox(complied, np.minimum(planned - complied, 3.0), planned)
    terms = [SlopeTerm(covariates, np.arange(40))]
    statistic = SlopeStatistic(terms, box)
    least, most = box.bounds(share)
    tried = np.concatenate(
        [inside(box, share, rng, 300), np.where(rng.random((300, 40)) < 0.5, least, most)]
    )
    values = statistic.values(tried)
    assert (values <= statistic.extreme(share, 1)[0] + NEAR).all()
    assert (values >= statistic.extreme(share, -1)[0] - NEAR).all()


def test_a_line_parts_four_corners_of_a_square_in_fourteen_ways() -> None:
    square = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    ways = {tuple(way) for way in parted_by_lines(square).tolist()}
    crossed = {(True, False, False, True), (False, True, True, False)}
    assert ways == set(product((False, True), repeat=4)) - crossed


def test_equal_points_and_points_on_a_line_are_parted_by_order() -> None:
    points = np.array([[0.0], [2.0], [2.0], [1.0]])
    ways = {tuple(way) for way in parted_by_lines(points).tolist()}
    up = {(False, True, True, False), (False, True, True, True)}
    down = {tuple(not each for each in way) for way in up}
    assert ways == up | down | {(False,) * 4, (True,) * 4}


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32 - 1))
def test_many_fits_are_those_of_one_after_the_other(seed: int) -> None:
    covariates, box, rng = study(seed, 10)
    tried = np.floor(inside(box, 0.1, rng, 8)).clip(1, box.planned - 1)
    found = fit_many(covariates, tried, box.planned)
    for complied, coefficients in zip(tried, found, strict=True):
        one = newton(covariates, complied.astype(np.int64), box.planned.astype(np.int64))
        assert coefficients == pytest.approx(one, abs=1e-8)


def test_an_influence_is_what_one_compliance_more_does() -> None:
    covariates, box, _ = study(7, 10)
    middle = (box.complied + 1).clip(1, box.planned - 1)
    coefficients = fit_many(covariates, middle[None], box.planned)[0]
    expected = influences(covariates, coefficients, box.planned)
    step = 1e-4
    moved = middle + step * np.eye(len(middle))
    change = fit_many(covariates, moved, box.planned)[:, -1] - coefficients[-1]
    assert change / step == pytest.approx(expected, rel=1e-3, abs=1e-9)
