"""A process that examines inputs: a number a line in, a line of findings out."""

from __future__ import annotations

import json
import os
import resource
import sys
import warnings
from dataclasses import asdict
from pathlib import Path

from fuzzing.examine import examine, run
from fuzzing.inputs import Base

MEMORY = 4 * 2**30
"""Bytes of address space: what asks for more at once gets an error, not the machine."""


def main() -> None:
    """Serve until stdin ends."""
    folder, seed, *kinds = sys.argv[1:]
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # whatever libraries print
    warnings.simplefilter("ignore")
    base = Base(Path(folder))
    # Loading what the commands need is no input's time.
    for plan in base.folder.glob("study/plan.yaml"):
        run(["plan", str(plan)])
    run(["verify", str(base.folder / "rich")])
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        found = examine(base, int(seed), int(line), kinds)
        print(json.dumps([asdict(each) for each in found]), file=answers, flush=True)


if __name__ == "__main__":
    main()
