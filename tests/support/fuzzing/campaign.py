"""Many inputs in processes that are watched: time and memory of each input are bounded."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import inf
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import IO

from fuzzing.examine import Finding, examine
from fuzzing.inputs import DOCUMENTS, KINDS, Base, make_base, make_input

SECONDS = 10.0
"""An input that takes more processor time hangs, however busy the machine."""
WAITING = 60.0
"""So does one that takes more time without using the processor."""
BYTES = 10**9
"""A process that holds more is too large."""
_POLL = 0.1
_STARTING = 300.0
_MODELS = sorted(set(KINDS) - set(DOCUMENTS))


@dataclass
class Options:
    """What to examine."""

    seed: int
    numbers: Sequence[int]
    kinds: Sequence[str]
    jobs: int


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a campaign and return its exit code: 0, or 1 where something was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=1000, help="how many")
    parser.add_argument("--first", type=int, default=0, help="number of the first one")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1, help="processes; they change no input")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--only", type=int, help="one input, in this process, with tracebacks")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="fuzz-base-") as folder:
        base = make_base(Path(folder), models=not set(given.kinds).isdisjoint(_MODELS))
        if given.only is not None:
            os.environ["RECEIPTS_DEBUG"] = "1"
            found = examine(base, given.seed, given.only, given.kinds)
            _tell(found)
            return int(bool(found))
        numbers = range(given.first, given.first + given.inputs)
        started = time.monotonic()
        found = campaign(base, Options(given.seed, numbers, given.kinds, given.jobs))
    seconds = time.monotonic() - started
    print(f"{given.inputs:,} inputs, seed {given.seed}: {len(found):,} findings, {seconds:,.0f} s")
    for (what, kind), times in Counter((each.what[:160], each.kind) for each in found).items():
        print(f"{times:6} {kind}: {what}")
    return int(bool(found))


def campaign(base: Base, options: Options) -> list[Finding]:
    """Examine all inputs; findings are told as they come."""
    numbers: SimpleQueue[int] = SimpleQueue()
    for number in options.numbers:
        numbers.put(number)
    with ThreadPoolExecutor(options.jobs) as pool:
        parts = pool.map(lambda _: _serve(base, options, numbers), range(options.jobs))
        return [finding for part in parts for finding in part]


def _serve(base: Base, options: Options, numbers: SimpleQueue[int]) -> list[Finding]:
    found: list[Finding] = []
    worker: _Worker | None = None
    while True:
        try:
            number = numbers.get_nowait()
        except Empty:
            break
        worker = worker or _Worker(base, options)
        answer = worker.examine(number)
        if isinstance(answer, str):
            answer, worker = [_without_answer(base, options, number, answer)], None
        _tell(answer)
        found += answer
    if worker is not None:
        worker.stop()
    return found


def _without_answer(base: Base, options: Options, number: int, problem: str) -> Finding:
    """Return the finding of an input whose process did not answer."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        made = make_input(base, options.seed, number, Path(folder), options.kinds)
    commands = "; ".join(" ".join(words) for words in made.commands)
    return Finding(number, made.kind, problem, commands, "; ".join(made.notes))


def _tell(found: Iterable[Finding]) -> None:
    for each in found:
        print(f"input {each.number} ({each.kind}): {each.what}")
        print(f"    receipts {each.command}\n    changed: {each.notes[:300]}", flush=True)


class _Worker:
    """A process that examines one input after the other."""

    def __init__(self, base: Base, options: Options) -> None:
        path = [str(Path(__file__).parents[1]), str(Path(__file__).parents[3])]
        path += filter(None, [os.environ.get("PYTHONPATH")])
        words = ["-m", "fuzzing.worker", str(base.folder), str(options.seed), *options.kinds]
        self._process = subprocess.Popen(
            [sys.executable, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(path), "OMP_NUM_THREADS": "1"},
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in: IO[str] = self._process.stdin
        self._out: IO[str] = self._process.stdout
        if (problem := self._wait(_STARTING)) is not None:
            raise RuntimeError(f"the worker does not start: {problem}")
        self._out.readline()

    def examine(self, number: int) -> list[Finding] | str:
        """Return findings, or why there is no answer; the process is over then."""
        print(number, file=self._in, flush=True)
        problem = self._wait(WAITING, SECONDS)
        line = "" if problem else self._out.readline()
        if not line:
            self.stop()
            return problem or f"the process ended with {self._process.returncode}"
        return [Finding(**each) for each in json.loads(line)]

    def stop(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        for stream in (self._in, self._out):
            with contextlib.suppress(OSError):
                stream.close()

    def _wait(self, seconds: float, processor: float = inf) -> str | None:
        """Wait for a line; return what is wrong where none comes."""
        pid = self._process.pid
        end, most = time.monotonic() + seconds, _spent(pid) + processor
        while time.monotonic() < end:
            if (held := _resident(pid)) > BYTES:
                return f"holds {held / 1e6:,.0f} MB of memory"
            if select.select([self._out], [], [], _POLL)[0]:
                return None
            if _spent(pid) > most:
                return f"no end after {processor:.0f} s of processor time"
        return f"no end after {seconds:.0f} s"


def _spent(pid: int) -> float:
    """Return the processor time of a process in seconds; 0 where it cannot be known."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _resident(pid: int) -> int:
    """Return the resident memory of a process in bytes; 0 where it cannot be known."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text("utf-8").split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
