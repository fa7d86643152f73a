"""What a decode step on a CUDA device costs, counted without one.

    python benchmarks/step_model.py
    python benchmarks/step_model.py --against ../older-checkout --record
    python benchmarks/step_model.py --models Llama-3.1-8B --segments 1 --details

The engine's own decode loop runs on torch's fake tensors (shapes and formats on the device
``cuda:0``, no numbers), at the public sizes of four models in bf16, with weights that hold
nothing: 256 rows under an 11,000-token prefix that they share in one segment, in 7, or in 39,
and 300 tokens of their own on average.  Counted are operators that start a kernel, the bytes
that they read and write (``step_models/counting.py`` says how), times the host waits for the
device, and tensors that it sends there.  Eight steps are averaged, from the eighth on; what comes
before leaves nothing but its room, so it is not computed.

*bound*: every weight once (of an embedding that is not the output layer, nothing), keys and
values of the shared tokens that any row sees once a layer, those of each row's own once, the
new ones written.  *plain*: a step of transformers' own generation with its dynamic cache, in
which each row re-reads its whole context; its attention counts as one operator.

A count is linear in the layers of a model, which recur, so it is taken at one and at two
periods of them and extended (``--whole`` runs all).  For models with experts all experts' weights
are read: 256 rows touch them all.

The second table is the real schedule's under the real estimate of memory: rows a batch at paper
shape, when draws are shared by 1 query, 20, or all.

``--against`` measures another checkout of this project by the same code, in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import torch
import transformers
from recording import machine, markdown_table, replace_section
from step_models.bounds import Measured, bound_lines
from step_models.measure import (
    OWN,
    StepCost,
    StepMeasure,
    StepShape,
    extended,
    measure_ours,
    measure_plain,
)
from step_models.rows import QUERIES, BatchRows, measure_rows
from step_models.shapes import SHAPES

SEGMENTS = (1, 7, 39)
BLOCKS = (1, 20, 0)
MEMORIES = (51, 25)
"""GiB that a batch may take: an 80 GB device with the model alone, or with a judge beside it."""
_ASSUMED = (
    "Keys that several sequences of one attention call read count once: that a device's cache "
    "serves the others is assumed, not measured."
)
THIS, AGAINST = "this build", "against"
_HERE = Path(__file__).resolve()


def main() -> int:
    """Measure what the command line asks for."""
    options = _parse()
    if options.json:  # in a process that imports the package of the checkout that is measured
        print(json.dumps(asdict(_measure_here(options))))
        return 0
    folders = {THIS: _HERE.parents[1]}
    if options.against:
        folders[AGAINST] = options.against.resolve()
    with ThreadPoolExecutor() as pool:  # counts do not depend on what else the machine does
        found = list(pool.map(_measure, folders.values()))
    builds = dict(zip(folders, found, strict=True))
    shape = StepShape(options.rows, options.prefix)
    plain = {name: _measure_step(measure_plain, name, shape, options) for name in options.models}
    if options.details:
        for name, one in builds.items():
            _print_details(name, one)
    steps, rows = _step_table(builds, plain), _row_table(builds)
    bounds = bound_lines(builds[THIS], builds.get(AGAINST))
    print("\n".join([*steps, "", *rows, *([""] if rows else []), *bounds]))
    if options.record:
        _record(options, steps, rows, bounds)
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="What a decode step on a CUDA device costs.")
    parser.add_argument("--models", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--segments", nargs="+", type=int, default=list(SEGMENTS))
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--prefix", type=int, default=11_000, help="shared tokens")
    parser.add_argument("--whole", action="store_true", help="run all layers")
    parser.add_argument("--details", action="store_true", help="print bytes by operator")
    parser.add_argument("--queries", type=int, default=40, help="queries that are scheduled")
    parser.add_argument("--no-schedules", action="store_true", help="leave out rows a batch")
    parser.add_argument("--against", type=Path, metavar="FOLDER", help="another checkout")
    parser.add_argument("--record", action="store_true", help="refresh RESULTS.md")
    parser.add_argument("--json", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def _measure(folder: Path) -> Measured:
    """Return what a checkout costs, measured by this script in a process of its own."""
    command = [sys.executable, str(_HERE), *sys.argv[1:], "--json"]
    variables = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run(
        command, env=variables, stdout=subprocess.PIPE, text=True, check=False, cwd=folder
    )
    if done.returncode:
        raise SystemExit(f"{folder}: the measurement ended with exit code {done.returncode}")
    return Measured.from_json(json.loads(done.stdout.splitlines()[-1]))


def _measure_here(options: argparse.Namespace) -> Measured:
    """Return what the package that this process imports costs."""
    steps: dict[str, dict[int, StepCost]] = {}
    for name in options.models:
        for segments in options.segments:
            print(f"{name}, {segments} segments, {Path.cwd().name}", file=sys.stderr, flush=True)
            shape = StepShape(options.rows, options.prefix, segments)
            cost = _measure_step(measure_ours, name, shape, options)
            steps.setdefault(name, {})[segments] = cost
    rows: dict[int, dict[int, BatchRows]] = {}
    for block in () if options.no_schedules else BLOCKS:
        print(f"draw_block {block or 'all'}, {Path.cwd().name}", file=sys.stderr, flush=True)
        rows[block] = {gib: measure_rows(block, gib * 2**30, options.queries) for gib in MEMORIES}
    return Measured(steps, rows)


def _measure_step(
    measure: StepMeasure, name: str, shape: StepShape, options: argparse.Namespace
) -> StepCost:
    return measure(name, shape, None) if options.whole else extended(measure, name, shape)


def _step_table(builds: dict[str, Measured], plain: dict[str, StepCost]) -> list[str]:
    columns = ["model", "segments", "bound, GB"]
    for build in builds:
        columns += [f"{build}, GB", "× bound", "operators", "waits", "uploads"]
    columns += ["plain, GB", "operators"]
    lines = []
    for name, steps in builds[THIS].steps.items():
        for segments, this in steps.items():
            cells = [name, str(segments), f"{this.bound / 1e9:.1f}"]
            for one in (build.steps[name][segments] for build in builds.values()):
                cells += [f"{one.bytes / 1e9:.1f}", f"{one.bytes / one.bound:.2f}"]
                cells += [f"{one.operators:,.0f}", f"{one.waits:.2f}", f"{one.uploads:.2f}"]
            beside = plain[name]
            lines.append([*cells, f"{beside.bytes / 1e9:.1f}", f"{beside.operators:,.0f}"])
    return [*markdown_table(columns, lines), "", _ASSUMED]


def _row_table(builds: dict[str, Measured]) -> list[str]:
    if not builds[THIS].rows:
        return []
    columns = ["draw block", "memory"]
    for build in builds:
        columns += [f"rows a batch, {build}", "segments", "decode steps"]
    lines = []
    for block, by_memory in builds[THIS].rows.items():
        for gib in by_memory:
            cells = [str(block or "all"), f"{gib} GiB"]
            for one in (build.rows[block][gib] for build in builds.values()):
                cells += [f"{one.rows:g}", f"{one.segments:g}", f"{one.steps:,.0f}"]
            lines.append(cells)
    return markdown_table(columns, lines)


def _print_details(build: str, found: Measured) -> None:
    for name, steps in found.steps.items():
        for segments, cost in steps.items():
            print(f"{build}, {name}, {segments} segments:", file=sys.stderr)
            for operator, (number, size) in cost.by_operator.items():
                print(f"    {operator}: {number:,.1f}, {size / 1e9:.3f} GB", file=sys.stderr)


def _record(options: argparse.Namespace, *parts: list[str]) -> None:
    steps, rows, bounds = parts
    lines = [
        "## What a decode step costs, counted",
        "",
        "Counted on fake tensors for a CUDA device, not measured on one; by "
        "`benchmarks/step_model.py`, which says how.  "
        f"{options.rows} rows, {options.prefix:,} shared tokens, {OWN} own, bf16.",
        "",
        *steps,
    ]
    if rows:
        lines += [
            "",
            "Rows a batch (median) and decode steps of the preset's sweep, Llama-3.1-8B, bf16, "
            f"scheduled for {options.queries} queries and scaled to {QUERIES:,}:",
            "",
            *rows,
        ]
    day = datetime.now(UTC).date()
    versions = f"torch {torch.__version__}, transformers {transformers.__version__}"
    replace_section("step_model", [*lines, "", *bounds, "", f"{day}, {versions}; {machine()}."])


if __name__ == "__main__":
    raise SystemExit(main())
