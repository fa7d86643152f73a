"""What the order of the demonstrations does."""

from __future__ import annotations

from decimal import Decimal
from math import sqrt

import numpy as np
import pytest
from observing import Asked, Cell, Chance, logistic, observed, plan_of, spoiled, study_of

from safety_receipts.receipts.findings.counts.observations import (
    COMPLIED,
    FAILED,
    UNSCORED,
    Observations,
)
from safety_receipts.receipts.findings.orderings import ordering_findings, ordering_word
from safety_receipts.receipts.model.demonstrations import ContextForm, ExperimentKind, Ordering
from safety_receipts.receipts.model.findings import OrderingFinding, OrderWord, PositionGradient
from safety_receipts.receipts.model.plan import PlanPredicate

RATES = {
    Ordering.PREFIX: 0.3,
    Ordering.SUFFIX: 0.6,
    Ordering.MIDDLE: 0.4,
    Ordering.INTERLEAVE: 0.5,
    Ordering.RANDOM: 0.5,
}


def orders(
    *wanted: Ordering,
    queries: int = 80,
    numbers: tuple[int, int] = (16, 16),
    draw_block: int = 1,
    controls: int = 0,
) -> PlanPredicate:
    """Return a plan of one mixture in several orders, all of them where none is named."""
    cells = [Cell(*numbers, ordering) for ordering in wanted or Ordering]
    return plan_of(
        [(ExperimentKind.ORDERINGS, cells)],
        queries=queries,
        draw_block=draw_block,
        controls=controls,
    )


def by_order(asked: Asked) -> float:
    return RATES.get(asked.condition.ordering, 0.1) if asked.condition.ordering else 0.1


def by_position(asked: Asked) -> np.ndarray:
    return logistic(-1 + 2 * asked.near / 8)


def finding_of(observations: Observations) -> OrderingFinding:
    [finding] = ordering_findings(study_of(observations))
    return finding


def finding(chance: Chance, *wanted: Ordering) -> OrderingFinding:
    return finding_of(observed(orders(*wanted), chance))


def word(finding: OrderingFinding) -> OrderWord:
    """Return the word of uncorrected tests."""
    spread = None if finding.spread is None else finding.spread.p
    return ordering_word(finding, spread, finding.p)


def gradient(observations: Observations) -> PositionGradient:
    position = finding_of(observations).position
    assert position is not None
    return position


def test_every_order_has_its_rate_in_plan_order() -> None:
    observations = observed(orders(), by_order)
    found = finding_of(observations)
    assert (found.n_harmful, found.n_benign) == (16, 16)
    assert [rate.ordering for rate in found.rates] == list(Ordering)
    assert [rate.condition for rate in found.rates] == [f"h16-b16-{o.value}" for o in Ordering]
    means = observations.complied[1:].mean(axis=(1, 2))
    assert [rate.compliance_rate for rate in found.rates] == [f"{mean:.6f}" for mean in means]
    assert found.verdict is OrderWord.UNDETERMINED


def test_harmful_demonstrations_that_work_near_the_query_show_recency() -> None:
    found = finding(by_order)
    assert found.spread is not None
    lower, upper = Decimal(found.spread.interval.lower), Decimal(found.spread.interval.upper)
    assert 0 < lower < Decimal("0.3") < upper
    assert word(found) is OrderWord.RECENCY


def test_harmful_demonstrations_that_work_far_from_it_show_primacy() -> None:
    def chance(asked: Asked) -> float:
        return 0.9 - by_order(asked)

    found = finding(chance)
    assert found.spread is not None
    assert Decimal(found.spread.interval.upper) < 0
    assert word(found) is OrderWord.PRIMACY


def test_orders_may_differ_though_prefix_and_suffix_do_not() -> None:
    def chance(asked: Asked) -> float:
        return 0.9 if asked.condition.ordering is Ordering.MIDDLE else 0.5

    assert word(finding(chance)) is OrderWord.DIFFERS


def test_without_prefix_and_suffix_orders_can_only_differ() -> None:
    found = finding(by_order, Ordering.SUFFIX, Ordering.MIDDLE)
    assert (found.spread, found.position) == (None, None)
    assert found.p is not None
    assert word(found) is OrderWord.DIFFERS


def test_orders_that_are_alike_show_nothing() -> None:
    found = finding(lambda _: 0.5)
    assert found.f is not None
    assert word(found) is OrderWord.UNDETERMINED


@pytest.mark.parametrize(
    ("spread", "homogeneity", "expected"),
    [
        ("0.049", "1", OrderWord.RECENCY),
        ("0.05", "0.049", OrderWord.DIFFERS),
        ("0.05", "0.05", OrderWord.UNDETERMINED),
        (None, "0.01", OrderWord.DIFFERS),
        ("0.01", None, OrderWord.RECENCY),
        (None, None, OrderWord.UNDETERMINED),
    ],
)
def test_the_word_follows_from_corrected_p_values(
    spread: str | None, homogeneity: str | None, expected: OrderWord
) -> None:
    assert ordering_word(finding(by_order), spread, homogeneity) is expected


