"""What is foreseen of slopes is what a search finds, and what all corners of a box give."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from observing import Asked, Cell, logistic, observed, plan_of, study_of

from safety_receipts.receipts.findings.breakdown.boxes import CountBox
from safety_receipts.receipts.findings.breakdown.extremes import SlopeStatistic, SlopeTerm
from safety_receipts.receipts.findings.breakdown.foreseen import (
    SlopeLimit,
    SlopeQuestion,
    foresee,
)
from safety_receipts.receipts.findings.breakdown.points import counts_of_points
from safety_receipts.receipts.findings.breakdown.sealed_grid import SealedGrid
from safety_receipts.receipts.findings.breakdown.shares import largest_share, slope_shares
from safety_receipts.receipts.findings.fits.clusters import Floats
from safety_receipts.receipts.findings.fits.covariates import joint_covariates
from safety_receipts.receipts.model.demonstrations import ExperimentKind

UNITS = 1000
TOLD = 0.05
Terms = list[SlopeTerm]


def grid(harmful: list[int], benign: list[int]) -> Floats:
    sides = np.meshgrid(harmful, benign, indexing="ij")
    return joint_covariates(*(side.ravel().astype(float) for side in sides))


def alone() -> Terms:
    covariates = grid([8, 32], [0, 4, 16, 64])
    return [SlopeTerm(covariates, np.arange(8))]


def difference() -> Terms:
    """Two sources, whose fits share the condition without benign demonstrations."""
    covariates = grid([16], [0, 4, 16, 64])
    places = np.arange(4), np.array([0, 4, 5, 6])
    return [SlopeTerm(covariates, places[0]), SlopeTerm(covariates, places[1], -1.0)]


def boxed(terms: Terms, coin: np.random.Generator) -> CountBox:
    """Return counts of a paper-size study, of which few points were not judged."""
    number = 1 + max(int(term.places.max()) for term in terms)
    planned = np.full(number, 2808.0)
    complied = coin.binomial(2808, coin.uniform(0.1, 0.7, number)).astype(float)
    return CountBox(complied, coin.integers(0, 9, number).astype(float), planned)


def searched(statistic: SlopeStatistic, limits: tuple[SlopeLimit, ...]) -> str | None:
    return largest_share(
        lambda share: all(statistic.stays(share, *limit) for limit in limits),
    )


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), made=st.sampled_from([alone, difference]))
def test_what_is_foreseen_is_what_a_search_finds(seed: int, made: object) -> None:
    assert callable(made)
    coin = np.random.default_rng(seed)
    terms = made()
    boxes = [boxed(terms, coin) for _ in range(3)]
    questions = []
    for box in boxes:
        statistic = SlopeStatistic(terms, box)
        at = float(statistic.values(box.complied[None])[0])
        limits: tuple[SlopeLimit, ...] = ((1, at + 0.1), (-1, at - 0.15))
        questions.append(SlopeQuestion(statistic, limits[: int(coin.integers(1, 3))]))
    shares = slope_shares(questions, [TOLD])
    ways = np.array(list(product((False, True), repeat=len(boxes[0].planned))))
    for question, box, share in zip(questions, boxes, shares, strict=True):
        fresh = SlopeStatistic(terms, box)
        assert share == searched(fresh, question.limits)
        least, most = box.bounds(TOLD)
        values = fresh.values(np.where(ways, most, least))
        for sign in (1, -1):
            found, where = question.statistic.extreme(TOLD, sign)
            assert found == pytest.approx(fresh.extreme(TOLD, sign)[0], abs=1e-8)
            assert sign * found >= (sign * values).max() - 1e-8
            assert fresh.values(where[None])[0] == pytest.approx(found, abs=1e-9)
            assert ((least - 1e-9 <= where) & (where <= most + 1e-9)).all()


def test_nearly_all_shares_of_a_paper_size_study_are_foreseen() -> None:
    coin = np.random.default_rng(5)
    questions = []
    for made in (alone, difference):
        terms = made()
        for _ in range(40):
            box = boxed(terms, coin)
            statistic = SlopeStatistic(terms, box)
            at = float(statistic.values(box.complied[None])[0])
            questions.append(SlopeQuestion(statistic, ((1, at + 0.1),)))
    guesses = foresee(questions, UNITS)
    assert sum(guess is not None for guess in guesses) > 0.9 * len(guesses)


def test_a_slope_beyond_its_limit_is_foreseen_to_stay_at_no_share() -> None:
    terms = alone()
    box = boxed(terms, np.random.default_rng(2))
    statistic = SlopeStatistic(terms, box)
    at = float(statistic.values(box.complied[None])[0])
    question = SlopeQuestion(statistic, ((1, at - 0.1),))
    assert foresee([question], UNITS) == [-1]
    assert slope_shares([question]) == [None]


def test_counts_that_hold_no_slope_are_left_to_the_search() -> None:
    terms = alone()
    box = boxed(terms, np.random.default_rng(3))
    covered = [
        replace(box, complied=np.zeros(8), unjudged=np.zeros(8)),
        replace(box, complied=np.where(terms[0].covariates[:, -1] > 0, box.planned, 0.0)),
    ]
    questions = [SlopeQuestion(SlopeStatistic(terms, one), ((1, 6.0),)) for one in covered]
    assert foresee(questions, UNITS) == [None, None]
    for question, one in zip(questions, covered, strict=True):
        fresh = SlopeStatistic(terms, one)
        assert slope_shares([question]) == [searched(fresh, question.limits)]


def test_a_wrong_guess_changes_no_share() -> None:
    def holds(share: float) -> bool:
        return share < 0.0567

    for guess in (-1, 0, 12, 55, 57, 400, 999):
        assert largest_share(holds, guess=guess) == "0.056"
    assert largest_share(lambda share: False, guess=56) is None


def test_slopes_of_opposite_signs_stand_until_one_sign_is_lost() -> None:
    def complies(where: Asked) -> np.ndarray:
        sign = {8: 0.4, 16: 0.1, 32: -0.3}.get(where.condition.n_harmful, 0.0)
        return logistic(-0.5 + sign * np.log(where.condition.n_benign + 1))

    cells = [Cell(harmful, benign) for harmful in (8, 16, 32) for benign in (0, 4, 16)]
    plan = plan_of([(ExperimentKind.FIXED_HARMFUL, cells)], queries=300)
    study = study_of(observed(plan, complies))
    sealed = SealedGrid(plan, plan.conditions, counts_of_points(study))
    levels = [
        [one.id for one in plan.conditions if one.n_harmful == harmful] for harmful in (8, 16, 32)
    ]
    statistics = [sealed.statistic([(ids, 1.0)])[0] for ids in levels]

    def opposite(share: float) -> bool:
        return all(any(one.stays(share, sign, 0.0) for one in statistics) for sign in (1, -1))

    found = sealed.opposite_share(levels)
    assert found == largest_share(opposite)
    assert found is not None
    assert sealed.opposite_share(levels[:2]) is None
