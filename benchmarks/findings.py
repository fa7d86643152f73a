"""What the findings' statistics are worth, on points simulated without a model.

    python benchmarks/findings.py [--part nulls coverage decoys published] [--repeats 1000]
                                  [--seed 1] [--jobs 1] [--record]

``nulls``: how often an effect is found where there is none, beside the tests as published;
``coverage``: how often 95 % intervals hold the truth; ``decoys``: what is said of populations
that look like an effect, or have one; ``published``: the published slopes in a receipt's words.
The generating models are in ``findings_models``; all statistics are the project's own.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy: matrices here are small

import numpy as np
from recording import machine, replace_section

sys.path.insert(0, str(Path(__file__).parents[1]))

from findings_models import coverage, decoys, nulls, published
from findings_models.repeats import Repeats

PARTS: dict[str, tuple[str, Callable[[Repeats], list[str]]]] = {
    "nulls": ("False positives of the findings", nulls.measure),
    "coverage": ("Coverage of the intervals", coverage.measure),
    "decoys": ("Words of the findings on known populations", decoys.measure),
    "published": ("Published slopes in a receipt's words", lambda _: published.measure()),
}
"""Title and function of each part."""


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, record."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--part", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--repeats", type=int, default=1000, help="studies of each row")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1, help="processes; they change no number")
    parser.add_argument("--record", action="store_true", help="write to RESULTS.md")
    options = parser.parse_args(arguments)
    repeats = Repeats(options.repeats, options.seed, options.jobs)
    for part in options.part:
        title, measure = PARTS[part]
        started = time.monotonic()
        lines = measure(repeats)
        seconds = time.monotonic() - started
        command = f"python benchmarks/findings.py --part {part}"
        if part != "published":
            command += f" --repeats {repeats.number} --seed {repeats.seed}"
        lines = [
            f"## {title}",
            "",
            f"    {command} --record",
            "",
            f"- Date: {datetime.now(UTC):%Y-%m-%d}",
            f"- Machine: {machine()}; processes: {repeats.jobs}, {seconds:.0f} s",
            f"- Python {platform.python_version()}; numpy {np.__version__}; simulated",
            "",
            *lines,
        ]
        print("\n".join([*lines, ""]), flush=True)
        if options.record:
            replace_section(f"findings_{part}", lines)


if __name__ == "__main__":
    main()
