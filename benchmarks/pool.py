"""What sharing a run out to workers gains, and what it costs a point.

    python benchmarks/pool.py [--queries 64 512] [--repeats 3] [--record]

Workload L of ``benchmarks/engine.py``, and the same with more queries, cut to a small memory bound,
so that there are batches to share.  One thread everywhere.  Measured is what a run does between
rendering and recording, once its models are loaded: requests travel, batches are cut, generated,
read and judged.  In this process, in one worker and in two, in turn, so that other load on the
machine falls on all alike.
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
MEMORY = 192 * 2**20
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


def seconds_of(stack: Any, requests: Sequence[Any]) -> tuple[float, int, str]:
    """Return how long requests take, in how many batches, and all answers."""
    from safety_receipts.runner.engines.engine import GREEDY

    start = time.perf_counter()
    answers = stack.start(requests, ["asked"] * len(requests), GREEDY)
    found = list(answers.in_order(range(len(answers.batches))))
    spent = time.perf_counter() - start
    answers.close()
    return spent, len(answers.batches), repr(found)


def measure(folder: Path, queries: int, repeats: int) -> dict[str, Any]:
    """Return what a workload takes, in seconds, by number of workers."""
    from safety_receipts.runner.pool.pool import Pool
    from safety_receipts.runner.pool.processes import Processes
    from safety_receipts.runner.run.pooled.stack import PooledStack

    requests = requests_of(build(replace(SHAPES["L"], queries=queries)))
    found: dict[int, list[float]] = {number: [] for number in WORKERS}
    recipe, batches, expected = Recipe(folder), 0, None
    with ExitStack() as pools:
        stacks: dict[int, Any] = {0: recipe.stack()}
        for number in WORKERS[1:]:
            pool = pools.enter_context(Pool(Processes(), recipe, number))
            pool.open()
            stacks[number] = PooledStack(pool, stacks[0].identity)
        for stack in stacks.values():
            seconds_of(stack, requests[: 2 * len(WORKERS)])  # everything has been touched once
        for _ in range(repeats):
            for number, stack in stacks.items():
                seconds, batches, answers = seconds_of(stack, requests)
                expected = expected or answers
                if answers != expected:
                    raise RuntimeError(f"{number} workers give other answers")
                found[number].append(seconds)
                print(f"{queries} queries, {number} workers: {seconds:.2f} s", file=sys.stderr)
    return {"points": len(requests), "batches": batches, "seconds": found}


def gain(found: dict[str, Any]) -> tuple[list[float], list[float]]:
    """Return the gain of two workers against one, and a worker's cost against none, by repeat."""
    alone, one, two = (found["seconds"][number] for number in WORKERS)
    gains = [slow / fast for slow, fast in zip(one, two, strict=True)]
    costs = [pooled / own - 1 for pooled, own in zip(one, alone, strict=True)]
    return gains, costs


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
            gains, costs = gain(found)
            rows.append(
                (
                    f"{queries:,}",
                    f"{found['points']:,}",
                    str(found["batches"]),
                    *(spread(found["seconds"][number], ".1f") for number in WORKERS),
                    spread(gains),
                    spread([100 * cost for cost in costs], ".1f") + " %",
                )
            )
            middle = statistics.median(gains)
            verdicts.append(
                f"- {queries:,} queries: two workers {'at least' if middle >= GAIN else 'below'} "
                f"{GAIN} × one ({middle:.2f} ×); a worker's cost "
                f"{'under' if statistics.median(costs) < COST else 'not under'} a tenth of the "
                f"run's own ({100 * statistics.median(costs):.1f} %)."
            )
    head = (
        "queries",
        "points",
        "batches",
        "here, s",
        "1 worker, s",
        "2 workers, s",
        "2 : 1",
        "1 : here",
    )
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
                f"- Machine: {machine()}; one thread a process, other work on the same cores",
                f"- Workload L, fp32, memory bound {MEMORY // 2**20} MiB; medians [least–most] of "
                f"{options.repeats} runs in turn, models loaded before; answers are compared.",
                "",
                *lines,
            ],
        )


if __name__ == "__main__":
    main()
