"""The two tests of an audit: their known answers, their risks, and what they need."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from itertools import combinations
from math import ceil, comb, sqrt
from statistics import fmean

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from safety_receipts.receipts.model.audit import Direction
from safety_receipts.receipts.model.receipt import Counts
from safety_receipts.verify.audit.statistics.feasibility import expected_draws
from safety_receipts.verify.audit.statistics.risk_limit import (
    DEFAULT_FLIP_RATE,
    Bet,
    ConfirmingTest,
    RefutingTest,
    hidden_needed,
    recorded_outcomes,
    recorded_rate,
)

ALPHA = Fraction(1, 20)
PAPER = (2246, 141)
"""N0 and k of a condition of 2,808 points, 562 of them complied, at ε = .05."""
TIGHT = Fraction(1, 2**150)
"""More than all of a test's roundings."""

RATES = st.fractions(0, 1, max_denominator=400)
SHARES = st.fractions(0, 1, max_denominator=60)


def counts(complied: int, refused: int, unscored: int = 0, failed: int = 0) -> Counts:
    """Return closed counts."""
    generated = complied + refused + unscored
    return Counts(
        planned=generated + failed,
        generated=generated,
        failed=failed,
        refused=refused,
        complied=complied,
        unscored=unscored,
        length_stopped=0,
    )


SOME_COUNTS = st.builds(counts, *[st.integers(0, 60)] * 4)


def worst_case(
    counts: Counts, rate: Fraction, epsilon: Fraction, direction: Direction, hidden: int
) -> bool:
    """Say whether a rate is off by ε or more if ``hidden`` recorded outcomes are false."""
    if direction is Direction.NOT_UNDERSTATED:
        return counts.planned - counts.refused + hidden >= (rate + epsilon) * counts.planned
    return counts.complied - hidden <= (rate - epsilon) * counts.planned


def swapped(one: Counts) -> Counts:
    """Return the counts with complied and refused exchanged."""
    return counts(one.refused, one.complied, one.unscored, one.failed)


def full(_mean: Fraction, _draws: int, _contradictions: int) -> Fraction:
    """Stake everything, which no honest flip survives."""
    return Fraction(1)


def fixed(epsilon: Fraction) -> Bet:
    """Stake 1 − .005 / ε."""
    return lambda mean, draws, contradictions: 1 - DEFAULT_FLIP_RATE / epsilon


def confirm(test: ConfirmingTest, outcomes: Iterable[bool], alpha: Fraction = ALPHA) -> bool:
    """Add outcomes until the claim is confirmed or nothing can confirm it; say which."""
    for contradicted in outcomes:
        if test.confirmed(alpha) or test.hopeless:
            break
        test.add(contradicted)
    return test.confirmed(alpha)


def flips(rate: float, coin: random.Random, number: int) -> Iterator[bool]:
    """Yield which of so many honest points look contradicted."""
    return (coin.random() < rate for _ in range(number))


def shuffled(size: int, ones: int, coin: random.Random) -> list[bool]:
    """Return ``size`` outcomes in random order, of which ``ones`` are true."""
    outcomes = [number < ones for number in range(size)]
    coin.shuffle(outcomes)
    return outcomes


def orders(size: int, ones: int) -> Iterator[list[bool]]:
    """Yield every order of ``size`` outcomes of which ``ones`` are true; all equally likely."""
    for places in combinations(range(size), ones):
        yield [number in places for number in range(size)]


def final_p_values(
    make: Callable[[], ConfirmingTest | RefutingTest], size: int, ones: int
) -> list[Fraction]:
    """Return the smallest p-value of each order, ascending; p-values never rise."""
    found = []
    for outcomes in orders(size, ones):
        test = make()
        for outcome in outcomes:
            test.add(outcome)
        found.append(test.p_value)
    return sorted(found)


def valid(p_values: list[Fraction]) -> bool:
    """Say whether P(p ≤ t) ≤ t at every level t, exactly, for equally likely p-values."""
    return all(
        Fraction(number, len(p_values)) <= p_value
        for number, p_value in enumerate(p_values, start=1)
    )


# What is claimed


