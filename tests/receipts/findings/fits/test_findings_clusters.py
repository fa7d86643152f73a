"""Clustered variances: known answers, and no bias whatever correlates."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_receipts.receipts.findings.counts.tally import FEWEST_LISTS
from safety_receipts.receipts.findings.fits.clusters import PointClusters
from safety_receipts.receipts.model.findings import ClusterMethod, Grounds


def _lists(queries: int, draws: int, block: int) -> np.ndarray:
    return (np.arange(queries) // block)[:, None] * draws + np.arange(draws)


def _ones(lists: np.ndarray) -> np.ndarray:
    return np.ones(lists.shape, dtype=np.int64)


def test_one_way_it_is_the_variance_of_a_mean_of_queries() -> None:
    values = np.array([0.5, 1.5, -1.0, 4.0, 0.0])
    influence = ((values - values.mean()) / 5)[:, None, None]
    clusters = PointClusters(_lists(5, 1, 1), np.ones((5, 1), np.int64))
    assert clusters.method is ClusterMethod.QUERY
    assert clusters.df == 4
    assert clusters.covariance(influence)[0, 0] == pytest.approx(values.var(ddof=1) / 5)


@pytest.mark.parametrize(("queries", "draws", "block"), [(24, 24, 24), (48, 2, 4), (30, 3, 1)])
@pytest.mark.parametrize("component", ["query", "list", "cell"])
def test_no_component_is_over_or_underestimated(
    queries: int, draws: int, block: int, component: str
) -> None:
    """The variance is a quadratic form: its expectation is a sum over the effects' directions."""
    lists = _lists(queries, draws, block)
    clusters = PointClusters(lists, _ones(lists))
    groups = {
        "query": np.arange(queries)[:, None] + np.zeros((1, draws), dtype=np.int64),
        "list": lists,
        "cell": np.arange(lists.size).reshape(lists.shape),
    }[component]
    truth = expected = 0.0
    for group in np.unique(groups):
        effect = (groups == group).astype(float)
        truth += effect.sum() ** 2
        expected += float(clusters.unfloored((effect - effect.mean())[:, :, None])[0, 0])
    assert expected == pytest.approx(truth, rel=1e-9)


def test_shared_lists_never_make_an_estimate_surer() -> None:
    lists = _lists(40, 20, 40)
    rng = np.random.default_rng(3)
    for _ in range(20):
        influence = rng.normal(size=(40, 20, 2))
        influence -= influence.mean(axis=(0, 1))
        two_way = PointClusters(lists, _ones(lists)).covariance(influence)
        own = np.arange(lists.size).reshape(lists.shape)
        one_way = PointClusters(own, _ones(lists)).covariance(influence)
        assert np.linalg.eigvalsh(two_way - one_way).min() > -1e-9


@pytest.mark.parametrize(
    ("crossing", "expected"),
    [
        ((60, 2, 1), (ClusterMethod.QUERY, None, 59)),
        ((29, 2, 1), (ClusterMethod.QUERY, Grounds.FEW_QUERIES, 28)),
        ((60, 2, 60), (ClusterMethod.QUERY_GIVEN_LISTS, Grounds.FEW_LISTS, 59)),
        ((60, FEWEST_LISTS, 60), (ClusterMethod.QUERY_AND_LIST, None, 19)),
        ((60, 2, 5), (ClusterMethod.QUERY_AND_LIST, None, 23)),
    ],
)
def test_what_is_clustered_by_follows_from_the_lists(
    crossing: tuple[int, int, int], expected: tuple[ClusterMethod, Grounds | None, int]
) -> None:
    """Queries, draws and the queries that share a draw."""
    lists = _lists(*crossing)
    clusters = PointClusters(lists, _ones(lists))
    assert (clusters.method, clusters.grounds_for_doubt, clusters.df) == expected


def test_cells_without_points_do_not_count() -> None:
    lists = _lists(40, 2, 1)
    used = _ones(lists)
    used[30:] = 0
    used[:, 1] = 0
    clusters = PointClusters(lists, used)
    assert (clusters.queries, clusters.lists) == (30, 30)


@given(st.integers(0, 2**32 - 1))
def test_a_test_of_one_number_is_students(seed: int) -> None:
    rng = np.random.default_rng(seed)
    lists = _lists(35, 2, 1)
    influence = rng.normal(size=(35, 2, 1)) / 70
    clusters = PointClusters(lists, _ones(lists))
    variance = clusters.covariance(influence)
    alone = clusters.t_test(0.3, variance[0, 0])
    together = clusters.f_test(np.array([0.3]), variance)
    assert alone is not None
    assert together is not None
    assert together.statistic == pytest.approx(alone.statistic**2)
    assert together.p == pytest.approx(alone.p, rel=1e-9)


def test_what_does_not_vary_is_not_tested() -> None:
    lists = _lists(35, 2, 1)
    clusters = PointClusters(lists, _ones(lists))
    assert clusters.t_test(0.3, 0.0) is None
    assert clusters.f_test(np.zeros(2), np.zeros((2, 2))) is None


def test_more_numbers_than_clusters_are_not_tested() -> None:
    clusters = PointClusters(_lists(4, 1, 1), np.ones((4, 1), np.int64))
    assert clusters.f_test(np.ones(5), np.eye(5)) is None
