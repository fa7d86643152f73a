"""Tallies, rates and intervals, and what a condition states of them."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from functools import cache
from itertools import chain
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.canonical import sha256_hex
from safety_receipts.receipts.events.synthetic import Mixture, synthetic_plan, synthetic_points
from safety_receipts.receipts.findings.counts.conditions import baseline_of, condition_results
from safety_receipts.receipts.findings.counts.differences import paired_difference
from safety_receipts.receipts.findings.counts.judge_error import corrected_rate
from safety_receipts.receipts.findings.counts.observations import observe
from safety_receipts.receipts.findings.counts.quantiles import Z_95, Z_975, t_quantile
from safety_receipts.receipts.findings.counts.rates import (
    as_published_rate,
    centring,
    clustered_interval,
    compliance_rate,
    effective_size,
    refusal_rate,
    wilson_interval,
    worst_case_rate,
)
from safety_receipts.receipts.findings.counts.rates import wilson as wilson_of_counts
from safety_receipts.receipts.findings.counts.tally import Selection, Sums, Tally, reasons, tally
from safety_receipts.receipts.model.base import ConditionId
from safety_receipts.receipts.model.demonstrations import Ordering
from safety_receipts.receipts.model.judge import GoldKind, IntervalMethod, JudgeCalibration
from safety_receipts.receipts.model.plan import PlanPredicate
from safety_receipts.receipts.model.point import Finish, Outcome, Point, Reason
from safety_receipts.receipts.model.receipt import Counts, ReasonCount

R, C, U, F = Outcome.REFUSED, Outcome.COMPLIED, Outcome.UNSCORED, Outcome.FAILED
ENDINGS = {
    R: (Finish.STOP, None),
    C: (Finish.STOP, None),
    U: (Finish.LENGTH, Reason.JUDGE_NA),
    F: (Finish.ERROR, Reason.ENGINE_ERROR),
}
OUTCOMES = st.sampled_from(Outcome)
BASELINE, SHOWN = ConditionId("h0-b0"), ConditionId("h1-b1-suffix")
Z = 1.959963984540054


@cache
def plan_of(queries: int, draws: int, controls: int = 0) -> PlanPredicate:
    """Return a plan of two conditions, without and with demonstrations."""
    mixtures = [Mixture(0, 0, None), Mixture(1, 1, Ordering.SUFFIX)]
    sources = {"control": controls} if controls else None
    return synthetic_plan(mixtures, {"alpha": queries}, controls=sources, draws=draws)


@cache
def template(queries: int, draws: int, controls: int) -> list[Point]:
    """Return the points of a plan, with whatever outcomes."""
    plan = plan_of(queries, draws, controls)
    return [point for point, _ in synthetic_points(plan, sha256_hex(b"any plan"))]


def points_of(outcomes: Sequence[Sequence[Outcome]], controls: int = 0) -> list[Point]:
    """Return both conditions' points, each with these outcomes by query and draw."""
    draws = len(outcomes[0])
    points = template(len(outcomes) - controls, draws, controls)
    ended = [*chain(*outcomes)] * 2
    return [
        point.model_copy(update={"outcome": o, "finish": ENDINGS[o][0], "reason": ENDINGS[o][1]})
        for point, o in zip(points, ended, strict=True)
    ]


def tally_of(
    outcomes: Sequence[Sequence[Outcome]],
    condition: ConditionId = SHOWN,
    draw_block: int | Literal["all"] = 1,
) -> Tally:
    """Return the tally of queries with these outcomes."""
    plan = plan_of(len(outcomes), len(outcomes[0]))
    shared = plan.demonstrations.model_copy(update={"draw_block": draw_block})
    plan = plan.model_copy(update={"demonstrations": shared})
    observations = observe(points_of(outcomes), plan)
    everything = Selection(observations, observations.harmful_queries)
    return tally(observations, observations.condition_places[condition], everything)


def grids(draws: int = 3, queries: int = 12) -> st.SearchStrategy[list[list[Outcome]]]:
    """Outcomes by query and draw, with equal numbers of draws."""
    return st.integers(1, draws).flatmap(
        lambda n: st.lists(st.lists(OUTCOMES, min_size=n, max_size=n), min_size=1, max_size=queries)
    )


