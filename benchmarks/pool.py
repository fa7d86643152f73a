"""What sharing a run out to workers gains, and what it costs a point.

    python benchmarks/pool.py [--queries 64 512] [--repeats 3] [--record]

Workload L of ``benchmarks/engine.py``, and the same with more queries, cut to a small memory bound,
so that there are batches to share.  One thread everywhere.  Measured is what a run does between
rendering and recording, once its models are loaded: requests travel, batches are cut, generated,
read and judged.  In this process, in one worker and in two, in turn, so that other load on the
machine falls on all alike.  *Busy* is the processor's time of the busiest process: what the wall
clock would show on idle cores, but for what two processes take from each other's caches.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported, here and in the workers

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from engine_peers.ours import requests_of
from engine_peers.tiny_model import make_model
from engine_peers.workloads import SHAPES, build, text_of
from recording import machine, markdown_table, replace_section

from safety_receipts.runner.pool.messages import Opened
from safety_receipts.runner.prompts.responses import ResponseText

WORKERS = (0, 1, 2)
"""0: this process."""
MEMORY = 160 * 2**20
GAIN, COST = 1.7, 0.1
"""What is asked: two workers against one; the pool's cost of a point against the run's own."""


class Words:
    """Reads responses as the workload writes them."""

    def read(self, tokens: Sequence[int]) -> ResponseText:
        """Return a response's text."""
        return ResponseText(text_of(tokens), None)


@dataclass(frozen=True)
class Hand:
    """What a worker works with."""

    stack: Any


@dataclass(frozen=True)
class Recipe:
    """Loads the tiny model and the rule."""

    folder: Path
    settled: bool = True

    def after(self, facts: Any) -> Recipe:
        """Return the same."""
        return self

    def stack(self) -> Any:
        """Return engine, judge and reader."""
        from safety_receipts.receipts.model.checkpoint import Dtype
        from safety_receipts.runner.engines.load import load_model
        from safety_receipts.runner.engines.transformers_engine import TransformersEngine
        from safety_receipts.runner.judges.refusal_strings import RefusalStringsJudge
        from safety_receipts.runner.run.execute import RunStack

        loaded = load_model(self.folder, dtype=Dtype.FLOAT32, device="cpu")
        engine = TransformersEngine(loaded, memory=MEMORY)
        return RunStack(engine, RefusalStringsJudge(), None, Words())  # type: ignore[arg-type]

    def open(self, place: int) -> Opened:
        """Load it, in a worker."""
        from safety_receipts.runner.engines.identity import read_kernels

        return Opened(Hand(self.stack()), read_kernels(), None)


@dataclass(frozen=True)
class Spent:
    """What a run took."""

    wall: float
    """Seconds of the clock."""
    busy: float
    """Processor seconds of its busiest process."""


def cpu_seconds(pid: int) -> float:
    """Return the processor seconds that a process has taken."""
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def seconds_of(stack: Any, requests: Sequence[Any], pids: Sequence[int]) -> tuple[Spent, int, str]:
    """Return what requests take, in how many batches, and all answers."""
    from safety_receipts.runner.engines.engine import GREEDY

    before = [cpu_seconds(pid) for pid in pids]
    start = time.perf_counter()
    answers = stack.start(requests, ["asked"] * len(requests), GREEDY)
    found = [unit() for unit in answers.in_order(range(len(answers.batches)))]
    wall = time.perf_counter() - start
    busy = [cpu_seconds(pid) - old for pid, old in zip(pids, before, strict=True)]
    answers.close()
    return Spent(wall, max(busy)), len(answers.batches), repr(found)


