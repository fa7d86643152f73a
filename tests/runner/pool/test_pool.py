"""Workers die, differ, answer twice: every part is answered once, or the pool says why not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from crew import Deaths, LongJob, Meddled, PlainRecipe, SquareJob

from safety_receipts.receipts.errors import (
    IncompleteError,
    IntegrityError,
    InternalError,
    UsageError,
)
from safety_receipts.runner.pool import pool as pools
from safety_receipts.runner.pool.messages import Did, Reply, Trouble
from safety_receipts.runner.pool.pool import ATTEMPTS, WorkerPool
from safety_receipts.runner.pool.processes import Processes

RECIPE = PlainRecipe()
PARTS = 12


def squares(pool: WorkerPool, job: SquareJob, parts: int = PARTS) -> dict[int, int]:
    """Return the squares of numbers, as a pool found them."""
    facts = pool.begin(job)
    assert job.unlike or facts == job.facts
    for number in range(parts):
        pool.submit(number, number)
    found = [pool.collect() for _ in range(parts)]
    assert len(dict(found)) == parts
    return {key: answer[0] for key, answer in found}


def deaths(folder: Path, *names: str, times: int = 1, late: bool = False) -> Deaths:
    folder.mkdir()
    return Deaths(folder, frozenset(names), times, late)


EXPECTED = {number: number * number for number in range(PARTS)}


def test_one_pool_takes_one_job_after_the_other() -> None:
    with WorkerPool(Processes(), RECIPE, 2) as pool:
        assert pool.open() == "plain"
        assert squares(pool, SquareJob()) == EXPECTED
        assert squares(pool, replace(SquareJob(), facts="other"), 3) == {0: 0, 1: 1, 2: 4}
        assert pool.replacements == 0


def test_all_workers_work_and_none_stays() -> None:
    with WorkerPool(Processes(), RECIPE, 3) as pool:
        pool.begin(SquareJob(seconds=0.02))
        for number in range(120):
            pool.submit(number, number)
        pids = {pool.collect()[1][1] for _ in range(120)}
    assert len(pids) == 3
    assert not any(map(_runs, pids))


@pytest.mark.parametrize("late", [False, True])
def test_whoever_dies_of_parts_or_after_them_is_replaced(tmp_path: Path, late: bool) -> None:
    fatal = deaths(tmp_path / "deaths", "part-0", "part-5", "part-10", late=late)
    told: list[str] = []
    with WorkerPool(Processes(), RECIPE, 2, told.append) as pool:
        assert squares(pool, SquareJob(fatal, seconds=0.1)) == EXPECTED
        assert fatal.happened == 3
        assert pool.replacements == len(told) >= (3 if not late else 1)
    assert "is replaced: it was ended by SIGKILL" in told[0]


def test_whoever_dies_while_loading_is_replaced(tmp_path: Path) -> None:
    fatal = deaths(tmp_path / "deaths", "loading-0", "loading-1")
    with WorkerPool(Processes(), replace(RECIPE, deaths=fatal), 2) as pool:
        assert squares(pool, SquareJob()) == EXPECTED
        # The second may not have been needed.
        assert 1 <= pool.replacements <= fatal.happened <= 2


def test_a_part_that_kills_three_workers_stops_the_pool(tmp_path: Path) -> None:
    fatal = deaths(tmp_path / "deaths", "part-1", times=100)
    with (
        WorkerPool(Processes(), RECIPE, 2) as pool,
        pytest.raises(IncompleteError, match="3 workers died of one part") as caught,
    ):
        squares(pool, SquareJob(fatal))
    assert fatal.happened == ATTEMPTS
    assert "go on" in str(caught.value.hint)


def test_a_worker_that_cannot_load_stops_the_pool(tmp_path: Path) -> None:
    fatal = deaths(tmp_path / "deaths", "loading-0", times=100)
    with (
        WorkerPool(Processes(), replace(RECIPE, deaths=fatal), 1) as pool,
        pytest.raises(IncompleteError, match="worker 0 died 3 times before it did anything"),
    ):
        pool.open()
    assert fatal.happened == ATTEMPTS


def test_a_worker_without_memory_is_replaced_and_then_given_up() -> None:
    with WorkerPool(Processes(), RECIPE, 1) as pool:
        pool.begin(SquareJob())
        pool.submit(0, "full")
        with pytest.raises(IncompleteError, match="its memory is full"):
            pool.collect()
        assert pool.replacements == ATTEMPTS - 1


def test_what_a_part_raises_is_its_answer_and_the_others_go_on() -> None:
    with WorkerPool(Processes(), RECIPE, 1) as pool:
        pool.begin(SquareJob())
        for key, part in enumerate(("refused", 3, "fault")):
            pool.submit(key, part)
        found = dict(pool.collect() for _ in range(3))
    refused, square, fault = (found[key] for key in range(3))
    assert isinstance(refused, Trouble)
    assert str(refused.error()) == "nothing can be squared (ask for another)"
    assert isinstance(refused.error(), IncompleteError)
    assert square[0] == 9
    assert isinstance(fault, Trouble)
    assert isinstance(fault.error(), InternalError)
    assert "ZeroDivisionError" in str(fault.error())
    assert "own words" not in str(fault.error())


def test_a_worker_of_another_identity_is_refused() -> None:
    """Whichever of them loads first."""
    with (
        WorkerPool(Processes(), replace(RECIPE, odd=(1, "2")), 2) as pool,
        pytest.raises(UsageError, match=r"worker \d has threads [12], and the first has [12]"),
    ):
        squares(pool, SquareJob(seconds=1.0))


def test_workers_that_cut_otherwise_are_refused() -> None:
    with (
        WorkerPool(Processes(), RECIPE, 2) as pool,
        pytest.raises(IntegrityError, match="other batches"),
    ):
        squares(pool, SquareJob(seconds=1.0, unlike=True))


def test_an_answer_that_comes_twice_counts_once() -> None:
    def twice(reply: Reply) -> Sequence[Reply]:
        return [reply, reply] if isinstance(reply, Did) else [reply]

    with WorkerPool(Meddled(twice), RECIPE, 2) as pool:
        assert squares(pool, SquareJob()) == EXPECTED


def test_an_answer_that_comes_again_and_otherwise_stops_the_pool() -> None:
    def otherwise(reply: Reply) -> Sequence[Reply]:
        if isinstance(reply, Did) and reply.key == 2:
            return [reply, replace(reply, result=(5, 0))]
        return [reply]

    with (
        WorkerPool(Meddled(otherwise), RECIPE, 1) as pool,
        pytest.raises(IntegrityError, match="part 2 was answered twice, and otherwise"),
    ):
        squares(pool, SquareJob())


def test_what_was_given_up_is_not_listened_to() -> None:
    with WorkerPool(Processes(), RECIPE, 1) as pool:
        pool.begin(SquareJob(seconds=0.2))
        for number in range(4):
            pool.submit(number, number + 100)
        assert squares(pool, SquareJob()) == EXPECTED


DRIVER = """\
import sys
from crew import PlainRecipe, SquareJob
from safety_receipts.runner.pool.pool import WorkerPool
from safety_receipts.runner.pool.processes import Processes
if __name__ == "__main__":
    with WorkerPool(Processes(), PlainRecipe(), 2) as pool:
        pool.begin(SquareJob(seconds=0.5))
        for number in range(8):
            pool.submit(number, number)
        pids = {pool.collect()[1][1] for number in range(8)}
        pool.begin(SquareJob(seconds=600))
        pool.submit(0, 0)
        pool.submit(1, 1)
        print(*pids, flush=True)
        pool.collect()
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_worker_outlives_its_driver(how: signal.Signals) -> None:
    """Whatever ends it, while they are in the middle of their parts."""
    path = os.pathsep.join(sys.path)
    with subprocess.Popen(
        [sys.executable, "-c", DRIVER],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": path},
        text=True,
    ) as driver:
        assert driver.stdout is not None
        pids = [int(word) for word in driver.stdout.readline().split()]
        assert len(pids) == 2
        driver.send_signal(how)
        driver.wait(60)
    deadline = time.monotonic() + 60
    while alive := [pid for pid in pids if _runs(pid)]:
        assert time.monotonic() < deadline, alive
        time.sleep(0.05)


