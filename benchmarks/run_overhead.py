"""What a run costs outside the engine: CPU seconds a point by stage, its model costing nothing.

    python benchmarks/run_overhead.py [--points 9920 87048] [--against FOLDER] [--record]

A plan of 31 conditions, two draws and as many queries as the points take is run from resolving to
the signed receipt.  The checkpoint is a tiny random Llama with an engine of its own, which cuts
the batches; what answers them is a stand-in that gives 256 tokens a response at once.  Prompts are
short: what rendering takes grows with them, and is reported apart.  Stages are timed from outside,
in the CPU time of the thread that does them; *entries* is what is left of the loop.

A second part has a stand-in that sleeps two milliseconds for each response, as a device works while
the program waits, and holds the wall clock of the loop against the sleep alone.

With ``--against`` another checkout of this project is measured in the same run, in turn; what the
two seal is compared.  Every measurement is a process of its own with one thread of linear algebra.

Exit code 1 if the two seal different evidence.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from overhead_parts.instant import InstantBatches, InstantEngine
from overhead_parts.study import NEW_TOKENS, write_study
from recording import machine, markdown_table, replace_section

ROOT = Path(__file__).parents[1]
BLOCKS = ("1", "20", "all")
SLOW_POINTS = 9_920
SLOW_SECONDS = 0.002
"""What the slow stand-in takes for a response."""
_MEMORY = 4 * 2**30
STAGES = ("schedule", "reading text", "judging", "entries", "journal", "sealing")
"""Stages outside the engine, in the order in which a point meets them; rendering is not one."""


@dataclass(frozen=True)
class Job:
    """One measurement."""

    points: int
    block: str
    """The plan's ``draw_block``."""
    seconds: float = 0.0
    """What the stand-in sleeps for each response."""


@dataclass(frozen=True)
class Overhead:
    """What was measured of a job."""

    stages: dict[str, float]
    """CPU seconds by stage, rendering and fitting the findings among them."""
    wall: float
    """Wall clock of the loop in seconds."""
    engine: float
    """Wall clock of the stand-in in seconds."""
    megabytes: float
    """Peak of resident memory in 10^6 bytes."""
    evidence: str
    """SHA-256 over all evidence lines and records, without what the run's secret decides."""

    @property
    def outside(self) -> float:
        """CPU seconds of all stages but rendering and fitting."""
        return sum(self.stages[name] for name in STAGES)


class Clock:
    """Adds up the CPU time of functions that are timed from outside."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}

    def wrap(self, owner: Any, name: str, stage: str, clock: Callable[[], float]) -> None:
        """Time a function of a module or class from here on.

        Args:
            owner: The module or class.
            name: The function's.
            stage: What its time is added to.
            clock: Of the thread, or of the process where a stage has threads of its own.
        """
        function = getattr(owner, name)

        def timed(*arguments: Any, **options: Any) -> Any:
            start = clock()
            try:
                return function(*arguments, **options)
            finally:
                self.spent[stage] = self.spent.get(stage, 0.0) + clock() - start

        setattr(owner, name, timed)


def measure(job: Job, folder: Path) -> Overhead:
    """Run a plan in this process, and say what it took."""
    from safety_receipts.receipts.keys import generate_key
    from safety_receipts.runner.engines.identity import set_threads
    from safety_receipts.runner.judges.refusal_strings import RefusalStringsJudge
    from safety_receipts.runner.plan.resolve import resolve_plan
    from safety_receipts.runner.prompts.responses import ResponseReader
    from safety_receipts.runner.run import event, seal
    from safety_receipts.runner.run.execute import Run, RunStack
    from safety_receipts.runner.run.journal import Journal
    from safety_receipts.runner.run.stack import load_stack

    set_threads(1)
    clock, walls = Clock(), []
    clock.wrap(event, "render", "rendering", time.process_time)
    clock.wrap(InstantEngine, "start", "schedule", time.thread_time)
    clock.wrap(InstantBatches, "collect", "stand-in", time.thread_time)
    clock.wrap(ResponseReader, "read", "reading text", time.thread_time)
    clock.wrap(RefusalStringsJudge, "judge_many", "judging", time.thread_time)
    clock.wrap(Journal, "add", "journal", time.thread_time)
    clock.wrap(seal, "fit", "fitting", time.process_time)
    clock.wrap(event, "seal_journal", "sealing", time.process_time)
    clock.wrap(Run, "execute", "loop", time.process_time)
    execute = Run.execute

    def watched(*arguments: Any, **options: Any) -> None:
        start = time.perf_counter()
        execute(*arguments, **options)
        walls.append(time.perf_counter() - start)

    Run.execute = watched  # type: ignore[method-assign]
    engines: list[InstantEngine] = []

    def load(resolved: Any, memory: int | None) -> Any:
        loaded = load_stack(resolved, device="cpu", memory=memory)
        engines.append(InstantEngine(loaded.stack.engine, job.seconds))
        stack = RunStack(engines[0], loaded.stack.judge, None, loaded.stack.reader)
        return event.LoadedStack(stack, loaded.memory)

    plan = write_study(folder, job.points, job.block)
    options = event.RunOptions(memory=_MEMORY)
    resolved, bundle = resolve_plan(plan), folder / "bundle"
    runner = event.EventRunner(resolved, bundle, generate_key(), options, load, _Silent())
    runner.run()
    spent = clock.spent
    inside = ("schedule", "stand-in", "reading text", "judging", "journal")
    spent["entries"] = spent.pop("loop") - sum(spent[name] for name in inside)
    spent["sealing"] -= spent["fitting"]
    del spent["stand-in"]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    return Overhead(spent, sum(walls), sum(engines[0].slept), peak, _evidence(bundle))


class _Silent:
    """Is told how a run goes on, and says nothing."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: None


