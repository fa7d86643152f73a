"""Workers on a Ray cluster: nodes that go, actors that are killed, clusters that are not there."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from begun_runs import begin, rows
from crew import Deaths, PlainRecipe, SquareJob
from pooled_runs import BegunInWorkers

from safety_receipts.receipts.errors import IncompleteError, UsageError
from safety_receipts.runner.pool.pool import ATTEMPTS, WorkerPool
from safety_receipts.runner.run.execute import CommittedCounts

ray = pytest.importorskip("ray", reason="ray is not installed: make test-ray has it")

from ray.cluster_utils import Cluster as Nodes  # noqa: E402  # as above

from safety_receipts.runner.pool import cluster  # noqa: E402
from safety_receipts.runner.pool.cluster import Actor, ActorLink, Cluster  # noqa: E402
from safety_receipts.runner.pool.messages import Loaded, Open  # noqa: E402

pytestmark = [pytest.mark.long, pytest.mark.filterwarnings("default")]  # Ray's own warnings
PARTS = 12


@pytest.fixture(scope="module")
def head() -> Iterator[Any]:
    """A cluster whose head has no room."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # this test's own modules
        made = Nodes(
            initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}
        )
        yield made
        made.shutdown()


@pytest.fixture
def nodes(head: Any) -> Iterator[Any]:
    """The cluster, and two nodes of it with one core each."""
    both = [head.add_node(num_cpus=1) for _ in range(2)]
    yield head, both
    if ray.is_initialized():
        ray.shutdown()
    for node in both:
        if node in head.worker_nodes:
            head.remove_node(node, allow_graceful=False)


def places(made: Any, workers: int) -> Cluster:
    return Cluster(made.address, workers, threads=1, gpu=False)


def squares(
    pool: WorkerPool, job: SquareJob, parts: int = PARTS
) -> tuple[dict[int, int], set[int]]:
    """Return squares by number, and the processes that found them."""
    pool.begin(job)
    for number in range(parts):
        pool.submit(number, number)
    found = dict(pool.collect() for _ in range(parts))
    return {key: answer[0] for key, answer in found.items()}, {a[1] for a in found.values()}


EXPECTED = {number: number * number for number in range(PARTS)}


def test_parts_are_answered_on_both_nodes_and_nothing_stays(nodes: Any) -> None:
    made, _ = nodes
    before = {which: signal.getsignal(which) for which in (signal.SIGTERM, signal.SIGINT)}
    with WorkerPool(places(made, 2), PlainRecipe(), 2) as pool:
        assert {which: signal.getsignal(which) for which in before} == before
        pids: set[int] = set()
        deadline = time.monotonic() + 120
        while len(pids) < 2:  # one may have answered all before the other's process has begun
            assert time.monotonic() < deadline
            found, more = squares(pool, SquareJob(seconds=0.2))
            assert found == EXPECTED
            pids |= more
    assert not ray.is_initialized()
    assert {which: signal.getsignal(which) for which in before} == before
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_node_that_goes_takes_no_part_along(nodes: Any) -> None:
    """Its worker has no other place: the other one does its parts."""
    made, (one, _) = nodes
    with WorkerPool(places(made, 2), PlainRecipe(), 2) as pool:
        pool.begin(SquareJob(seconds=0.3))
        for number in range(PARTS):
            pool.submit(number, number)
        found = [pool.collect() for _ in range(3)]
        made.remove_node(one, allow_graceful=False)
        found += [pool.collect() for _ in range(PARTS - 3)]
    assert {key: answer[0] for key, answer in found} == EXPECTED


def test_an_actor_that_dies_before_it_is_anywhere_is_made_again(nodes: Any) -> None:
    """Ray places actors on a node that is dead, until it knows."""
    made, _ = nodes
    where, actors = places(made, 1), []

    def make() -> Any:
        actors.append(ray.remote(Actor).options(num_cpus=1, max_restarts=0).remote())
        if len(actors) < 3:
            ray.kill(actors[-1])
        return actors[-1]

    link = ActorLink(make)
    link.send(Open(PlainRecipe(), 0))
    replies: list[Any] = []
    while not replies:
        replies = [reply for _, reply in where.wait([link], 1.0)]
    assert [type(reply) for reply in replies] == [Loaded]
    assert len(actors) >= 3  # a busy machine's nodes can seem dead besides
    link.close()
    where.close()


def test_a_run_that_loses_a_node_seals_what_one_without_workers_does(
    nodes: Any, tmp_path: Path
) -> None:
    made, (one, _) = nodes
    (tmp_path / "study").mkdir()
    begun = begin(tmp_path / "study", BegunInWorkers)
    alone, folder = begun.alone(tmp_path / "alone"), begun.copied(tmp_path / "bundle")
    seen: list[CommittedCounts] = []

    def watch(what: CommittedCounts) -> None:
        seen.append(what)
        if len(seen) == 2:
            made.remove_node(one, allow_graceful=False)

    begun.in_workers(folder, 2, places=places(made, 2), watch=watch)
    assert rows(folder, "point") == rows(alone, "point")
    assert begun.root(folder) == begun.root(alone)


@pytest.mark.parametrize("late", [False, True])
def test_actors_that_are_killed_are_replaced(nodes: Any, tmp_path: Path, late: bool) -> None:
    made, _ = nodes
    fatal = Deaths(tmp_path, frozenset({"part-0", "part-7"}), late=late)
    with WorkerPool(places(made, 2), PlainRecipe(), 2) as pool:
        found, _ = squares(pool, SquareJob(fatal, seconds=0.2))
        assert found == EXPECTED
        assert fatal.happened == 2
        assert pool.replacements >= (1 if late else 2)


def test_a_part_that_kills_every_actor_stops_the_pool(nodes: Any, tmp_path: Path) -> None:
    """Ray would try it without end."""
    made, _ = nodes
    fatal = Deaths(tmp_path, frozenset({"part-1"}), times=100)
    with (
        WorkerPool(places(made, 2), PlainRecipe(), 2) as pool,
        pytest.raises(IncompleteError, match="3 workers died of one part"),
    ):
        squares(pool, SquareJob(fatal))
    assert fatal.happened == ATTEMPTS


def test_a_cluster_without_any_node_left_is_given_up(
    nodes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, both = nodes
    with WorkerPool(places(made, 2), PlainRecipe(), 2) as pool:
        pool.begin(SquareJob(seconds=0.3))
        monkeypatch.setattr(cluster, "CLUSTER_PATIENCE", 2.0)
        for node in both:
            made.remove_node(node, allow_graceful=False)
        for number in range(PARTS):
            pool.submit(number, number)
        with pytest.raises(IncompleteError, match="had no room for it"):
            collect(pool, PARTS)


def collect(pool: WorkerPool, parts: int) -> None:
    for _ in range(parts):
        pool.collect()


def test_a_cluster_that_is_too_small_or_not_there_is_refused(nodes: Any) -> None:
    made, _ = nodes
    with pytest.raises(UsageError, match=r"9 workers take 9 CPUs, and the cluster has \d"):
        places(made, 9)
    assert not ray.is_initialized()
    with pytest.raises(UsageError, match=r"no Ray cluster can be joined at 127.0.0.1:9:"):
        Cluster("127.0.0.1:9", 1, threads=1, gpu=False)
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