def _runs(pid: int) -> bool:
    """Say whether a process runs: whoever takes it in when it has ended may take its time."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_leaving_ends_workers_in_the_middle_of_their_parts() -> None:
    began = time.monotonic()
    with WorkerPool(Processes(), RECIPE, 2) as pool:
        pool.begin(SquareJob(seconds=600))
        pool.submit(0, 1)
    assert time.monotonic() - began < 60


def test_people_are_told_once_of_a_worker_that_seems_to_hang(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pools, "QUIET", 0.1)
    heard: list[str] = []
    with WorkerPool(Processes(), RECIPE, 1, heard.append) as pool:
        pool.begin(SquareJob(seconds=2.3))  # twice as long as the pool listens at a time
        pool.submit(0, 3)
        assert pool.collect()[1][0] == 9
        assert pool.replacements == 0
    (said,) = heard
    assert "worker 0 (process " in said
    assert "none is answered yet; if it hangs, end it: another takes its place" in said


def test_a_worker_that_hangs_can_be_ended_and_its_part_is_answered_by_another(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(pools, "QUIET", 0.1)

    def end(said: str) -> None:
        if "if it hangs" in said:
            os.kill(int(said.partition("(process ")[2].partition(")")[0]), signal.SIGKILL)

    with WorkerPool(Processes(), PlainRecipe(), 1, end) as pool:
        pool.begin(SquareJob(hang=deaths(tmp_path / "hung", "part-3")))
        pool.submit(0, 3)
        assert pool.collect()[1][0] == 9
        assert pool.replacements == 1


def test_a_long_job_can_begin_while_a_long_answer_to_the_last_is_under_way() -> None:
    long = 4 * 2**20  # many times what a pipe holds
    with WorkerPool(Processes(), RECIPE, 1) as pool:
        pool.begin(LongJob(b"", long))
        pool.submit(0, 0)
        while not pool._members[0].link.pipe.poll(0.1):  # type: ignore[attr-defined]
            pass  # until its answer begins to come
        pool.begin(LongJob(b"j" * long, 1))
        pool.submit(0, 0)
        assert pool.collect() == (0, b"a")
