"""A request that several query sources ask is one cluster: asking it again adds nothing."""

from __future__ import annotations

from dataclasses import fields, replace
from fractions import Fraction

import numpy as np
import pytest
from observing import Cell, Chance, logistic, observed, plan_of

from safety_receipts.receipts.events.coherence import plan_problems
from safety_receipts.receipts.events.grid import distinct_lists
from safety_receipts.receipts.findings.counts.conditions import condition_results
from safety_receipts.receipts.findings.counts.observations import Observations
from safety_receipts.receipts.findings.counts.requests import by_request, count_requests
from safety_receipts.receipts.findings.derive import derive
from safety_receipts.receipts.model.base import QueryId, SourceName
from safety_receipts.receipts.model.demonstrations import ExperimentKind
from safety_receipts.receipts.model.findings import ClusterMethod

CELLS = [Cell(h, b) for h in (0, 2, 8) for b in (0, 4, 16)]


def benign(slope: float, at: float) -> Chance:
    """Return a law under which queries differ, and benign demonstrations have an effect."""
    return lambda where: logistic(
        at
        + slope * np.log(where.condition.n_benign + 1)
        + 0.3 * np.log(where.condition.n_harmful + 1)
        + 1.5 * np.sin(1.7 * where.query)
        + 0.0 * where.draw
    )


def asked_again(observations: Observations, *, said: bool) -> Observations:
    """Return the event with a second source that asks the same, and is answered the same.

    Args:
        observations: The event.
        said: Whether its plan says that they ask the same.
    """
    plan = observations.plan
    (source,) = plan.queries
    again = source.model_copy(update={"name": SourceName("again")})
    repeated = [QueryId(f"again/{query.partition('/')[2]}") for query in plan.query_ids]
    pairs = tuple(zip(plan.query_ids, repeated, strict=True))
    plan = plan.model_copy(
        update={
            "queries": (source, again),
            "query_ids": (*plan.query_ids, *repeated),
            "points": 2 * plan.points,
            "same_queries": pairs if said else None,
        }
    )
    lists = {"distinct_lists": distinct_lists(plan)}
    plan = plan.model_copy(update={"demonstrations": plan.demonstrations.model_copy(update=lists)})
    assert plan_problems(plan) == []
    doubled = {
        field.name: np.concatenate([getattr(observations, field.name)] * 2, axis=1)
        for field in fields(observations)
        if field.name != "plan"
    }
    return replace(observations, plan=plan, **doubled)


@pytest.fixture(scope="module")
def event() -> Observations:
    plan = plan_of([(ExperimentKind.FIXED_HARMFUL, CELLS)], queries=60, draws=2)
    return observed(plan, benign(-0.4, 0.0))


def test_a_rate_has_the_interval_of_the_requests_that_were_asked(event: Observations) -> None:
    once = condition_results(event)
    twice = condition_results(asked_again(event, said=True))
    blind = condition_results(asked_again(event, said=False))
    for one, two, other in zip(once, twice, blind, strict=True):
        assert two.compliance_rate == one.compliance_rate
        assert two.interval == one.interval
        assert two.baseline_difference == one.baseline_difference
        assert one.interval is not None
        assert other.interval is not None
        widths = [Fraction(i.upper) - Fraction(i.lower) for i in (one.interval, other.interval)]
        assert widths[1] < widths[0]


def test_a_finding_is_the_one_of_the_requests_that_were_asked(event: Observations) -> None:
    once = derive(event).joint
    twice = derive(asked_again(event, said=True)).joint
    assert once is not None
    assert twice is not None
    assert once.clustered is not None
    assert twice.clustered is not None
    assert twice.clusters.queries == once.clusters.queries == 60
    for name in ("beta1", "beta2", "se2", "z2", "df"):
        assert getattr(twice.clustered, name) == getattr(once.clustered, name)
    assert twice.informative_queries == once.informative_queries
    assert (twice.effect, twice.interval) == (once.effect, once.interval)
    assert [level.p for level in twice.by_harmful] == pytest.approx(
        [level.p for level in once.by_harmful]
    )


def test_the_same_request_is_permuted_alike() -> None:
    plan = plan_of([(ExperimentKind.FIXED_HARMFUL, CELLS)], queries=90, draws=1)
    event = observed(plan, benign(0.6, -6.0))
    once = derive(event).joint
    twice = derive(asked_again(event, said=True)).joint
    blind = derive(asked_again(event, said=False)).joint
    assert once is not None
    assert twice is not None
    assert blind is not None
    assert once.permutation is not None
    assert twice.permutation is not None
    assert blind.permutation is not None
    assert (twice.permutation.t, twice.permutation.df) == (
        once.permutation.t,
        once.permutation.df,
    )
    assert once.permutation.p_permutation is not None
    assert twice.permutation.p_permutation is not None
    # Other words of the same stream shuffle, so that the shares agree as two samples do.
    assert float(twice.permutation.p_permutation) == pytest.approx(
        float(once.permutation.p_permutation), abs=0.03
    )
    assert float(blind.permutation.p) < float(twice.permutation.p)


def test_shared_lists_stay_clusters_of_their_own() -> None:
    plan = plan_of([(ExperimentKind.FIXED_HARMFUL, CELLS)], queries=40, draws=20, draw_block=40)
    event = asked_again(observed(plan, benign(-0.4, 0.0)), said=True)
    joint = derive(event).joint
    assert joint is not None
    assert joint.clusters.method is ClusterMethod.QUERY_AND_LIST
    assert (joint.clusters.queries, joint.clusters.lists) == (40, 40)


def test_sums_over_requests() -> None:
    values = np.array([[1], [2], [4], [8]])
    requests = np.array([0, 1, 0, 3])
    assert by_request(values, requests).tolist() == [[5], [2], [8]]
    assert by_request(values, None) is values
    assert by_request(values, np.arange(4)) is values
    chosen = np.array([True, True, True, False])
    assert (count_requests(chosen, requests), count_requests(chosen, None)) == (2, 3)