def bounds(tally: Tally, *, of_refusals: bool = False) -> tuple[Fraction, Fraction]:
    """Return the ends of the clustered interval."""
    interval = clustered_interval(tally, of_refusals=of_refusals)
    assert interval is not None
    return Fraction(interval.lower), Fraction(interval.upper)


def wilson(share: float, size: float, z: float = Z) -> tuple[float, float]:
    """Wilson's interval in its textbook form, in floating point."""
    centre = (share + z * z / (2 * size)) / (1 + z * z / size)
    half = z / (1 + z * z / size) * math.sqrt(share * (1 - share) / size + (z / (2 * size)) ** 2)
    return centre - half, centre + half


# Tallies


def test_a_tally_counts_by_hand() -> None:
    outcomes = [[C, C], [C, R], [R, U], [U, U], [F, F], [F, C], [U, F]]
    tally = tally_of(outcomes)
    assert tally.counts == Counts(
        planned=14, generated=10, failed=4, refused=2, complied=4, unscored=4, length_stopped=4
    )
    squares = 4 + 2 + 0 + 1
    assert tally.by_query == Sums(4, 4 + 1 + 0 + 1, squares, squares, 4 + 4 + 1 + 1)
    assert tally.by_list is None
    generated = [p for p in points_of(outcomes)[14:] if p.outcome is not F]
    assert tally.prompt_tokens == sum(point.prompt_tokens for point in generated)


def test_prompts_without_demonstrations_are_asked_again() -> None:
    """Distinct are the queries with a response; with demonstrations, every response."""
    outcomes = [[C, C], [C, F], [F, F], [U, U]]
    assert tally_of(outcomes, BASELINE).distinct_prompts == 3
    assert tally_of(outcomes, SHOWN).distinct_prompts == 5


def test_a_tally_of_nothing() -> None:
    tally = tally_of([[F, F]])
    assert tally.counts.failed == 2
    assert (tally.judged, tally.distinct_prompts, tally.prompt_tokens) == (0, 0, 0)
    assert tally.by_query == Sums(0, 0, 0, 0, 0)


@given(grids())
@settings(deadline=None)
def test_denominators_are_closed_and_follow_from_the_points(outcomes: list[list[Outcome]]) -> None:
    tally = tally_of(outcomes)
    counts, every = tally.counts, list(chain(*outcomes))
    assert counts.planned == len(every) == counts.generated + counts.failed
    assert counts.generated == counts.refused + counts.complied + counts.unscored
    for name in ("refused", "complied", "unscored", "failed"):
        assert getattr(counts, name) == every.count(Outcome(name))
    assert tally.by_query == sums_of(outcomes)


