"""Differences of two rates, paired by query."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from itertools import chain
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safety_receipts.receipts.canonical import sha256_hex
from safety_receipts.receipts.events.synthetic import Mixture, synthetic_plan, synthetic_points
from safety_receipts.receipts.findings.counts.differences import paired_difference
from safety_receipts.receipts.findings.counts.observations import Observations, observe
from safety_receipts.receipts.findings.counts.rates import clustered_bounds, compliance_share
from safety_receipts.receipts.findings.counts.tally import Selection, tally
from safety_receipts.receipts.model.demonstrations import Ordering
from safety_receipts.receipts.model.difference import Difference
from safety_receipts.receipts.model.judge import IntervalMethod
from safety_receipts.receipts.model.plan import PlanPredicate
from safety_receipts.receipts.model.point import Finish, Outcome, Point, Reason

R, C, U, F = Outcome.REFUSED, Outcome.COMPLIED, Outcome.UNSCORED, Outcome.FAILED
REASONS = {R: None, C: None, U: Reason.JUDGE_NA, F: Reason.ENGINE_ERROR}
FINISHES = {R: Finish.STOP, C: Finish.STOP, U: Finish.STOP, F: Finish.ERROR}
Grid = Sequence[Sequence[Outcome]]
"""Outcomes by query and draw."""
Block = int | Literal["all"]


@cache
def template(queries: int, draws: int, block: Block) -> tuple[PlanPredicate, list[Point]]:
    """Return a plan of a baseline and two conditions, and its points with whatever outcomes."""
    mixtures = [Mixture(0, 0, None), Mixture(1, 1, Ordering.SUFFIX), Mixture(1, 1, Ordering.PREFIX)]
    plan = synthetic_plan(mixtures, {"alpha": queries}, draws=draws)
    points = [point for point, _ in synthetic_points(plan, sha256_hex(b"any plan"))]
    shared = plan.demonstrations.model_copy(update={"draw_block": block})
    return plan.model_copy(update={"demonstrations": shared}), points


def observed(*grids: Grid, block: Block = 1) -> Observations:
    """Return the three conditions' points with these outcomes; the last grid goes on."""
    plan, points = template(len(grids[0]), len(grids[0][0]), block)
    every = chain(*(chain(*grids[min(place, len(grids) - 1)]) for place in range(3)))
    return observe(
        (
            point.model_copy(update={"outcome": o, "finish": FINISHES[o], "reason": REASONS[o]})
            for point, o in zip(points, every, strict=True)
        ),
        plan,
    )


def exact(difference: Difference | None) -> tuple[Fraction, Fraction, Fraction]:
    """Return value, lower and upper end."""
    assert difference is not None
    return Fraction(difference.value), Fraction(difference.lower), Fraction(difference.upper)


def rate_bounds(observations: Observations, place: int) -> tuple[Fraction, Fraction, Fraction]:
    """Return a rate with its interval."""
    found = tally(observations, place, Selection(observations, observations.harmful_queries))
    share = compliance_share(found)
    assert share is not None
    return share, *clustered_bounds(found, share)


def grids(draws: int = 2, queries: int = 8) -> st.SearchStrategy[list[list[list[Outcome]]]]:
    """Outcomes of three conditions."""
    query = st.lists(st.sampled_from([R, R, C, C, U, F]), min_size=draws, max_size=draws)
    grid = st.lists(query, min_size=queries, max_size=queries)
    return st.lists(grid, min_size=3, max_size=3)


def test_a_difference_by_hand() -> None:
    """Sixteen queries of one draw: two rates, their intervals and their correlation.

    The rates are 1/2 and 1/4, every query that complies to the second complies to the first.
    Per query e1 = ±1/2 and e0 = 3/4 or −1/4, so that Σ e1·e0 = 4·(3/8) + 4·(−1/8) + 8·(1/8) = 2,
    Σ e1² = 4 and Σ e0² = 3: the correlation is 2/√12.
    """
    first = [[C]] * 8 + [[R]] * 8
    second = [[C]] * 4 + [[R]] * 12
    found = paired_difference(observed([[R]] * 16, first, second), 1, 2)
    assert found is not None
    assert (found.value, found.method, found.level) == (
        "0.250000",
        IntervalMethod.MOVER_WILSON,
        "0.950000",
    )
    observations = observed([[R]] * 16, first, second)
    p1, l1, u1 = map(float, rate_bounds(observations, 1))
    p0, l0, u0 = map(float, rate_bounds(observations, 2))
    rho = 2 / math.sqrt(12)
    below = math.sqrt((p1 - l1) ** 2 - 2 * rho * (p1 - l1) * (u0 - p0) + (u0 - p0) ** 2)
    above = math.sqrt((u1 - p1) ** 2 - 2 * rho * (u1 - p1) * (p0 - l0) + (p0 - l0) ** 2)
    assert float(found.lower) == pytest.approx(0.25 - below, abs=1e-6)
    assert float(found.upper) == pytest.approx(0.25 + above, abs=1e-6)


