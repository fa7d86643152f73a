"""More numbers than clusters: the same tests, without a matrix of all by all."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.events.synthetic import Mixture, synthetic_plan, synthetic_points
from safety_receipts.receipts.findings import total as total_module
from safety_receipts.receipts.findings.counts.observations import observe
from safety_receipts.receipts.findings.fits import lack_of_fit as lack_module
from safety_receipts.receipts.findings.fits.clusters import PointClusters
from safety_receipts.receipts.findings.fits.logit import newton
from safety_receipts.receipts.findings.fits.low_rank import low_rank
from safety_receipts.receipts.findings.fits.study import ClusteredEstimate, StudyPoints
from safety_receipts.receipts.findings.joint import joint_findings
from safety_receipts.receipts.findings.total import total_finding
from safety_receipts.receipts.model.demonstrations import Ordering
from safety_receipts.verify.compare.interaction import FittedCells, _joined

DIGEST = Sha256("0" * 64)


def grid(side: int) -> list[Mixture]:
    """Return numbers of harmful by numbers of benign demonstrations."""
    return [
        Mixture(harmful, benign, Ordering.SUFFIX if harmful and benign else None)
        for harmful in range(side)
        for benign in range(side)
    ]


def studied(side: int, queries: int, draws: int, block: int) -> StudyPoints:
    """Return a study of a grid, whose queries share lists by blocks."""
    plan = synthetic_plan(grid(side), {"alpha": queries}, draws=draws)
    shared = plan.demonstrations.model_copy(
        update={"draw_block": block, "distinct_lists": -(-queries // block) * draws}
    )
    plan = plan.model_copy(update={"demonstrations": shared})
    points = (point for point, _ in synthetic_points(plan, DIGEST))
    return StudyPoints(observe(points, plan), newton)


@pytest.mark.parametrize(
    ("side", "queries", "draws", "block"),
    [(8, 30, 1, 1), (9, 32, 2, 1), (9, 40, 1, 2), (7, 34, 1, 8)],
    ids=["by-query", "two-draws", "two-way", "given-lists"],
)
def test_findings_are_the_same_by_either_way(
    side: int, queries: int, draws: int, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every digit that is sealed, of a grid with more conditions than clusters."""
    study = studied(side, queries, draws, block)
    few = joint_findings(study), total_finding(study)
    for module in (lack_module, total_module):
        monkeypatch.setattr(module, "low_rank", lambda *_: None)
    assert (joint_findings(study), total_finding(study)) == few
    [finding] = few[0]
    assert finding.lack_of_fit is not None
    # Lists are clusters too: with two queries to each there are more numbers than these allow.
    assert (finding.lack_of_fit.p_benign is None) is (block == 2)


@given(st.integers(0, 2**32 - 1), st.integers(1, 3), st.booleans())
@settings(max_examples=12, deadline=None)
def test_the_covariance_is_the_clusters_own(seed: int, draws: int, own: bool) -> None:
    random = np.random.default_rng(seed)
    queries, numbers = 16, 80
    lists = np.arange(queries)[:, None] // 2 * draws + np.arange(draws)
    used = random.integers(0, 3, (queries, draws))
    clusters = PointClusters(lists, used)
    influence = random.normal(size=(queries, draws, numbers)) * (used > 0)[:, :, None]
    values = random.normal(size=numbers)
    more = random.random(numbers) * (np.arange(numbers) < 3) if own else None
    found = low_rank(values, influence, clusters, more)
    assert found is not None
    whole = clusters.covariance(influence) + (0 if more is None else np.diag(more))
    spread = found.basis @ found.core @ found.basis.T
    assert np.allclose(spread, whole, atol=1e-9 * np.abs(whole).max())
    turned = found.turned(lambda array: np.diff(array, axis=0))
    steps = np.diff(np.eye(numbers), axis=0)
    one, other = turned.f_test(0.0), clusters.f_test(steps @ values, steps @ whole @ steps.T)
    assert (one is None) == (other is None)
    if one is not None and other is not None:
        assert one.df == other.df
        assert one.statistic == pytest.approx(other.statistic, rel=1e-6)


def test_few_numbers_keep_their_matrix() -> None:
    clusters = PointClusters(np.arange(10)[:, None], np.ones((10, 1), dtype=np.int64))
    assert low_rank(np.zeros(10), np.zeros((10, 1, 10)), clusters) is None
    assert low_rank(np.zeros(11), np.zeros((10, 1, 11)), clusters) is not None
    alone = np.ones(11)
    assert low_rank(np.zeros(11), np.zeros((10, 1, 11)), clusters, alone) is None


def test_no_matrix_of_all_conditions_by_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is decomposed is no larger than the clusters are many."""
    sizes = []
    eigh = np.linalg.eigh

    def watched(matrix: np.ndarray) -> object:
        sizes.append(matrix.shape[0])
        return eigh(matrix)

    monkeypatch.setattr(np.linalg, "eigh", watched)
    study = studied(12, 30, 1, 1)
    joint_findings(study)
    assert sizes
    assert max(sizes) <= 30


def joined_one_by_one(parts: list[FittedCells], places: list[list[int]], rows: int) -> np.ndarray:
    """Merge request by request, as it is defined."""
    numbers = np.arange(rows, dtype=np.int64)
    for cells, at in zip(parts, places, strict=True):
        own = np.array(at)
        for request in np.unique(cells.requests):
            together = numbers[own[cells.requests == request]]
            numbers[np.isin(numbers, together)] = together.min()
    return numbers


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_requests_that_either_plan_joins(data: st.DataObject) -> None:
    rows = 9
    nothing = np.zeros((1, 1))
    clusters = PointClusters(np.zeros((1, 1), np.int64), np.ones((1, 1), np.int64))
    estimate = ClusteredEstimate(nothing[0], nothing[:, :, None], nothing, clusters, nothing[0])
    empty = FittedCells(estimate, nothing, np.zeros(0, np.int64), nothing, DIGEST)  # type: ignore[arg-type]
    parts, places = [], []
    for _ in range(2):
        at = data.draw(st.lists(st.integers(0, rows - 1), min_size=1, unique=True))
        requests = data.draw(st.lists(st.integers(0, 3), min_size=len(at), max_size=len(at)))
        parts.append(replace(empty, requests=np.array(requests)))
        places.append(at)
    assert (_joined(parts, places, rows) == joined_one_by_one(parts, places, rows)).all()