def test_a_paper_sized_condition_needs_141_hidden_of_2246() -> None:
    condition = counts(complied=562, refused=2246)
    rate = recorded_rate(condition)
    assert rate == Fraction(562, 2808)
    understated, epsilon = Direction.NOT_UNDERSTATED, Fraction("0.05")
    assert recorded_outcomes(condition, understated) == 2246
    assert hidden_needed(condition, rate, epsilon, understated) == 141
    overstated = Direction.NOT_OVERSTATED
    assert recorded_outcomes(condition, overstated) == 562
    assert hidden_needed(condition, rate, epsilon, overstated) == 141


@given(SOME_COUNTS, RATES, RATES, st.sampled_from(Direction))
def test_a_rate_is_off_by_epsilon_exactly_from_k_hidden_outcomes_on(
    condition: Counts, rate: Fraction, epsilon: Fraction, direction: Direction
) -> None:
    k = hidden_needed(condition, rate, epsilon, direction)
    for hidden in range(-2, recorded_outcomes(condition, direction) + 3):
        assert worst_case(condition, rate, epsilon, direction, hidden) == (hidden >= k)


@given(SOME_COUNTS, RATES, RATES)
def test_the_two_directions_mirror_each_other(
    condition: Counts, rate: Fraction, epsilon: Fraction
) -> None:
    other = swapped(condition)
    under, over = Direction.NOT_UNDERSTATED, Direction.NOT_OVERSTATED
    assert recorded_outcomes(condition, under) == recorded_outcomes(other, over)
    assert hidden_needed(condition, rate, epsilon, under) == hidden_needed(
        other, 1 - rate, epsilon, over
    )
    own, mirrored = recorded_rate(condition), recorded_rate(other)
    assert (own is None and mirrored is None) or (own is not None and mirrored == 1 - own)


def test_missing_points_alone_can_put_a_rate_off() -> None:
    """90 refused, 10 failed: the worst case is 10 %, recorded is 0."""
    condition = counts(complied=0, refused=90, failed=10)
    for epsilon, k in (("0.05", -5), ("0.1", 0), ("0.11", 1)):
        assert (
            hidden_needed(condition, Fraction(0), Fraction(epsilon), Direction.NOT_UNDERSTATED) == k
        )


def test_the_rate_is_exact_not_the_rounded_decimal() -> None:
    assert recorded_rate(counts(complied=1, refused=2)) == Fraction(1, 3)
    assert recorded_rate(counts(complied=0, refused=0, failed=4)) is None


@pytest.mark.parametrize(("rate", "epsilon"), [("-0.1", "0.05"), ("1.1", "0.05"), ("0.5", "-1")])
def test_rates_outside_0_to_1_are_refused(rate: str, epsilon: str) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        hidden_needed(counts(3, 4), Fraction(rate), Fraction(epsilon), Direction.NOT_OVERSTATED)


# Confirming: known answers


@pytest.mark.parametrize(
    ("epsilon", "everything", "constant", "adaptive"),
    [("0.05", 59, 65, 63), ("0.02", 148, 196, 172), ("0.01", 294, 578, 369)],
)
def test_draws_that_confirm_10000_refusals_without_a_flip_are_known(
    epsilon: str, everything: int, constant: int, adaptive: int
) -> None:
    k = ceil(Fraction(epsilon) * 10_000)
    for bet, draws in ((full, everything), (fixed(Fraction(epsilon)), constant), (None, adaptive)):
        test = ConfirmingTest(10_000, k, bet=bet)
        assert confirm(test, [False] * 1000)
        assert test.draws == draws
    chances = [Fraction(comb(10_000 - k, n), comb(10_000, n)) for n in (everything - 1, everything)]
    assert chances[0] > ALPHA >= chances[1], "staking everything is the hypergeometric bound"


@given(st.integers(1, 40), st.data())
def test_staking_everything_is_the_hypergeometric_tail(size: int, data: st.DataObject) -> None:
    hidden = data.draw(st.integers(1, size))
    drawn = data.draw(st.integers(0, size))
    test = ConfirmingTest(size, hidden, bet=full)
    for _ in range(drawn):
        test.add(contradicted=False)
    tail = Fraction(comb(size - hidden, drawn), comb(size, drawn))
    assert tail <= test.p_value <= tail * (1 + TIGHT)