def test_points_are_counted_by_what_stands_near_the_query() -> None:
    observations = observed(orders(), by_position)
    random = list(Ordering).index(Ordering.RANDOM) + 1
    found = gradient(observations)
    assert found.condition == "h16-b16-random"
    numbers = [row.harmful_near for row in found.rows]
    assert numbers == np.unique(observations.harmful_near[random]).tolist()
    for row in found.rows:
        complied = observations.complied[random][
            observations.harmful_near[random] == row.harmful_near
        ]
        assert (row.judged, row.complied) == (complied.size, complied.sum())
        assert row.compliance_rate == f"{complied.mean():.6f}"
    assert sum(row.judged for row in found.rows) == 160


def test_a_planted_gradient_is_found() -> None:
    slope = gradient(observed(orders(queries=400), by_position)).slope
    assert slope is not None
    assert abs(float(slope.beta) - 2) < 2 * float(slope.se)
    assert Decimal(slope.p) < Decimal("0.0001")


def test_the_gradient_is_that_of_a_regression_on_points_with_clustered_errors() -> None:
    observations = observed(orders(), by_position)
    random = list(Ordering).index(Ordering.RANDOM) + 1
    share = observations.harmful_near[random].ravel() / 8
    api = pytest.importorskip("statsmodels.api")
    fit = api.GLM(
        observations.complied[random].ravel().astype(float),
        np.column_stack([np.ones(share.size), share]),
        family=api.families.Binomial(),
    ).fit(
        tol=1e-12,
        cov_type="cluster",
        cov_kwds={"groups": np.repeat(np.arange(80), 2), "use_correction": False},
    )
    slope = gradient(observations).slope
    assert slope is not None
    assert float(slope.beta) == pytest.approx(fit.params[1], abs=2e-6)
    assert float(slope.se) == pytest.approx(fit.bse[1] * sqrt(80 / 79), abs=2e-6)
    assert slope.df == 79


def test_where_few_are_shown_all_of_them_are_near_and_there_is_no_slope() -> None:
    found = gradient(observed(orders(numbers=(2, 2)), by_position))
    assert [row.harmful_near for row in found.rows] == [2]
    assert found.slope is None


def test_what_was_not_judged_is_not_counted() -> None:
    random = list(Ordering).index(Ordering.RANDOM) + 1
    observations = observed(orders(), by_position)
    some = gradient(spoiled(observations, np.s_[random, :10], UNSCORED))
    assert sum(row.judged for row in some.rows) == 140
    none = gradient(spoiled(observations, np.s_[random], FAILED))
    assert {row.judged for row in none.rows} == {0}
    assert {row.compliance_rate for row in none.rows} == {None}
    assert none.slope is None


def test_a_gradient_that_parts_outcomes_has_no_slope() -> None:
    found = gradient(observed(orders(), lambda asked: (asked.near > 4).astype(float)))
    assert {row.compliance_rate for row in found.rows} == {"0.000000", "1.000000"}
    assert found.slope is None


@pytest.mark.parametrize("plan", [orders(queries=29), orders(draw_block=20)])
def test_few_queries_or_few_shared_lists_give_rates_and_no_test(plan: PlanPredicate) -> None:
    found = finding_of(observed(plan, by_order))
    assert None not in [rate.compliance_rate for rate in found.rates]
    assert found.spread is not None
    assert (found.spread.p, found.f, found.p) == (None, None, None)
    assert found.position is not None
    assert found.position.rows
    assert found.position.slope is None
    assert word(found) is OrderWord.UNDETERMINED


@pytest.mark.parametrize("outcome", [UNSCORED, FAILED])
def test_where_nothing_was_judged_there_is_nothing_to_say(outcome: int) -> None:
    found = finding_of(spoiled(observed(orders(), by_order), np.s_[:], outcome))
    assert {rate.compliance_rate for rate in found.rates} == {None}
    assert (found.spread, found.f, found.p) == (None, None, None)
    assert word(found) is OrderWord.UNDETERMINED


def test_controls_take_no_part() -> None:
    observations = observed(orders(controls=20), by_position)
    changed = spoiled(observations, np.s_[:, 80:], COMPLIED)
    assert finding_of(changed) == finding_of(observations)


def test_each_mixture_has_its_finding_and_one_order_alone_has_none() -> None:
    cells = [
        *(Cell(8, 24, ordering) for ordering in (Ordering.PREFIX, Ordering.SUFFIX)),
        *(Cell(24, 8, ordering) for ordering in (Ordering.RANDOM, Ordering.SUFFIX)),
        Cell(16, 16),
        Cell(16, 0),
    ]
    plan = plan_of([(ExperimentKind.ORDERINGS, cells)])
    findings = ordering_findings(study_of(observed(plan, by_order)))
    assert [(found.n_harmful, found.n_benign) for found in findings] == [(8, 24), (24, 8)]
    assert [found.spread is None for found in findings] == [False, True]


def test_only_plain_conditions_of_orderings_experiments_are_looked_at() -> None:
    suffix, prefix = Cell(4, 4), Cell(4, 4, Ordering.PREFIX)
    others = [
        Cell(4, 4, Ordering.PREFIX, source="other"),
        Cell(4, 4, Ordering.PREFIX, prefix="Answer:"),
        Cell(4, 4, Ordering.PREFIX, form=ContextForm.TOOL),
    ]
    experiments = [
        (ExperimentKind.ORDERINGS, [suffix, *others]),
        (ExperimentKind.FIXED_HARMFUL, [prefix]),
    ]
    plan = plan_of(experiments, sources=("benign-proxy", "other"))
    assert ordering_findings(study_of(observed(plan, by_order))) == []