def _evidence(bundle: Path) -> str:
    """Return a digest of what was sealed; salts, and what they decide, are another in every run."""
    from safety_receipts.receipts.bundle import Bundle

    digest = hashlib.sha256()
    sealed = Bundle(bundle)
    for line in sealed.lines(10**7):
        digest.update(json.dumps(json.loads(line) | {"commitment": ""}).encode())
    for line in sealed.response_lines():
        digest.update(json.dumps(json.loads(line) | {"salt": ""}).encode())
    return digest.hexdigest()


def _in_process(job: Job, tree: Path) -> Overhead:
    """Measure a job in a process of its own with a checkout's code."""
    environment = os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, __file__, "--measure", json.dumps(asdict(job))]
    done = subprocess.run(
        words, env=environment, cwd=tree, check=False, stdout=subprocess.PIPE, text=True
    )
    if done.returncode:
        sys.exit(f"a measurement ended with exit code {done.returncode} in {tree}")
    return Overhead(**json.loads(done.stdout.splitlines()[-1]))


def _row(job: Job, name: str, found: Overhead, before: Overhead | None) -> list[str]:
    """Return a row of the table; CPU time in µs a point."""
    scale = 1e6 / job.points
    cells = [f"{job.points:,}", job.block, name]
    cells += [f"{found.stages[stage] * scale:.0f}" for stage in STAGES]
    cells.append(f"{found.outside * scale:.0f}")
    cells.append("" if before is None else f"{found.outside / before.outside:.2f}")
    cells += [f"{found.stages['rendering'] * scale:.0f}", f"{found.stages['fitting']:.1f}"]
    return [*cells, f"{found.megabytes:.0f}"]


def _builds(against: Path | None) -> Iterator[tuple[str, Path]]:
    if against is not None:
        yield "before", against
    yield "now", ROOT


def _overheads(jobs: Sequence[Job], against: Path | None) -> tuple[list[list[str]], bool]:
    """Return the rows of the first table, and whether both builds seal the same."""
    rows, same = [], True
    for job in jobs:
        before: Overhead | None = None
        for name, tree in _builds(against):
            print(f"{job.points:,} points, draw_block {job.block}: {name}", file=sys.stderr)
            found = _in_process(job, tree)
            rows.append(_row(job, name, found, before))
            print(" | ".join(rows[-1]), file=sys.stderr, flush=True)
            same &= before is None or before.evidence == found.evidence
            before = found
    return rows, same


def _slow(points: int, against: Path | None) -> list[list[str]]:
    """Return the rows of the second table."""
    job, rows = Job(points, "20", SLOW_SECONDS), []
    for name, tree in _builds(against):
        print(f"an engine of 2 ms a point: {name}", file=sys.stderr, flush=True)
        found = _in_process(job, tree)
        ratio = f"{found.wall / found.engine:.3f}"
        rows.append([f"{points:,}", name, f"{found.engine:.1f}", f"{found.wall:.1f}", ratio])
    return rows


def main() -> int:
    """Measure, print, record; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--points", type=int, nargs="+", default=[9_920, 87_048])
    parser.add_argument("--draw-block", nargs="+", default=list(BLOCKS), choices=BLOCKS)
    parser.add_argument("--slow-points", type=int, default=SLOW_POINTS, help="0: leave it out")
    parser.add_argument("--against", type=Path, help="another checkout, measured as well")
    parser.add_argument("--record", action="store_true", help="write to RESULTS.md")
    parser.add_argument("--measure", metavar="JOB", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure is not None:
        with _scratch() as folder:
            print(json.dumps(asdict(measure(Job(**json.loads(options.measure)), folder))))
        return 0
    jobs = [Job(points, block) for points in options.points for block in options.draw_block]
    against = options.against and options.against.resolve()
    rows, same = _overheads(jobs, against)
    columns = ["points", "draw_block", "build", *STAGES, "all", "share", "rendering"]
    lines = [
        "## What a run costs outside the engine",
        "",
        f"    python benchmarks/run_overhead.py --points {' '.join(map(str, options.points))} "
        f"--draw-block {' '.join(options.draw_block)} --record",
        "",
        f"- Date: {datetime.now(UTC):%Y-%m-%d}",
        f"- Machine: {machine()}; one process at a time",
        f"- Python {platform.python_version()}; {NEW_TOKENS} tokens a response, refusal strings",
        "- CPU time in µs a point; fitting the findings, in seconds, is the same for any number",
        "",
        *markdown_table([*columns, "fitting, s", "MB"], rows),
    ]
    if against is not None:
        lines += ["", f"- Evidence and records: {'the same' if same else 'DIFFERENT'} in both."]
    if options.slow_points:
        lines += [
            "",
            f"An engine that takes {SLOW_SECONDS * 1000:.0f} ms a point, and leaves the processor "
            "alone:",
            "",
            *markdown_table(
                ("points", "build", "engine, s", "loop, s", "loop / engine"),
                _slow(options.slow_points, against),
            ),
        ]
    print("\n".join([*lines, ""]), flush=True)
    if options.record:
        replace_section("run_overhead", lines)
    return int(not same)


@contextmanager
def _scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="overhead-") as name:
        yield Path(name)


if __name__ == "__main__":
    sys.exit(main())