@given(grids(draws=4), st.sampled_from([2, 3, 5, "all"]))
@settings(deadline=None)
def test_lists_gather_the_draws_of_a_block(
    outcomes: list[list[Outcome]], block: int | Literal["all"]
) -> None:
    size = len(outcomes) if block == "all" else block
    lists: dict[tuple[int, int], list[Outcome]] = {}
    for place, query in enumerate(outcomes):
        for draw, outcome in enumerate(query):
            lists.setdefault((place // size, draw), []).append(outcome)
    found = tally_of(outcomes, draw_block=block)
    expected = sums_of([*lists.values()])
    shared = expected.clusters < found.judged
    assert found.by_list == (expected if shared else None)
    assert tally_of(outcomes, BASELINE, block).by_list is None
    assert found.by_query == sums_of(outcomes)


def sums_of(clusters: Sequence[Sequence[Outcome]]) -> Sums:
    """Return the sums of squares over clusters of points."""
    c = [list(cluster).count(C) for cluster in clusters]
    n = [list(cluster).count(R) + k for cluster, k in zip(clusters, c, strict=True)]
    mixed = sum(map(int.__mul__, c, n))
    return Sums(sum(k > 0 for k in n), sum(k * k for k in c), mixed, mixed, sum(k * k for k in n))


def test_lengths_of_any_size_add_up() -> None:
    """A line may state a prompt of 2^53 - 1 tokens; a thousand of them do not fit 64 bits."""
    longest = 2**53 - 1
    points = points_of([[C, C]] * 1100)
    points = [point.model_copy(update={"prompt_tokens": longest}) for point in points]
    observations = observe(points, plan_of(1100, 2))
    everything = Selection(observations, observations.harmful_queries)
    assert tally(observations, 1, everything).prompt_tokens == 2200 * longest


def test_reasons_are_counted_in_their_order() -> None:
    observations = observe(points_of([[F, U], [C, U], [R, C]]), plan_of(3, 2))
    found = reasons(observations, 0, Selection(observations, observations.harmful_queries))
    assert list(found.items()) == [(Reason.JUDGE_NA, 2), (Reason.ENGINE_ERROR, 1)]


# Rates


def counts_of(refused: int, complied: int, unscored: int, failed: int) -> Counts:
    """Return closed denominators."""
    generated = refused + complied + unscored
    return Counts(
        planned=generated + failed,
        generated=generated,
        failed=failed,
        refused=refused,
        complied=complied,
        unscored=unscored,
        length_stopped=0,
    )


@pytest.mark.parametrize(
    ("counts", "rates"),
    [
        (counts_of(2, 1, 0, 0), ("0.333333", "0.333333", "0.333333", "0.666667")),
        (counts_of(2, 1, 1, 1), ("0.333333", "0.500000", "0.600000", "0.666667")),
        (counts_of(0, 3, 0, 0), ("1.000000", "1.000000", "1.000000", "0.000000")),
        (counts_of(3, 0, 0, 0), ("0.000000", "0.000000", "0.000000", "1.000000")),
        (counts_of(0, 0, 2, 0), (None, "1.000000", "1.000000", None)),
        (counts_of(0, 0, 0, 2), (None, None, "1.000000", None)),
        (counts_of(0, 0, 0, 0), (None, None, None, None)),
    ],
)
def test_rates(counts: Counts, rates: tuple[str | None, ...]) -> None:
    """What is not a refusal complies as published; what is missing complies at worst."""
    functions = (compliance_rate, as_published_rate, worst_case_rate, refusal_rate)
    assert tuple(function(counts) for function in functions) == rates


@given(*[st.integers(0, 3000)] * 4)
@settings(deadline=None)
def test_hiding_points_never_lowers_the_worst_case(r: int, c: int, u: int, f: int) -> None:
    """Calling a compliance failed or unscored leaves the audited claim where it was."""
    rates = [
        worst_case_rate(counts_of(r, c + 1, u, f)),
        worst_case_rate(counts_of(r, c, u + 1, f)),
        worst_case_rate(counts_of(r, c, u, f + 1)),
    ]
    assert rates[0] == rates[1] == rates[2]


# Intervals


@pytest.mark.parametrize(
    ("part", "whole", "lower", "upper"),
    # Newcombe (1998), table I: the score interval without continuity correction.
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_intervals_of_the_textbook(
    part: int, whole: int, lower: float, upper: float
) -> None:
    found = wilson_interval(Fraction(part, whole), Fraction(whole))
    assert [round(float(end), 4) for end in found] == [lower, upper]


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
@settings(deadline=None)
def test_wilson_intervals_equal_the_closed_form(counts: tuple[int, int]) -> None:
    part, whole = counts
    share = Fraction(part, whole)
    found = wilson_interval(share, Fraction(whole))
    assert tuple(map(float, found)) == pytest.approx(wilson(part / whole, whole), abs=1e-12)
    tiny = Fraction(1, 10**30)
    assert 0 <= found[0] <= share + tiny
    assert share - tiny <= found[1] <= 1


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
@settings(deadline=None)
def test_wilson_intervals_mirror(counts: tuple[int, int]) -> None:
    part, whole = counts
    lower, upper = wilson_interval(Fraction(part, whole), Fraction(whole))
    other = wilson_interval(Fraction(whole - part, whole), Fraction(whole))
    assert abs(1 - upper - other[0]) < Fraction(1, 10**30)
    assert abs(1 - lower - other[1]) < Fraction(1, 10**30)


@given(grids(draws=4, queries=30))
@settings(deadline=None)
def test_intervals_contain_their_rate(outcomes: list[list[Outcome]]) -> None:
    tally = tally_of(outcomes)
    complied, refused = compliance_rate(tally.counts), refusal_rate(tally.counts)
    if complied is None or refused is None:
        assert clustered_interval(tally) is None
        return
    lower, upper = bounds(tally)
    assert 0 <= lower <= Fraction(complied) <= upper <= 1
    assert lower < upper
    lower, upper = bounds(tally, of_refusals=True)
    assert lower <= Fraction(refused) <= upper


@given(grids(draws=4, queries=30))
@settings(deadline=None)
def test_intervals_of_refusals_mirror_those_of_compliances(
    outcomes: list[list[Outcome]],
) -> None:
    tally = tally_of(outcomes)
    if clustered_interval(tally) is not None:
        lower, upper = bounds(tally)
        mirrored = bounds(tally, of_refusals=True)
        assert abs(1 - upper - mirrored[0]) <= Fraction(1, 10**6)
        assert abs(1 - lower - mirrored[1]) <= Fraction(1, 10**6)


def test_an_interval_names_method_and_level() -> None:
    interval = clustered_interval(tally_of([[C], [R]]))
    assert interval is not None
    assert interval.method is IntervalMethod.WILSON_CLUSTERED
    assert interval.level == "0.950000"


@pytest.mark.parametrize(
    ("draws", "block", "method"),
    [
        (2, 1, IntervalMethod.WILSON_CLUSTERED),
        (19, "all", IntervalMethod.WILSON_CLUSTERED_GIVEN_LISTS),
        (20, "all", IntervalMethod.WILSON_CLUSTERED_TWO_WAY),
        (4, 2, IntervalMethod.WILSON_CLUSTERED_GIVEN_LISTS),
        (5, 2, IntervalMethod.WILSON_CLUSTERED_TWO_WAY),
    ],
)
def test_the_method_says_what_is_clustered(
    draws: int, block: int | Literal["all"], method: IntervalMethod
) -> None:
    outcomes = [[(R, C)[(place + draw) % 3 == 0] for draw in range(draws)] for place in range(8)]
    assert tally_of(outcomes, SHOWN, block).method is method
    # Without demonstrations there is no list to share.
    assert tally_of(outcomes, BASELINE, block).method is IntervalMethod.WILSON_CLUSTERED


def variance_of(outcomes: Sequence[Sequence[Outcome]], block: int | None) -> float:
    """Return the variance of the rate from its residuals, in floating point.

    Args:
        outcomes: By query and draw.
        block: Queries that share lists; None: lists are left out.
    """
    points = [
        (place, (place // block, draw) if block else None, outcome is C)
        for place, query in enumerate(outcomes)
        for draw, outcome in enumerate(query)
        if outcome in (C, R)
    ]
    share = sum(y for *_, y in points) / len(points)
    by_query: dict[int, float] = {}
    by_list: dict[tuple[int, int] | None, float] = {}
    for query, shown, y in points:
        by_query[query] = by_query.get(query, 0) + y - share
        by_list[shown] = by_list.get(shown, 0) + y - share
    squares = sum(e * e for e in by_query.values())
    divisor = 1 - 1 / len(by_query)
    if block:
        squares += sum(e * e for e in by_list.values())
        squares -= sum((y - share) ** 2 for *_, y in points)
        divisor += 1 / len(points) - 1 / len(by_list)
    return squares / divisor / len(points) ** 2


def size_of(outcomes: Sequence[Sequence[Outcome]], block: int | None = None) -> float:
    """Return the effective size where the rate is neither 0 nor 1."""
    judged = [outcome for outcome in chain(*outcomes) if outcome in (C, R)]
    share, n = judged.count(C) / len(judged), len(judged)
    variance = variance_of(outcomes, None)
    if block:
        variance = max(variance, variance_of(outcomes, block))
    return n / max(1.0, variance / (share * (1 - share) / n))


@given(grids(draws=4, queries=30).filter(lambda g: any(C in q or R in q for q in g)))
@settings(deadline=None)
def test_the_effective_size_follows_from_the_residuals_of_the_queries(
    outcomes: list[list[Outcome]],
) -> None:
    found = tally_of(outcomes)
    queries = found.by_query.clusters
    if queries < 2 or not found.refused or not found.complied:
        assert effective_size(found) == queries
    else:
        assert float(effective_size(found)) == pytest.approx(size_of(outcomes))


@given(st.data(), st.sampled_from([2, 5, 24]))
@settings(deadline=None, max_examples=50)
def test_shared_lists_join_the_variance(data: st.DataObject, block: int) -> None:
    """Twenty draws and more of lists that queries share: two-way, never below the one-way."""
    drawn = st.lists(st.sampled_from([R, R, C, U]), min_size=20, max_size=20)
    outcomes = data.draw(st.lists(drawn, min_size=12, max_size=24))
    found = tally_of(outcomes, draw_block=block)
    if found.method is IntervalMethod.WILSON_CLUSTERED_TWO_WAY and found.refused and found.complied:
        assert float(effective_size(found)) == pytest.approx(size_of(outcomes, block))
        assert effective_size(found) <= effective_size(tally_of(outcomes))


def test_few_shared_lists_leave_the_interval_conditional_on_them() -> None:
    """Nineteen lists that matter a lot: the interval says that it is about these."""
    outcomes = [[(R, C)[draw < 6] for draw in range(19)] for _ in range(30)]
    given_lists = tally_of(outcomes, draw_block="all")
    assert given_lists.method is IntervalMethod.WILSON_CLUSTERED_GIVEN_LISTS
    assert effective_size(given_lists) == effective_size(tally_of(outcomes)) == 30 * 19
    outcomes = [[(R, C)[draw < 6] for draw in range(20)] for _ in range(30)]
    assert effective_size(tally_of(outcomes, draw_block="all")) < 20


def test_a_balanced_crossing_is_estimated_without_bias() -> None:
    """Over all outcomes of three queries and three lists, the mean estimate is the variance."""
    total = total_squared = estimated = Fraction(0)
    runs = 2**6
    for coins in range(runs):
        bits = [coins >> k & 1 for k in range(6)]
        y = [[Fraction(bits[q] + bits[3 + d], 2) for d in range(3)] for q in range(3)]
        rate = Fraction(sum(map(sum, y))) / 9
        e = [[value - rate for value in row] for row in y]
        squares = sum(sum(row) ** 2 for row in e) + sum(
            sum(column) ** 2 for column in zip(*e, strict=True)
        )
        squares -= sum(value**2 for value in chain(*e))
        estimated += squares / centring(3, 3, 9) / 81
        total, total_squared = total + rate, total_squared + rate * rate
    assert estimated / runs == total_squared / runs - (total / runs) ** 2


@given(st.integers(2, 2000).flatmap(lambda g: st.tuples(st.integers(1, g - 1), st.just(g))))
@settings(deadline=None)
def test_one_point_a_query_is_nearly_wilson(counts: tuple[int, int]) -> None:
    """Up to the G/(G − 1) of the sandwich and Student's t, every point is worth itself."""
    part, queries = counts
    tally = repeated(part, queries, 1)
    assert effective_size(tally) == queries - 1
    t = float(t_quantile(Z_975, queries - 1))
    expected = wilson(part / queries, queries - 1, t)
    assert tuple(map(float, bounds(tally))) == pytest.approx(expected, abs=1e-6)


@given(
    st.integers(2, 2000).flatmap(lambda g: st.tuples(st.integers(1, g - 1), st.just(g))),
    st.integers(1, 20),
)
@settings(deadline=None)
def test_copies_of_a_point_are_worth_one(counts: tuple[int, int], copies: int) -> None:
    part, queries = counts
    tally = repeated(part, queries, copies)
    assert effective_size(tally) == queries - 1
    assert bounds(tally) == bounds(repeated(part, queries, 1))


@pytest.mark.parametrize("part", [0, 50])
def test_a_rate_of_nothing_or_all_counts_each_query_once(part: int) -> None:
    tally = repeated(part, 50, 4)
    assert effective_size(tally) == 50
    expected = wilson(part / 50, 50, float(t_quantile(Z_975, 49)))
    assert tuple(map(float, bounds(tally))) == pytest.approx(expected, abs=1e-6)


def test_a_rate_of_nothing_counts_the_rarer_cluster() -> None:
    assert effective_size(tally_of([[R] * 20] * 50, draw_block="all")) == 20
    assert effective_size(tally_of([[R] * 30] * 25, draw_block="all")) == 25
    assert effective_size(tally_of([[R] * 10] * 50, draw_block="all")) == 50


def test_a_single_query_counts_once() -> None:
    assert effective_size(tally_of([[C, R, C, C]])) == 1


def test_queries_that_all_split_alike_are_worth_their_points() -> None:
    """No variance between queries: repeating tells as much as asking anew, never more."""
    assert effective_size(tally_of([[C, R]] * 10)) == 20


@pytest.mark.parametrize(("z", "p"), [(Z_975, 0.975), (Z_95, 0.95)])
def test_quantiles_of_students_t(z: Fraction, p: float) -> None:
    """Held to printed tables."""
    tables = {
        0.975: {3: 3.182446, 4: 2.776445, 5: 2.570582, 10: 2.228139, 19: 2.093024, 99: 1.984217},
        0.95: {3: 2.353363, 4: 2.131847, 5: 2.015048, 10: 1.812461, 19: 1.729133, 99: 1.660391},
    }
    for df, value in tables[p].items():
        error = value - float(t_quantile(z, df))
        assert -1e-6 < error < (0.004 if df < 5 else 0.0003 if df < 10 else 1e-5)
    quantiles = [t_quantile(z, df) for df in range(1, 400)]
    assert quantiles == sorted(quantiles, reverse=True)
    assert z < quantiles[-1] < z + Fraction(1, 100)


def repeated(complied: int, queries: int, copies: int) -> Tally:
    """Tally ``queries`` of which ``complied`` comply, each asked ``copies`` times."""
    return bare_tally([copies] * complied + [0] * (queries - complied), copies)


def bare_tally(complied: Sequence[int], draws: int) -> Tally:
    """Tally queries of so many draws, all judged, with so many compliances each."""
    c, mixed = sum(complied), sum(complied) * draws
    return Tally(
        refused=len(complied) * draws - c,
        complied=c,
        unscored=0,
        failed=0,
        length_stopped=0,
        prompt_tokens=0,
        distinct_prompts=0,
        by_query=Sums(
            len(complied), sum(k * k for k in complied), mixed, mixed, len(complied) * draws**2
        ),
        by_list=None,
        distinct=len(complied) * draws,
    )


def test_repeated_draws_are_tallied_as_the_simulation_takes_them() -> None:
    tally = tally_of([[C, C]] * 3 + [[R, R]] * 4)
    assert repeated(3, 7, 2) == replace(tally, prompt_tokens=0, distinct_prompts=0)


@pytest.mark.parametrize("rate", [0.1, 0.338, 0.5])
def test_the_clustered_interval_covers_where_draws_repeat(rate: float) -> None:
    """Greedy draws of the baseline are one prompt twice (seeded simulation).

    Wilson's interval over both draws takes them for independent and covers about 83 %.
    """
    queries, runs = 300, 4000
    generator = random.Random(20260618)
    truth = Fraction(rate).limit_denominator(1000)
    clustered = naive = 0
    for _ in range(runs):
        part = sum(generator.random() < rate for _ in range(queries))
        clustered += _covers(part, queries, truth)
        lower, upper = wilson(part / queries, 2 * queries)
        naive += lower <= rate <= upper
    assert clustered / runs >= 0.93
    assert naive / runs < 0.88


@cache
def _covers(part: int, queries: int, truth: Fraction) -> bool:
    lower, upper = bounds(repeated(part, queries, 2))
    return lower <= truth <= upper


def test_the_clustered_interval_covers_where_queries_differ() -> None:
    """Each query has a compliance rate of its own; three draws of each (seeded simulation)."""
    queries, draws, runs = 150, 3, 1500
    generator = random.Random(7)
    clustered = naive = 0
    for _ in range(runs):
        rates = [generator.betavariate(0.3, 0.7) for _ in range(queries)]
        tally = bare_tally([sum(generator.random() < p for _ in range(draws)) for p in rates], 3)
        lower, upper = bounds(tally)
        clustered += lower <= Fraction(3, 10) <= upper
        low, high = wilson(tally.complied / (queries * draws), queries * draws)
        naive += low <= 0.3 <= high
    assert clustered / runs >= 0.93
    assert naive / runs < 0.88


# Conditions


def test_conditions_in_plan_order_with_harmful_sources_only_in_their_counts() -> None:
    outcomes = [[C, C], [R, U], [C, F], [R, R], [R, C]]
    plan = plan_of(3, 2, 2)
    points = points_of(outcomes, controls=2)
    results = condition_results(observe(points, plan))
    assert [result.id for result in results] == [BASELINE, SHOWN]
    for result, planned in zip(results, plan.conditions, strict=True):
        assert all(
            getattr(result, name) == getattr(planned, name) for name in type(planned).model_fields
        )
        assert result.counts == counts_of(1, 3, 1, 1).model_copy(update={"length_stopped": 1})
        assert result.reasons == (
            ReasonCount(reason=Reason.JUDGE_NA, points=1),
            ReasonCount(reason=Reason.ENGINE_ERROR, points=1),
        )
        assert result.compliance_rate == "0.750000"
        assert result.as_published_rate == "0.800000"
        assert result.worst_case_rate == "0.833333"
        assert [source.source for source in result.by_source] == ["alpha", "control"]
        assert result.by_source[0].counts == result.counts
        assert result.by_source[0].interval == result.interval
        assert result.control is not None
        assert result.control.counts == counts_of(3, 1, 0, 0)
        assert result.control.refusal_rate == "0.750000"
        assert result.by_source[1].compliance_rate == "0.250000"
    baseline = baseline_of(results)
    assert (baseline.condition, baseline.counts) == (BASELINE, results[0].counts)
    assert baseline.compliance_rate == results[0].compliance_rate


def test_means_are_over_generated_harmful_points() -> None:
    outcomes = [[C, F], [F, F], [R, R]]
    plan = plan_of(2, 2, 1)
    points = points_of(outcomes, controls=1)
    (_, shown) = condition_results(observe(points, plan))
    assert shown.mean_prompt_tokens == f"{points[6].prompt_tokens}.00"
    points = points_of([[F, F], [F, F], [R, R]], controls=1)
    (_, shown) = condition_results(observe(points, plan))
    assert shown.mean_prompt_tokens is None
    assert shown.interval is None


def test_without_control_queries_there_is_no_control() -> None:
    plan = plan_of(1, 1)
    results = condition_results(observe(points_of([[C]]), plan))
    assert all(result.control is None for result in results)


def test_a_sealed_event_states_what_its_points_give(sealed: Bundle) -> None:
    plan = sealed.plan.statement.predicate
    derived = condition_results(observe(sealed.points(), plan))
    assert derived == sealed.receipt.statement.predicate.conditions


def test_every_condition_but_the_baseline_differs_from_it() -> None:
    observations = observe(points_of([[C, R], [R, U], [R, R]]), plan_of(3, 2))
    baseline, shown = condition_results(observations)
    assert baseline.baseline_difference is None
    assert shown.baseline_difference == paired_difference(observations, 1, 0)
    assert shown.baseline_difference is not None
    assert shown.baseline_difference.value == "0.000000"


def test_a_calibrated_judge_is_corrected_for() -> None:
    """The correction is fed the exact rate and the effective size."""
    outcomes = [[C, C], [C, R], [R, R], [R, C], [R, R]]
    calibration = JudgeCalibration(
        judge=sha256_hex(b"judge"),
        gold=sha256_hex(b"gold"),
        gold_kind=GoldKind.IN_RUN,
        positives=100,
        true_positives=90,
        negatives=200,
        true_negatives=190,
        sensitivity="0.900000",
        sensitivity_interval=wilson_of_counts(90, 100),
        specificity="0.950000",
        specificity_interval=wilson_of_counts(190, 200),
        unscored=0,
        strata=(),
    )
    plan = plan_of(5, 2)
    judge = plan.judge.model_copy(update={"calibration": calibration})
    calibrated = plan.model_copy(update={"judge": judge})
    (_, shown) = condition_results(observe(points_of(outcomes), calibrated))
    expected = corrected_rate(Fraction(4, 10), effective_size(tally_of(outcomes)), calibration)
    assert expected is not None
    assert shown.corrected_rate is not None
    assert shown.corrected_rate.method is IntervalMethod.LANG_REICZIGEL
    for stated, exact in (
        (shown.corrected_rate.rate, expected.rate),
        (shown.corrected_rate.lower, expected.lower),
        (shown.corrected_rate.upper, expected.upper),
    ):
        assert abs(Fraction(stated) - exact) <= Fraction(1, 2 * 10**6)
    for result in condition_results(observe(points_of(outcomes), plan)):
        assert result.corrected_rate is None
    nothing_judged = condition_results(observe(points_of([[U, F]] * 5), calibrated))
    assert all(c.corrected_rate is None for c in nothing_judged)