def measure(folder: Path, queries: int, repeats: int) -> dict[str, Any]:
    """Return what a workload takes, in seconds, by number of workers."""
    from safety_receipts.runner.pool.pool import WorkerPool
    from safety_receipts.runner.pool.processes import Processes
    from safety_receipts.runner.run.pooled.stack import PooledStack

    requests = requests_of(build(replace(SHAPES["L"], queries=queries)))
    found: dict[int, list[Spent]] = {number: [] for number in WORKERS}
    recipe, batches, expected = Recipe(folder), 0, None
    with ExitStack() as pools:
        stacks: dict[int, Any] = {0: recipe.stack()}
        pids = {0: [os.getpid()]}
        for number in WORKERS[1:]:
            pool = pools.enter_context(WorkerPool(Processes(), recipe, number))
            pool.open()
            stacks[number] = PooledStack(pool, stacks[0].identity)
            pids[number] = [member.link.process.pid for member in pool._members]  # type: ignore[attr-defined]
        for number, stack in stacks.items():  # everything is touched once
            seconds_of(stack, requests[: 2 * len(WORKERS)], pids[number])
        for _ in range(repeats):
            for number, stack in stacks.items():
                spent, batches, answers = seconds_of(stack, requests, pids[number])
                expected = expected or answers
                if answers != expected:
                    raise RuntimeError(f"{number} workers give other answers")
                found[number].append(spent)
                print(f"{queries} queries, {number} workers: {spent}", file=sys.stderr)
    return {"points": len(requests), "batches": batches, "seconds": found}


def gains(found: dict[str, Any], of: str) -> tuple[list[float], list[float]]:
    """Return the gain of two workers against one, and a worker's cost against none, by repeat."""
    alone, one, two = ([getattr(s, of) for s in found["seconds"][number]] for number in WORKERS)
    gained = [slow / fast for slow, fast in zip(one, two, strict=True)]
    costs = [pooled / own - 1 for pooled, own in zip(one, alone, strict=True)]
    return gained, costs


def spread(values: list[float], form: str = ".2f") -> str:
    """Return a median with the least and the most."""
    return f"{statistics.median(values):{form}} [{min(values):{form}}–{max(values):{form}}]"


def main() -> None:
    """Measure, print, record."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--queries", type=int, nargs="+", default=[64, 512])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--record", action="store_true", help="write to RESULTS.md")
    options = parser.parse_args()
    rows, verdicts = [], []
    with tempfile.TemporaryDirectory() as name:
        make_model(Path(name) / "model")
        for queries in options.queries:
            found = measure(Path(name) / "model", queries, options.repeats)
            for of in ("wall", "busy"):
                gained, costs = gains(found, of)
                each = [[getattr(one, of) for one in found["seconds"][n]] for n in WORKERS]
                size = (f"{queries:,}", f"{found['points']:,}", str(found["batches"]), of)
                cost = spread([100 * one for one in costs], ".1f") + " %"
                rows.append((*size, *(spread(one, ".1f") for one in each), spread(gained), cost))
            middle, cost_ = statistics.median(gained), statistics.median(costs)
            verdicts.append(
                f"- {queries:,} queries, busy: two workers "
                f"{'at least' if middle >= GAIN else 'below'} {GAIN} × one ({middle:.2f} ×); a "
                f"worker's cost a point {'under' if cost_ < COST else 'not under'} a tenth of the "
                f"run's own ({100 * cost_:.1f} %)."
            )
    sizes = ("queries", "points", "batches", "seconds")
    head = (*sizes, "here", "1 worker", "2 workers", "2 : 1", "cost")
    lines = [*markdown_table(head, rows), "", *verdicts]
    print("\n".join(lines))
    if options.record:
        queries = " ".join(map(str, options.queries))
        replace_section(
            "pool",
            [
                "## A run shared out to workers",
                "",
                f"    python benchmarks/pool.py --queries {queries} --repeats {options.repeats} "
                "--record",
                "",
                f"- Date: {datetime.now(UTC):%Y-%m-%d}",
                f"- Machine: {machine()}; one thread a process",
                f"- Workload L, fp32, memory bound {MEMORY // 2**20} MiB; medians [least–most] of "
                f"{options.repeats} runs in turn, models loaded before; answers are compared.",
                "",
                *lines,
            ],
        )


if __name__ == "__main__":
    main()