@pytest.mark.parametrize(
    ("flip_rate", "draws", "deviation"),
    [(0, 49, 0), (0.002, 53, 18), (0.005, 65, 32), (0.02, 162, 132)],
)
def test_mean_draws_of_a_paper_sized_condition_are_known(
    flip_rate: float, draws: int, deviation: int
) -> None:
    """300 audits of an honest record; draws of a single one deviate by ``deviation``.

    The known means are of 300 audits too, so their difference has √2 times the standard error
    of either; three of these are tolerated.
    """
    coin, made = random.Random(2024), []
    for _ in range(300):
        test = ConfirmingTest(*PAPER)
        assert confirm(test, flips(flip_rate, coin, PAPER[0]))
        made.append(test.draws)
    assert abs(fmean(made) - draws) <= 3 * sqrt(2) * deviation / sqrt(300)


@given(
    st.integers(1, 60),
    st.data(),
    st.fractions(Fraction(1, 1000), 1, max_denominator=1000),
)
def test_the_p_value_is_the_product_of_the_bets_rounded_up(
    size: int, data: st.DataObject, flip_rate: Fraction
) -> None:
    k = data.draw(st.integers(1, size))
    outcomes = data.draw(st.lists(st.booleans(), max_size=size))
    test = ConfirmingTest(size, k, flip_rate)
    evidence, largest, matches = Fraction(1), Fraction(1), 0
    for j, contradicted in enumerate(outcomes, start=1):
        mu = Fraction(size - k - matches, size - j + 1)
        if 0 < mu < 1:
            estimate = (j - 1 - matches + Fraction(1, 2)) / (j - 1 + 1 / (2 * flip_rate))
            c = min(Fraction(99, 100), max(Fraction(0), 1 - estimate / (1 - mu)))
            evidence *= 1 + c / mu * ((not contradicted) - mu)
        largest = max(largest, evidence)
        matches += not contradicted
        test.add(contradicted)
        if matches > size - k:
            assert test.p_value == 0
        else:
            assert 1 / largest <= test.p_value <= (1 + TIGHT) / largest


def test_evidence_beyond_the_range_of_floats_is_not_lost() -> None:
    """200 flips take it to about 10^-400; matches bring it back."""
    test = ConfirmingTest(3000, 2500, bet=lambda mean, draws, wrong: Fraction(99, 100))
    for _ in range(200):
        test.add(contradicted=True)
    assert test.p_value == 1
    assert confirm(test, [False] * 499)
    assert test.p_value > 0


# Confirming: its risk


@pytest.mark.parametrize("flip_rate", ["0.005", "0.1", "1", "0"])
def test_in_every_tiny_population_false_confirmation_keeps_to_its_level(flip_rate: str) -> None:
    """All orders of all hidden outcomes, at every level at once, in exact rationals."""
    smallest = Fraction(1)
    for size in range(1, 8):
        for k in range(1, size + 1):
            for hidden in range(k, size + 1):
                p_values = final_p_values(
                    lambda size=size, k=k: ConfirmingTest(size, k, Fraction(flip_rate)),
                    size,
                    hidden,
                )
                assert valid(p_values)
                smallest = min(smallest, *p_values)
    assert smallest < Fraction(1, 3) or flip_rate == "1"


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 7), st.data(), st.lists(SHARES, min_size=64, max_size=64))
def test_no_rule_of_betting_or_stopping_breaks_the_level(
    size: int, data: st.DataObject, shares: list[Fraction]
) -> None:
    """Smallest p-values are those of whoever stops at the best moment."""
    k = data.draw(st.integers(1, size))
    hidden = data.draw(st.integers(k, size))

    def bet(_mean: Fraction, draws: int, contradictions: int) -> Fraction:
        return shares[8 * draws + contradictions]

    assert valid(final_p_values(lambda: ConfirmingTest(size, k, bet=bet), size, hidden))


@pytest.mark.parametrize(("size", "k"), [(60, 3), (40, 6)])
def test_at_the_boundary_at_most_alpha_is_confirmed(size: int, k: int) -> None:
    coin, repeats = random.Random(7), 600
    wrong = sum(confirm(ConfirmingTest(size, k), shuffled(size, k, coin)) for _ in range(repeats))
    assert 0 < wrong <= repeats * ALPHA + 3 * sqrt(repeats * ALPHA * (1 - ALPHA))


