"""The grid: ids, label strings, order of points."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Any

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from safety_receipts.receipts.canonical import Sha256, sha256_hex
from safety_receipts.receipts.events.grid import (
    BASELINE,
    blocks,
    condition_id,
    default_context,
    distinct_lists,
    fixed_labels,
    planned_point,
    planned_points,
    random_labels,
    shows_draws,
    source_of,
)
from safety_receipts.receipts.events.synthetic import Mixture, synthetic_plan
from safety_receipts.receipts.model.base import ConditionId, QueryId, SourceName
from safety_receipts.receipts.model.demonstrations import (
    ContextForm,
    Ordering,
    PlannedCondition,
    is_drawn,
)
from safety_receipts.receipts.model.plan import PlanPredicate

SEED = sha256_hex(b"a seed")
FIXED = [ordering for ordering in Ordering if ordering is not Ordering.RANDOM]

# Label strings


@pytest.mark.parametrize("ordering", [*Ordering, None])
def test_labels_are_the_conditions_or_each_draw_has_its_own(ordering: Ordering | None) -> None:
    assert (fixed_labels(ordering, 3, 2) is None) is is_drawn(ordering)


@pytest.mark.parametrize(
    ("ordering", "harmful", "benign", "expected"),
    [
        (Ordering.PREFIX, 3, 2, "hhhbb"),
        (Ordering.SUFFIX, 3, 2, "bbhhh"),
        (Ordering.MIDDLE, 3, 2, "bhhhb"),
        (Ordering.MIDDLE, 2, 3, "bbhhb"),
        (Ordering.MIDDLE, 2, 4, "bbhhbb"),
        (Ordering.MIDDLE, 2, 1, "bhh"),
        (Ordering.INTERLEAVE, 2, 2, "bhbh"),
        (Ordering.INTERLEAVE, 3, 2, "bhbhh"),
        (Ordering.INTERLEAVE, 2, 3, "bbhbh"),
        (Ordering.INTERLEAVE, 1, 3, "bbbh"),
        (Ordering.INTERLEAVE, 3, 1, "bhhh"),
        (Ordering.INTERLEAVE, 2, 6, "bbbhbbbh"),
        (None, 0, 0, ""),
        (None, 3, 0, "hhh"),
        (None, 0, 3, "bbb"),
        (Ordering.RANDOM, 3, 2, None),
    ],
)
def test_fixed_labels(
    ordering: Ordering | None, harmful: int, benign: int, expected: str | None
) -> None:
    assert fixed_labels(ordering, harmful, benign) == expected
    if expected is not None:
        assert fixed_labels(ordering, harmful, benign, 2) == "rr" + expected


COUNTS = st.integers(0, 70)


@pytest.mark.parametrize("ordering", FIXED)
@given(harmful=COUNTS, benign=COUNTS, refusal=st.integers(0, 5))
@settings(deadline=None)
def test_fixed_labels_keep_the_counts(
    ordering: Ordering, harmful: int, benign: int, refusal: int
) -> None:
    labels = fixed_labels(ordering, harmful, benign, refusal)
    assert labels is not None
    assert Counter(labels) == +Counter(h=harmful, b=benign, r=refusal)
    assert labels.startswith("r" * refusal)
    mixed = labels[refusal:]
    if ordering is Ordering.MIDDLE:
        assert mixed.strip("b") == "h" * harmful
        if harmful:
            assert len(mixed) - len(mixed.lstrip("b")) == (benign + 1) // 2
    if ordering is Ordering.INTERLEAVE:
        total = harmful + benign
        for length in range(total + 1):  # never more than one away from an even spread
            assert mixed[:length].count("h") == length * harmful // total if total else True
        assert not harmful or mixed.endswith("h")


def a_condition(harmful: int, benign: int, refusal: int = 0) -> PlannedCondition:
    """Return a condition with random ordering."""
    context = default_context().model_copy(update={"n_refusal": refusal})
    return PlannedCondition(
        id=condition_id(harmful, benign, Ordering.RANDOM),
        n_harmful=harmful,
        n_benign=benign,
        ordering=Ordering.RANDOM,
        labels=None,
        benign_source=SourceName("pool"),
        response_prefix=None,
        context=context,
    )


def shuffled(seed: Sha256, condition: PlannedCondition, block: int, draw: int) -> str:
    """Derive the labels again, from the words of the docstring and RFC 8785 alone."""
    labels = ["b"] * condition.n_benign + ["h"] * condition.n_harmful
    i = len(labels) - 1
    while i >= 1:
        array: list[str | int] = ["safety-receipts/order/1", seed, condition.id, block, draw, i]
        j = int(hashlib.sha256(rfc8785.dumps(array)).hexdigest(), 16) % (i + 1)
        labels[i], labels[j] = labels[j], labels[i]
        i -= 1
    return "r" * condition.context.n_refusal + "".join(labels)


CONDITIONS = st.builds(a_condition, st.integers(0, 40), st.integers(0, 40), st.integers(0, 3))


@given(st.binary(max_size=3), CONDITIONS, st.integers(0, 2000), st.integers(0, 10))
@settings(deadline=None)
def test_random_labels_can_be_derived_again(
    data: bytes, condition: PlannedCondition, block: int, draw: int
) -> None:
    seed = sha256_hex(data)
    labels = random_labels(seed, condition, block, draw)
    assert labels == shuffled(seed, condition, block, draw)
    refusal = condition.context.n_refusal
    expected = Counter(h=condition.n_harmful, b=condition.n_benign, r=refusal)
    assert Counter(labels) == +expected


def test_random_labels_depend_on_everything_they_name() -> None:
    condition = a_condition(8, 8)
    renamed = condition.model_copy(update={"id": ConditionId("h8-b8-random-src:other")})
    labels = [
        random_labels(SEED, condition, 0, 0),
        random_labels(sha256_hex(b"another seed"), condition, 0, 0),
        random_labels(SEED, condition, 1, 0),
        random_labels(SEED, condition, 0, 1),
        random_labels(SEED, renamed, 0, 0),
    ]
    assert len(set(labels)) == len(labels)
    assert random_labels(SEED, condition, 0, 0) == labels[0]


@pytest.mark.parametrize(
    ("harmful", "benign", "strings", "limit"),
    # 99.9 % quantiles of chi-square with 1, 5, 9 degrees of freedom; the seed is fixed.
    [(1, 1, 2, 10.83), (2, 2, 6, 20.52), (3, 2, 10, 27.88)],
)
def test_random_labels_are_uniform(harmful: int, benign: int, strings: int, limit: float) -> None:
    condition, draws = a_condition(harmful, benign), 3000
    found = Counter(random_labels(SEED, condition, i // 2, i % 2) for i in range(draws))
    assert len(found) == strings
    expected = draws / strings
    assert sum((count - expected) ** 2 / expected for count in found.values()) < limit


# Ids


@pytest.mark.parametrize(
    ("arguments", "options", "expected"),
    [
        ((0, 0), {}, "h0-b0"),
        ((16, 16, Ordering.SUFFIX), {}, "h16-b16-suffix"),
        ((0, 128), {"benign_source": SourceName("or-bench")}, "h0-b128-src:or-bench"),
        ((4, 0), {"prefix_number": 1}, "h4-b0-pre:1"),
        ((4, 0), {"context": ContextForm.RETRIEVED}, "h4-b0-ctx:retrieved"),
        (
            (2, 6, Ordering.RANDOM),
            {
                "context": ContextForm.TOOL,
                "prefix_number": 2,
                "benign_source": SourceName("xstest"),
            },
            "h2-b6-random-src:xstest-pre:2-ctx:tool",
        ),
    ],
)
def test_condition_ids(arguments: Any, options: Any, expected: str) -> None:
    assert condition_id(*arguments, **options) == expected


def test_the_baseline_is_the_condition_without_anything() -> None:
    assert condition_id(0, 0) == BASELINE == "h0-b0"


def test_the_source_is_what_stands_before_the_first_slash() -> None:
    assert source_of(QueryId("harmbench/a/b")) == "harmbench"


# Order of points


def small_plan() -> PlanPredicate:
    """Return a plan of three conditions, five queries, two draws."""
    mixtures = [Mixture(0, 0, None), Mixture(2, 2, Ordering.SUFFIX), Mixture(0, 4, None)]
    return synthetic_plan(mixtures, {"alpha": 3}, controls={"gamma": 2})


def with_demonstrations(plan: PlanPredicate, **changes: Any) -> PlanPredicate:
    """Return ``plan`` with changed demonstrations."""
    demonstrations = plan.demonstrations.model_copy(update=changes)
    return plan.model_copy(update={"demonstrations": demonstrations})


def test_points_run_through_conditions_queries_and_draws() -> None:
    plan = small_plan()
    points = list(planned_points(plan))
    assert len(points) == plan.points == 3 * 5 * 2
    expected = [
        (condition.id, place, query, draw)
        for condition in plan.conditions
        for place, query in enumerate(plan.query_ids)
        for draw in (0, 1)
    ]
    assert [(c.id, place, query, draw) for c, place, query, draw in points] == expected
    for index, (condition, _, query, draw) in enumerate(points):
        assert planned_point(plan, index) == (condition, query, draw)


@pytest.mark.parametrize("index", [-1, 30])
def test_there_is_no_point_outside_the_plan(index: int) -> None:
    with pytest.raises(IndexError):
        planned_point(small_plan(), index)


@pytest.mark.parametrize(
    ("size", "expected", "lists"),
    [(1, [0, 1, 2, 3, 4], 10), (2, [0, 0, 1, 1, 2], 6), (5, [0] * 5, 2), (9, [0] * 5, 2)],
)
def test_blocks_of_queries_share_their_draws(size: int, expected: list[int], lists: int) -> None:
    plan = with_demonstrations(small_plan(), draw_block=size)
    assert list(blocks(plan)) == expected
    assert distinct_lists(plan) == lists


def test_all_queries_may_share_their_draws() -> None:
    plan = with_demonstrations(small_plan(), draw_block="all")
    assert list(blocks(plan)) == [0] * 5
    assert distinct_lists(plan) == 2


@pytest.mark.parametrize(
    ("harmful", "benign", "context", "expected"),
    [
        (0, 0, {}, False),
        (1, 0, {}, True),
        (0, 1, {}, True),
        (0, 0, {"n_refusal": 1}, True),
        (0, 0, {"gap_turns": 1}, True),
    ],
)
def test_without_examples_every_draw_is_one_prompt(
    harmful: int, benign: int, context: dict[str, int], expected: bool
) -> None:
    condition = a_condition(harmful, benign)
    shown = condition.context.model_copy(update=context)
    assert shows_draws(condition.model_copy(update={"context": shown})) == expected