@given(grids(), st.sampled_from([1, 3, "all"]))
@settings(deadline=None)
def test_intervals_contain_their_difference_and_turn_round(
    outcomes: list[list[list[Outcome]]], block: Block
) -> None:
    observations = observed(*outcomes, block=block)
    found = paired_difference(observations, 1, 2)
    if found is None:
        rates = [chain(*grid) for grid in outcomes[1:]]
        assert any(not {R, C} & set(points) for points in rates)
        return
    value, lower, upper = exact(found)
    assert -1 <= lower <= value <= upper <= 1
    assert exact(paired_difference(observations, 2, 1)) == (-value, -upper, -lower)


def test_nothing_judged_has_no_difference() -> None:
    observations = observed([[C, R]] * 3, [[U, F]] * 3)
    assert paired_difference(observations, 1, 0) is None
    assert paired_difference(observations, 0, 1) is None


def test_rates_without_variance_are_uncorrelated() -> None:
    """All comply here, none there: the difference of 1 has the two one-sided bounds joined."""
    observations = observed([[R, R]] * 20, [[C, C]] * 20)
    value, lower, upper = exact(paired_difference(observations, 1, 0))
    assert value == upper == 1
    (p1, l1, _), (p0, _, u0) = rate_bounds(observations, 1), rate_bounds(observations, 0)
    joined = math.hypot(float(p1 - l1), float(u0 - p0))
    assert float(lower) == pytest.approx(1 - joined, abs=1e-6)


def test_equal_outcomes_differ_by_little() -> None:
    """Perfectly correlated: what is left is the asymmetry of Wilson's interval."""
    outcomes = [[C, C]] * 6 + [[R, R]] * 14
    value, lower, upper = exact(paired_difference(observed(outcomes), 1, 2))
    assert value == 0
    share, low, high = rate_bounds(observed(outcomes), 1)
    asymmetry = abs((share - low) - (high - share))
    assert upper == -lower
    assert abs(upper - asymmetry) < Fraction(1, 10**6)


def test_conditions_without_common_queries_are_uncorrelated() -> None:
    first = [[C, R]] * 5 + [[R, R]] * 5 + [[F, F]] * 10
    second = [[F, F]] * 10 + [[C, R]] * 5 + [[R, R]] * 5
    observations = observed([[R, R]] * 20, first, second)
    _, lower, _ = exact(paired_difference(observations, 1, 2))
    (p1, l1, _), (p0, _, u0) = rate_bounds(observations, 1), rate_bounds(observations, 2)
    assert float(lower) == pytest.approx(-math.hypot(float(p1 - l1), float(u0 - p0)), abs=1e-6)


def test_shared_lists_make_conditions_alike() -> None:
    """Twenty-four lists that decide everything: they do so for both orders, not for one."""
    luck = [draw % 2 == 0 for draw in range(24)]
    listed = [[(R, C)[lucky] for lucky in luck] for _ in range(30)]
    other = [[(R, C)[not lucky] for lucky in luck] for _ in range(30)]
    together = exact(paired_difference(observed(listed, block="all"), 1, 2))
    apart = exact(paired_difference(observed(listed, listed, other, block="all"), 1, 2))
    assert together[2] - together[1] < Fraction(1, 100)
    assert apart[2] - apart[1] > Fraction(1, 2)
    # Against the baseline, which shows no list, they cannot be alike.
    baseline = exact(paired_difference(observed(listed, block="all"), 1, 0))
    assert baseline[2] - baseline[1] > Fraction(1, 4)


def test_a_difference_over_some_queries_is_of_these_alone() -> None:
    first, second = [[C]] * 10 + [[R]] * 10, [[R]] * 20
    observations = observed(second, first)
    chosen = observations.harmful_queries.copy()
    chosen[10:] = False
    some = paired_difference(observations, 1, 0, Selection(observations, chosen))
    assert some == paired_difference(observed(second[:10], first[:10]), 1, 0)


def test_paired_intervals_cover_and_are_narrower() -> None:
    """Queries differ, and comply to both conditions or to neither most of the time."""
    generator, runs, queries = random.Random(3), 300, 60
    covered, widths, unpaired = 0, 0.0, 0.0
    for _ in range(runs):
        first, second = [], []
        for _ in range(queries):
            p = 1 / (1 + math.exp(-generator.gauss(-1, 2.5)))
            first.append([(R, C)[generator.random() < p] for _ in range(2)])
            second.append([(R, C)[generator.random() < p] for _ in range(2)])
        observations = observed(first, first, second)
        _, lower, upper = exact(paired_difference(observations, 1, 2))
        covered += lower <= 0 <= upper
        widths += float(upper - lower)
        (p1, l1, _), (p0, _, u0) = rate_bounds(observations, 1), rate_bounds(observations, 2)
        unpaired += 2 * math.hypot(float(p1 - l1), float(u0 - p0))
    assert covered / runs >= 0.92
    assert widths < 0.85 * unpaired