@given(st.integers(0, 30), st.integers(-3, 33), st.data())
def test_draws_are_confirmed_in_the_end_exactly_if_fewer_than_k_are_hidden(
    size: int, k: int, data: st.DataObject
) -> None:
    outcomes = data.draw(st.lists(st.booleans(), min_size=size, max_size=size))
    test = ConfirmingTest(size, k)
    before = Fraction(1)
    for outcome in outcomes:
        test.add(outcome)
        assert test.p_value <= before
        before = test.p_value
    if sum(outcomes) < k:
        assert test.p_value == 0
        assert test.confirmed(Fraction(1, 10**9))
    else:
        assert test.p_value > 0
        assert test.hopeless
    assert (test.draws, test.contradictions) == (size, sum(outcomes))


def test_nothing_is_confirmed_where_the_record_is_off_already() -> None:
    for k in (0, -5):
        test = ConfirmingTest(50, k)
        assert test.hopeless
        for _ in range(50):
            test.add(contradicted=False)
        assert test.p_value == 1
        assert not test.confirmed(ALPHA)


def test_more_hidden_than_recorded_outcomes_is_impossible_without_a_draw() -> None:
    for size in (0, 50):
        test = ConfirmingTest(size, size + 1)
        assert test.p_value == 0
        assert test.confirmed(ALPHA)
        assert not test.draws


def test_no_more_is_drawn_than_was_recorded() -> None:
    for test in (ConfirmingTest(3, 2), RefutingTest(3, 2), ConfirmingTest(3, 9)):
        for _ in range(3):
            test.add(False)
        with pytest.raises(ValueError, match="all 3 recorded outcomes were drawn"):
            test.add(False)
        assert test.draws == 3


@pytest.mark.parametrize("level", [0, 1, 5, Fraction(-1, 20)])
def test_levels_outside_0_to_1_are_refused(level: Fraction | float) -> None:
    with pytest.raises(ValueError, match="level"):
        ConfirmingTest(3, 2).confirmed(level)
    with pytest.raises(ValueError, match="level"):
        RefutingTest(3, 2).refuted(level)


def test_populations_bets_and_flip_rates_out_of_range_are_refused() -> None:
    for make in (ConfirmingTest, RefutingTest):
        with pytest.raises(ValueError, match="negative"):
            make(-1, 2)
    for rate in (-0.1, 1.5, Fraction(2)):
        with pytest.raises(ValueError, match="flip rate"):
            ConfirmingTest(3, 2, rate)
    for share in (Fraction(-1, 2), Fraction(3, 2)):
        test = ConfirmingTest(9, 2, bet=lambda mean, draws, wrong, share=share: share)
        with pytest.raises(ValueError, match="a bet of"):
            test.add(contradicted=False)


def test_a_flip_rate_given_as_a_float_is_the_decimal_it_is_written_as() -> None:
    tests = [ConfirmingTest(90, 9, rate) for rate in (0.005, Fraction(1, 200), DEFAULT_FLIP_RATE)]
    for test in tests:
        test.add(contradicted=False)
    assert len({test.p_value for test in tests}) == 1


# Refuting


def test_in_every_tiny_population_false_refutation_keeps_to_its_level() -> None:
    smallest = Fraction(1)
    for size in range(1, 9):
        for k in range(1, size + 1):
            for hidden in range(k):
                p_values = final_p_values(
                    lambda size=size, k=k: RefutingTest(size, k), size, hidden
                )
                assert valid(p_values)
                smallest = min(smallest, *p_values)
    assert smallest < Fraction(1, 3)


@pytest.mark.parametrize(("size", "k"), [(60, 12), (40, 4)])
def test_a_record_just_within_epsilon_is_refuted_at_most_at_the_level(size: int, k: int) -> None:
    coin, repeats, level, wrong = random.Random(11), 600, Fraction(1, 100), 0
    for _ in range(repeats):
        test = RefutingTest(size, k)
        for hard in shuffled(size, k - 1, coin):
            test.add(hard)
        wrong += test.refuted(level)
    assert wrong <= repeats * level + 3 * sqrt(repeats * level * (1 - level))


@given(st.integers(1, 30), st.data())
def test_a_record_is_refuted_in_the_end_exactly_if_k_are_hard_contradictions(
    size: int, data: st.DataObject
) -> None:
    k = data.draw(st.integers(1, size))
    outcomes = data.draw(st.lists(st.booleans(), min_size=size, max_size=size))
    test = RefutingTest(size, k)
    for hard in outcomes:
        test.add(hard)
    assert (test.p_value == 0) == (sum(outcomes) >= k)
    assert (test.draws, test.contradictions) == (size, sum(outcomes))


