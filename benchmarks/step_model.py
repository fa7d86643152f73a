"""What a decode step on a CUDA device costs, counted without one.

    python benchmarks/step_model.py
    python benchmarks/step_model.py --against ../older-checkout --record
    python benchmarks/step_model.py --models Llama-3.1-8B --segments 1 --details

The engine's own decode loop runs on torch's fake tensors (shapes and formats on the device
``cuda:0``, no numbers), at the public sizes of four models in bf16, with weights that hold
nothing: 256 rows under an 11,000-token prefix that they share in one segment, in 7, or in 39,
and 300 tokens of their own on average.  Counted are operators that start a kernel, the bytes
that they read and write (``step_models/counting.py`` says how), times the host waits for the
device, and tensors that it sends there.  Eight steps are averaged, from the eighth on.

*bound*: every weight once (of an embedding that is not the output layer, nothing), keys and
values of the shared tokens that any row sees once a layer, those of each row's own once, the
new ones written.  *plain*: a step of transformers' own generation with its dynamic cache, in
which each row re-reads its whole context; its attention counts as one operator.

A count is linear in the layers of a model, which recur, so it is taken at one and at two
periods of them and extended (``--whole`` runs all).  For models with experts all experts' weights
are read: 256 rows touch them all.

The second table is the real schedule's under the real estimate of memory: rows a batch at paper
shape, when draws are shared by 1 query, 20, or all.

Every measurement runs in a process of its own, so ``--against`` measures another checkout of
this project by the same code.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from recording import machine, markdown_table, replace_section

MODELS = ("Llama-3.1-8B", "OLMo-3-32B", "GPT-OSS-20B", "Gemma-4-31B")
SEGMENTS = (1, 7, 39)
BLOCKS = (1, 20, 0)
BOUNDS = (51, 25)
"""GiB that a batch may take: an 80 GB device with the model alone, or with a judge beside it."""
_HERE = Path(__file__).resolve()


def main() -> int:
    """Measure what the command line asks for."""
    arguments = _parse()
    if arguments.one:
        print(json.dumps(_measure_here(json.loads(arguments.one))))
        return 0
    builds = {"this build": _HERE.parents[1]}
    if arguments.against:
        builds["against"] = arguments.against
    steps = _step_lines(arguments, builds)
    rows = [] if arguments.no_schedules else _row_lines(arguments, builds)
    print("\n".join([*steps, "", *rows]))
    if arguments.record:
        _record(arguments, steps, rows)
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="What a decode step on a CUDA device costs.")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--segments", nargs="+", type=int, default=list(SEGMENTS))
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--prefix", type=int, default=11_000, help="shared tokens")
    parser.add_argument("--whole", action="store_true", help="run all layers")
    parser.add_argument("--details", action="store_true", help="print bytes by operator")
    parser.add_argument("--queries", type=int, default=20, help="queries that are scheduled")
    parser.add_argument("--no-schedules", action="store_true", help="leave out rows a batch")
    parser.add_argument("--against", type=Path, metavar="FOLDER", help="another checkout")
    parser.add_argument("--record", action="store_true", help="refresh RESULTS.md")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    return parser.parse_args()


def _measure_here(task: dict[str, Any]) -> dict[str, Any]:
    """Return one measurement of the package that this process imports."""
    import torch
    from step_models.measure import measure_ours, measure_plain
    from step_models.rows import measure_rows

    # Asked by transformers where it chooses products of experts; no device answers here.
    torch.cuda.get_device_capability = lambda *_: (9, 0)  # type: ignore[assignment]
    if task["what"] == "rows":
        return dict(measure_rows(task["block"], task["memory"], task["queries"]))
    measure = measure_ours if task["what"] == "ours" else measure_plain
    return measure(task["model"], task["shape"], task["layers"])


def _run(task: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return a measurement of a checkout, made in a process of its own."""
    command = [sys.executable, str(_HERE), "--one", json.dumps(task)]
    with tempfile.TemporaryDirectory() as links:
        if not (folder / "safety_receipts").is_dir():  # older checkouts are the package itself
            package = Path(links, "safety_receipts")
            package.mkdir()
            (package / "__init__.py").touch()
            for part in folder.iterdir():
                if part.is_dir():
                    (package / part.name).symlink_to(part.resolve())
            folder = Path(links)
        variables = {**os.environ, "PYTHONPATH": str(folder)}
        done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{folder}: {task}:\n{done.stderr[-3000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _step(what: str, model: str, segments: int, options: argparse.Namespace, folder: Path) -> Any:
    """Return a model's counts, extended from one and two periods of its layers."""
    from step_models.shapes import PERIODS, layers_of

    shape = {"rows": options.rows, "prefix": options.prefix, "segments": segments}
    task = {"what": what, "model": model, "shape": shape, "layers": None}
    print(f"{model}, {what}, {segments} segments, {folder.name}", file=sys.stderr, flush=True)
    if options.whole:
        return _run(task, folder)
    period, layers = PERIODS[model], layers_of(model)
    one = _run(task | {"layers": period}, folder)
    two = _run(task | {"layers": 2 * period}, folder)
    times = layers // period - 1
    found: dict[str, Any] = {
        key: one[key] + times * (two[key] - one[key])
        for key in ("bytes", "operators", "waits", "uploads", "bound")
        if key in one
    }
    if options.details:
        for name, (number, size) in two["by_operator"].items():
            first = one["by_operator"].get(name, [0, 0])
            whole = first[1] + times * (size - first[1])
            calls = first[0] + times * (number - first[0])
            print(f"    {name}: {calls:,.1f}, {whole / 1e9:.3f} GB", file=sys.stderr)
    return found


def _step_lines(options: argparse.Namespace, builds: dict[str, Path]) -> list[str]:
    columns = ["model", "segments", "bound, GB"]
    for name in builds:
        columns += [f"{name}, GB", "× bound", "operators", "waits", "uploads"]
    columns += ["plain, GB", "operators"]
    lines = []
    for model in options.models:
        plain = _step("plain", model, 1, options, _HERE.parents[1])
        for segments in options.segments:
            cells = [model, str(segments)]
            for name, folder in builds.items():
                found = _step("ours", model, segments, options, folder)
                if name == "this build":
                    cells.append(f"{found['bound'] / 1e9:.1f}")
                cells += [
                    f"{found['bytes'] / 1e9:.1f}",
                    f"{found['bytes'] / found['bound']:.2f}",
                    f"{found['operators']:,.0f}",
                    f"{found['waits']:.2f}",
                    f"{found['uploads']:.2f}",
                ]
            lines.append([*cells, f"{plain['bytes'] / 1e9:.1f}", f"{plain['operators']:,.0f}"])
    return markdown_table(columns, lines)


def _row_lines(options: argparse.Namespace, builds: dict[str, Path]) -> list[str]:
    columns = ["draw block", "memory"]
    for name in builds:
        columns += [f"rows a batch, {name}", "segments", "decode steps"]
    lines = []
    for block in BLOCKS:
        for gibibytes in BOUNDS:
            cells = [str(block or "all"), f"{gibibytes} GiB"]
            for folder in builds.values():
                task = {
                    "what": "rows",
                    "block": block,
                    "memory": gibibytes * 2**30,
                    "queries": options.queries,
                }
                found = _run(task, folder)
                cells += [
                    f"{found['rows']:g}",
                    f"{found['segments']:g}",
                    f"{found['steps']:,.0f}",
                ]
            lines.append(cells)
    return markdown_table(columns, lines)


def _record(options: argparse.Namespace, steps: list[str], rows: list[str]) -> None:
    import torch
    import transformers

    lines = [
        "## What a decode step costs, counted",
        "",
        "Counted on fake tensors for a CUDA device, not measured on one; by "
        "`benchmarks/step_model.py`, which says how.  "
        f"{options.rows} rows, {options.prefix:,} shared tokens, 300 own, bf16.",
        "",
        *steps,
    ]
    if rows:
        lines += [
            "",
            "Rows a batch (median) and decode steps of the preset's sweep, Llama-3.1-8B, bf16, "
            f"scheduled for {options.queries} queries and scaled to 1,404:",
            "",
            *rows,
        ]
    day = datetime.now(UTC).date()
    lines += [
        "",
        f"{day}, torch {torch.__version__}, transformers {transformers.__version__}; {machine()}.",
    ]
    replace_section("step_model", lines)


if __name__ == "__main__":
    raise SystemExit(main())
