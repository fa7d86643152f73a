"""What it costs to compare two bundles, and to show one, as conditions grow.

    python benchmarks/compare.py
    python benchmarks/compare.py --conditions 256 1024 4096 --baseline REVISION --record

For each size two synthetic bundles are sealed: a grid of harmful by benign demonstrations, 30
queries, one draw.  Then ``receipts compare --json`` and ``receipts show --json`` run on them, each
in a fresh process with one thread of linear algebra.  With ``--baseline`` the same commands run on
the same bundles from another revision's code as well, checked out into a temporary work tree, the
two side by side in one run; what they print is compared byte by byte.

CPU seconds are the user and system time of the process; memory is its own peak (``ru_maxrss``):
the process that measures imports nothing heavy, because Linux lets a child start from its
parent's peak.

Exit code 1 if the two print different bytes.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from math import ceil, sqrt
from pathlib import Path
from typing import TYPE_CHECKING

from recording import machine, markdown_table, replace_section

if TYPE_CHECKING:
    from safety_receipts.receipts.events.synthetic import Mixture

ROOT = Path(__file__).parents[1]
SIZES = (256, 1024, 4096)
QUERIES = 30
"""The fewest that a slope is tested with."""
COMMANDS = ("compare", "show")
BUNDLES = ("first", "second")


@dataclass(frozen=True)
class Cost:
    """What one command took, and what it printed."""

    cpu: float
    """User and system time, in seconds."""
    megabytes: float
    """Largest resident memory, in 10^6 bytes."""
    printed: bytes


@dataclass(frozen=True)
class Row:
    """One command at one size."""

    conditions: int
    command: str
    now: Cost
    before: Cost | None
    """Of the baseline; None where there is none."""

    @property
    def same(self) -> bool:
        """Whether both print the same."""
        return self.before is None or self.before.printed == self.now.printed


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, record; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--conditions", nargs="+", type=int, default=list(SIZES))
    parser.add_argument("--baseline", metavar="REVISION", help="a git revision to measure as well")
    parser.add_argument("--record", action="store_true", help="write to RESULTS.md")
    parser.add_argument("--seal", type=Path, metavar="FOLDER", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.seal is not None:
        seal(options.seal, options.conditions[0])
        return 0
    with tempfile.TemporaryDirectory(prefix="compare-") as folder, _tree(options.baseline) as tree:
        rows = [
            row for size in options.conditions for row in _measure(Path(folder) / str(size), tree)
        ]
    command = f"python benchmarks/compare.py --conditions {' '.join(map(str, options.conditions))}"
    if options.baseline:
        command += f" --baseline {options.baseline}"
    lines = [
        "## Comparing and showing many conditions",
        "",
        f"    {command} --record",
        "",
        f"- Date: {datetime.now(UTC):%Y-%m-%d}",
        f"- Machine: {machine()}; one process at a time, one thread",
        f"- Python {platform.python_version()}; numpy {version('numpy')}",
        f"- {QUERIES} queries, one draw, two bundles; every command in a process of its own",
        "",
        *markdown_table(*_table(rows, options.baseline)),
    ]
    print("\n".join([*lines, ""]), flush=True)
    if options.record:
        replace_section("compare", lines)
    return int(not all(row.same for row in rows))


def grid(conditions: int) -> list[Mixture]:
    """Return that many conditions: numbers of harmful by numbers of benign demonstrations."""
    from safety_receipts.receipts.events.synthetic import Mixture
    from safety_receipts.receipts.model.demonstrations import Ordering  # heavy: see above

    side = ceil(sqrt(conditions))
    found = [
        Mixture(harmful, benign, Ordering.SUFFIX if harmful and benign else None)
        for harmful in range(side)
        for benign in range(side)
    ]
    return found[:conditions]


def seal(folder: Path, conditions: int) -> None:
    """Seal two bundles of one grid; the plan's title tells them apart, and so the outcomes."""
    from safety_receipts.receipts.events.synthetic import synthetic_event, synthetic_plan
    from safety_receipts.receipts.keys import generate_key  # heavy: see above

    signer = generate_key()
    for name in BUNDLES:
        plan = synthetic_plan(grid(conditions), {"alpha": QUERIES}, draws=1)
        plan = plan.model_copy(update={"name": f"{plan.name}: {name}", "training_stage": name})
        synthetic_event(folder / name, plan, signer)


def _measure(folder: Path, baseline: Path | None) -> Iterator[Row]:
    conditions = int(folder.name)
    sealing = [sys.executable, __file__, "--seal", str(folder), "--conditions", folder.name]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run(sealing, check=True, env=environment)
    bundles = [folder / name for name in BUNDLES]
    for command in COMMANDS:
        words = [command, *bundles[: 2 if command == "compare" else 1], "--json"]
        print(f"{conditions} conditions: {command}", file=sys.stderr, flush=True)
        now = _run(ROOT, words)
        yield Row(conditions, command, now, None if baseline is None else _run(baseline, words))


def _run(tree: Path, words: Sequence[str | Path]) -> Cost:
    """Run a command from a work tree's code."""
    environment = os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, "-m", "safety_receipts", *map(str, words)],
        stdout=subprocess.PIPE,
        env=environment,
        cwd=tree,
    ) as process:
        assert process.stdout is not None
        printed = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{words[0]} ended with exit code {process.returncode} in {tree}")
    return Cost(usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e6, printed)


@contextmanager
def _tree(revision: str | None) -> Iterator[Path | None]:
    """Check a revision out into a temporary work tree."""
    if revision is None:
        yield None
        return
    git = ["git", "-C", str(ROOT), "worktree"]
    with tempfile.TemporaryDirectory(prefix="baseline-") as folder:
        tree = Path(folder) / "tree"
        subprocess.run([*git, "add", "--detach", str(tree), revision], check=True)
        try:
            yield tree
        finally:
            subprocess.run([*git, "remove", "--force", str(tree)], check=True)


def _table(rows: Sequence[Row], baseline: str | None) -> tuple[list[str], list[list[str]]]:
    columns = ["conditions", "command", "CPU-s", "MB"]
    if baseline is not None:
        columns += [f"CPU-s at {baseline}", "MB", "share of CPU", "output"]
    table = []
    for row in rows:
        cells = [f"{row.conditions:,}", row.command, f"{row.now.cpu:.1f}"]
        cells.append(f"{row.now.megabytes:.0f}")
        if row.before is not None:
            cells += [
                f"{row.before.cpu:.1f}",
                f"{row.before.megabytes:.0f}",
                f"{row.now.cpu / row.before.cpu:.3f}",
                "the same" if row.same else "DIFFERS",
            ]
        table.append(cells)
    return columns, table


if __name__ == "__main__":
    sys.exit(main())