@pytest.mark.parametrize("k", [51, 80, 0, -4])
def test_what_cannot_be_or_already_is_off_is_not_refuted(k: int) -> None:
    """Above N0 so many cannot be hidden; at most 0 the record itself says so."""
    test = RefutingTest(50, k)
    for _ in range(50):
        test.add(hard=True)
    assert test.p_value == 1
    assert not test.refuted(Fraction(99, 100))


def test_honest_noise_without_hard_contradictions_refutes_nothing() -> None:
    test = RefutingTest(*PAPER)
    for _ in range(PAPER[0]):
        test.add(hard=False)
    assert not test.refuted(ALPHA)


def test_about_150_draws_expose_fifteen_percent_hidden_among_31_rates() -> None:
    """15 % of the recorded refusals, all of them hard contradictions, at level .01 / 31."""
    coin, made = random.Random(5), []
    for _ in range(100):
        test = RefutingTest(*PAPER)
        for hard in shuffled(PAPER[0], round(0.15 * PAPER[0]), coin):
            test.add(hard)
            if test.refuted(Fraction(1, 3100)):
                break
        assert test.refuted(Fraction(1, 3100))
        made.append(test.draws)
    assert 130 <= sorted(made)[50] <= 190


# What an audit would take


@example(300, 299, "0")
@given(st.integers(0, 300), st.integers(-3, 303), st.sampled_from(["0", "0.005", "0.05", "1"]))
@settings(max_examples=25, deadline=None)
def test_the_least_that_confirms_is_what_the_test_itself_needs(
    size: int, k: int, rate: str
) -> None:
    test = ConfirmingTest(size, k, Fraction(rate))
    confirmed = confirm(test, [False] * size)
    told = expected_draws(size, k, alpha=ALPHA, expected_flip_rate=Fraction(rate))
    assert told.least == (test.draws if confirmed else None)


def test_what_paper_sized_conditions_take_is_told() -> None:
    told = expected_draws(*PAPER, alpha=0.05)
    assert (told.least, told.median, told.confirmed) == (49, 49, 1.0)
    assert 64 - 7 <= told.mean <= 64 + 7, "64.0 in 20,000 audits; 32 / √200 is one deviation"
    assert told.feasible
    noisy = expected_draws(*PAPER, alpha=0.05, expected_flip_rate=0.02)
    assert noisy.feasible
    assert noisy.least is not None
    assert noisy.median is not None
    assert told.least < noisy.least < noisy.median < noisy.mean
    assert told == expected_draws(*PAPER, alpha=ALPHA), "the same claim is told the same"


def test_a_budget_or_too_many_flips_make_a_rate_infeasible() -> None:
    assert not expected_draws(*PAPER, alpha=ALPHA, budget=48).feasible
    assert expected_draws(*PAPER, alpha=ALPHA, budget=49).feasible
    assert expected_draws(*PAPER, alpha=ALPHA, budget=10**6).budget == PAPER[0]
    more_flips_than_k = expected_draws(*PAPER, alpha=ALPHA, expected_flip_rate=0.1)
    assert more_flips_than_k.least is not None
    assert not more_flips_than_k.feasible
    assert more_flips_than_k.confirmed < 0.5


def test_what_needs_no_draw_and_what_no_draw_can_confirm_is_told() -> None:
    trivial = expected_draws(20, 21, alpha=ALPHA)
    assert (trivial.least, trivial.median, trivial.mean, trivial.feasible) == (0, 0, 0.0, True)
    hopeless = expected_draws(20, 0, alpha=ALPHA)
    assert (hopeless.least, hopeless.median, hopeless.feasible) == (None, None, False)


def test_a_forecast_with_numbers_out_of_range_is_refused() -> None:
    for size, k, words in (
        (-1, 2, {}),
        (9, 2, {"budget": -1}),
        (9, 2, {"expected_flip_rate": 2.0}),
    ):
        with pytest.raises(ValueError, match=r"negative|flip rate"):
            expected_draws(size, k, alpha=ALPHA, **words)
    with pytest.raises(ValueError, match="level"):
        expected_draws(9, 2, alpha=1.0)
