"""What a server's HTTP costs, and what it gains to ask in the order of the prefix tree.

    python benchmarks/servers.py [--part http order] [--repeats 3] [--small] [--record]

The tiny random model of ``benchmarks/engine.py``, in fp32, behind vLLM (``make servers``).

- *HTTP*: workload S asked by this project's engine over the server's HTTP, against vLLM's own
  ``LLM.generate`` on the same token ids: most sequences at a time, blocks, memory of the cache,
  number format and threads are the same, and so is the process in which it computes: the one that
  schedules (``VLLM_ENABLE_V1_MULTIPROCESSING=0``).  Then against a server as vLLM starts it by
  default, whose scheduler waits for a process of its own by asking without pause, which takes one
  of two cores.  The two take turns, from an empty cache each time.
- *Order*: prompts of workload S's kind, of more draws, asked in the tree's order and in random
  orders, by turns, from an empty cache each time.  The cache holds what one draw's demonstrations
  and the requests in flight take, and a part of what all draws take (``CACHED``): as in a study
  with more lists of demonstrations than the server's memory holds.

*Busy* is the processor's time of the busiest process, which of a server's is the one that
computes: what the clock would show on idle cores, for client, HTTP and computing run side by side.
Tokens computed are the server's own count: prompt tokens less those that it found in its cache.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from engine_peers.ours import requests_of
from engine_peers.resident import Resident, common_environment
from engine_peers.tiny_model import make_model
from engine_peers.vllm_peer import MOST_SEQUENCES, SMALLEST_BLOCK
from engine_peers.workloads import (
    CONTEXT,
    END_OF_TEXT,
    SHAPES,
    VOCABULARY,
    WARM_UP,
    Shape,
    Workload,
    build,
    write,
)
from recording import machine, markdown_table, replace_section

from safety_receipts.receipts.model.checkpoint import Dtype
from safety_receipts.receipts.model.plan import PlannedServer, ServerDialect
from safety_receipts.runner.engines.answers import in_order
from safety_receipts.runner.engines.engine import GREEDY, Request
from safety_receipts.runner.engines.served.client import Patience, ServerClient
from safety_receipts.runner.engines.served.generation import UNIT, ServedGeneration, units_of
from safety_receipts.runner.engines.served.http_engine import HttpEngine, ServedModel
from safety_receipts.runner.engines.served.launch import ServerCommand, StartedServer
from safety_receipts.runner.engines.served.role import ServerRole

ROOT = Path(__file__).parent.parent
PATIENCE = Patience(seconds=600.0, attempts=1)
MEMORY = 2**30
"""Bytes of keys and values, where all of them fit."""
TOKEN_BYTES = 4 * 2 * 4 * 32 * 4
"""Layers, keys and values, their heads, numbers of a head, bytes of a number: the tiny model's."""
DRAWS = 8
CACHED = 0.35
"""Share of the prompts' distinct tokens that the small cache holds."""
IN_FLIGHT = 16
"""Requests at a time in the second part: what a plan has by default."""
WAITING = 2 * MOST_SEQUENCES
"""Requests at a time in the first part: some always wait, so that the server's batch stays full."""
SPEED, GAIN = 0.8, 1.2
"""What is asked: the speed over HTTP by the offline one, the tree's order by random ones."""
LAYOUTS = {"HTTP": "0", "HTTP, a process to compute": "1"}
"""Servers of the first part, and what tells vLLM whether its scheduler has a process to compute."""
_LAYOUT = "VLLM_ENABLE_V1_MULTIPROCESSING"
PARTS = ("http", "order")
ORDERS = ("tree", "random")
ORDER = replace(SHAPES["S"], draws=DRAWS, queries=SHAPES["S"].queries * 2 // DRAWS)
"""As many prompts as workload S, of more draws."""


@dataclass(frozen=True)
class Asked:
    """What it took to have all requests answered."""

    seconds: float
    client: float
    """Processor seconds of this process: the client."""
    busy: float
    """Processor seconds of the server's busiest process."""
    others: float
    """Processor seconds of its other processes."""
    computed: int | None
    """Prompt tokens that the server computed; None: it does not say."""
    outputs: list[tuple[int, ...]]


@dataclass
class Turns:
    """What both ways took, turn by turn."""

    offline: list[float] = field(default_factory=list)
    """Seconds of the offline one."""
    alone: list[float] = field(default_factory=list)
    """Processor seconds of its process."""
    served: list[Asked] = field(default_factory=list)
    """What the server took."""
    equal: list[int] = field(default_factory=list)
    """How many responses are the same."""

    def add(self, report: dict[str, Any], asked: Asked) -> None:
        """Note a turn."""
        self.offline.append(report["seconds"])
        self.alone.append(report["busy"])
        self.served.append(asked)
        pairs = zip(asked.outputs, report["outputs"], strict=True)
        self.equal.append(sum(list(own) == other for own, other in pairs))

    @property
    def speeds(self) -> list[float]:
        """Seconds offline by seconds over HTTP."""
        return [own / one.seconds for own, one in zip(self.offline, self.served, strict=True)]

    @property
    def busy_speeds(self) -> list[float]:
        """The same of the busiest processes' time."""
        pairs = zip(self.alone, self.served, strict=True)
        return [own / max(one.busy, one.client) for own, one in pairs]


@dataclass
class Server:
    """vLLM's server, started by the product's own code, and the engine that asks it."""

    url: str
    engine: HttpEngine
    counts: bool
    """Whether it counts what it finds in its cache."""
    process: int
    """Of its processes."""

    def ask(self, requests: Sequence[Request], order: random.Random | None = None) -> Asked:
        """Have requests answered from an empty cache, in the tree's order or in a random one.

        Raises:
            RuntimeError: A request failed, or the cache could not be emptied.
        """
        reset = ServerClient(self.url, PATIENCE).post("/reset_prefix_cache", {}, 0)
        if reset != {"success": True}:
            raise RuntimeError("the prefix cache could not be emptied")
        units = units_of(requests)
        if order is not None:
            places = [place for unit in units for place in unit]
            order.shuffle(places)
            units = [places[start : start + UNIT] for start in range(0, len(places), UNIT)]
        before, computed = self._computed(), None
        spent = cpu_seconds(self.process)
        start, client = time.perf_counter(), time.process_time()
        with closing(self._generation(requests, units)) as generation:
            answers = list(in_order(generation, range(len(units))))
        seconds, client = time.perf_counter() - start, time.process_time() - client
        more = sorted(now - spent.get(pid, 0.0) for pid, now in cpu_seconds(self.process).items())
        if before is not None:
            computed = round((self._computed() or 0) - before)
        found = {one.key: one for answer in answers for one in answer.completions}
        failed = next((one for one in found.values() if one.error is not None), None)
        if failed is not None:
            raise RuntimeError(f"request {failed.key} failed: {failed.error}")
        outputs = [found[one.key].tokens for one in requests]
        return Asked(seconds, client, more[-1], sum(more[:-1]), computed, outputs)

    def _generation(self, requests: Sequence[Request], units: list[list[int]]) -> ServedGeneration:
        return ServedGeneration(
            requests,
            units,
            lambda request, stopped: self.engine._answer(request, GREEDY, stopped),
            workers=self.engine.identity.server.concurrency,  # type: ignore[union-attr]
        )

    def _computed(self) -> float | None:
        """Return the prompt tokens that it has computed since it started."""
        if not self.counts:
            return None
        with urlopen(f"{self.url}/metrics", timeout=60) as answer:
            text = answer.read().decode()
        asked, found = (
            sum(map(float, re.findall(rf"^vllm:prefix_cache_{name}_total\S* (\S+)$", text, re.M)))
            for name in ("queries", "hits")
        )
        return asked - found


def cpu_seconds(root: int) -> dict[int, float]:
    """Return the processor seconds that a process and those under it have taken, by their ids."""
    parents, seconds = {}, {}
    for place in Path("/proc").iterdir():
        with suppress(OSError):
            if place.name.isdecimal():
                fields = (place / "stat").read_text("utf-8").rpartition(")")[2].split()
                ticks = int(fields[11]) + int(fields[12])
                parents[int(place.name)] = int(fields[1])
                seconds[int(place.name)] = ticks / os.sysconf("SC_CLK_TCK")
    under = {root}
    while more := {pid for pid, parent in parents.items() if parent in under} - under:
        under |= more
    return {pid: seconds[pid] for pid in under & seconds.keys()}


@contextmanager
def served(
    folder: Path, *, context: int, memory: int, concurrency: int, counts: bool
) -> Iterator[Server]:
    """Start the server, and stop it."""
    arguments = (
        *("--max-model-len", str(context), "--max-num-seqs", str(MOST_SEQUENCES)),
        *("--block-size", str(SMALLEST_BLOCK), "--enable-prefix-caching"),
        *("--kv-cache-memory-bytes", str(memory), *([] if counts else ["--disable-log-stats"])),
    )
    command = ServerCommand(ServerDialect.VLLM, folder, None, Dtype.FLOAT32, "tiny", arguments)
    with closing(StartedServer(command)) as started:
        planned = PlannedServer(
            dialect=ServerDialect.VLLM,
            model="tiny",
            started=True,
            arguments=arguments,
            concurrency=concurrency,
        )
        model = ServedModel(VOCABULARY, context, Dtype.FLOAT32, frozenset({END_OF_TEXT}), GREEDY)
        engine = HttpEngine(ServerClient(started.url, PATIENCE), planned, model)
        server = Server(started.url, engine, counts, started._process.pid)
        server.ask(requests_of(build(WARM_UP)))
        yield server


def measure_http(root: Path, shape: Shape, options: argparse.Namespace) -> dict[str, Any]:
    """Return the seconds of both ways by layout, and how many responses are the same."""
    workload = build(shape)
    file, requests = root / "workload.json", requests_of(workload)
    write(workload, file)
    write(build(WARM_UP), root / "warm-up.json")
    python = options.program.parent / "python"
    space = {"VLLM_CPU_KVCACHE_SPACE": str(MEMORY // 2**30)}
    offline = Resident("vllm", root, root, options.threads, python=python, more=space)
    layouts: dict[str, Turns] = {}
    with closing(offline):
        for name, layout in LAYOUTS.items():
            layouts[name] = turns = Turns()
            with (
                _variable(_LAYOUT, layout),
                served(
                    root / "model",
                    context=CONTEXT,
                    memory=MEMORY,
                    concurrency=WAITING,
                    counts=False,
                ) as server,
            ):
                for _ in range(options.repeats):
                    report = offline.run(file, MOST_SEQUENCES)
                    asked = server.ask(requests)
                    turns.add(report, asked)
                    say(f"offline {report['seconds']:.2f} s, {name} {asked.seconds:.2f} s")
    return {"workload": workload, "layouts": layouts}


def measure_order(root: Path, shape: Shape, options: argparse.Namespace) -> dict[str, Any]:
    """Return what both orders take, and how large the cache was."""
    workload = build(shape)
    requests = requests_of(workload)
    longest = max(map(len, (one.tokens for one in requests))) + shape.new_tokens
    context = -(-longest // SMALLEST_BLOCK) * SMALLEST_BLOCK
    tokens = max(round(CACHED * workload.unique_tokens), 2 * context)
    found: dict[str, list[Asked]] = {"tree": [], "random": []}
    with served(
        root / "model",
        context=context,
        memory=tokens * TOKEN_BYTES,
        concurrency=IN_FLIGHT,
        counts=True,
    ) as server:
        for turn in range(options.repeats):
            found["tree"].append(server.ask(requests))
            found["random"].append(server.ask(requests, random.Random(turn)))
            tree, other = found["tree"][-1], found["random"][-1]
            say(f"tree {tree.seconds:.2f} s, random {other.seconds:.2f} s")
    return {"workload": workload, "cached": tokens, **found}


@contextmanager
def _variable(name: str, value: str) -> Iterator[None]:
    """Set an environment variable for a while."""
    before = os.environ[name]
    os.environ[name] = value
    try:
        yield
    finally:
        os.environ[name] = before


def say(text: str) -> None:
    """Tell how it goes."""
    print(text, file=sys.stderr, flush=True)


def spread(values: Sequence[float], form: str = ".2f") -> str:
    """Return a median with the least and the most."""
    return f"{statistics.median(values):{form}} [{min(values):{form}}–{max(values):{form}}]"


def described(workload: Workload) -> str:
    """Return a workload in a line."""
    shape = workload.shape
    return (
        f"{shape.queries} queries × {shape.draws} draws × "
        f"{{{', '.join(map(str, shape.demonstrations))}}} demonstrations, {shape.new_tokens} new "
        f"tokens: {len(workload.prompts)} prompts, {workload.prompt_tokens:,} prompt tokens, "
        f"{workload.unique_tokens:,} distinct"
    )


def http_lines(found: dict[str, Any]) -> list[str]:
    """Return what the first part says."""
    layouts: dict[str, Turns] = found["layouts"]
    prompts = len(found["workload"].prompts)
    rows, verdicts = [], []
    for name, turns in layouts.items():
        rows += [
            ("LLM.generate", spread(turns.offline), "1", spread(turns.alone), "1", "–", "–"),
            (
                name,
                spread([one.seconds for one in turns.served]),
                spread(turns.speeds),
                spread([one.busy for one in turns.served]),
                spread(turns.busy_speeds),
                spread([one.others for one in turns.served]),
                spread([one.client for one in turns.served]),
            ),
        ]
        middle = statistics.median(turns.speeds)
        verdicts.append(
            f"- {name}: at least {SPEED} × as fast as offline: "
            f"{'met' if middle >= SPEED else 'NOT met'} ({middle:.2f} ×; busy "
            f"{statistics.median(turns.busy_speeds):.2f} ×); responses that are the same: "
            f"{min(turns.equal)} of {prompts}."
        )
    head = ("vLLM", "seconds", "speed", "busy", "speed", "server's others, CPU-s", "client, CPU-s")
    return [
        f"{described(found['workload'])}; {WAITING} requests at a time.",
        "",
        *markdown_table(head, rows),
        "",
        *verdicts,
    ]


def order_lines(found: dict[str, Any]) -> list[str]:
    """Return what the second part says."""
    workload: Workload = found["workload"]
    gains = [
        other.seconds / tree.seconds
        for tree, other in zip(found["tree"], found["random"], strict=True)
    ]
    middle = statistics.median(gains)
    rows = [
        (
            name,
            spread([one.seconds for one in found[name]]),
            spread([one.computed or 0 for one in found[name]], ",.0f"),
        )
        for name in ORDERS
    ]
    same = sum(a == b for a, b in zip(*(found[n][0].outputs for n in ORDERS), strict=True))
    return [
        f"{described(workload)}; a cache of {found['cached']:,} tokens, {IN_FLIGHT} requests at a "
        "time.",
        "",
        *markdown_table(("order", "seconds", "prompt tokens computed"), rows),
        "",
        f"- The tree's order at least {GAIN} × as fast as random ones: "
        f"{'met' if middle >= GAIN else 'NOT met'} ({spread(gains)} ×).",
        f"- Responses that are the same: {same} of {len(workload.prompts)}.",
    ]


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--part", choices=PARTS, nargs="+", default=PARTS)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--queries", type=int, help="fewer or more than workload S has")
    parser.add_argument("--threads", type=int, default=1, help="of vLLM, both ways (default: 1)")
    parser.add_argument(
        "--program",
        type=Path,
        default=ROOT / ".venv-vllm" / "bin" / "vllm",
        help="vLLM's program (default: that of `make servers`)",
    )
    parser.add_argument("--small", action="store_true", help="tiny sizes, to try the script")
    parser.add_argument("--record", action="store_true", help="write to RESULTS.md")
    options = parser.parse_args()
    if not options.program.exists():
        parser.error(f"{options.program} is missing: make servers")
    return options


def shapes(options: argparse.Namespace) -> tuple[Shape, Shape]:
    """Return the workloads of both parts."""
    first, second = SHAPES["S"], ORDER
    if options.queries is not None:
        first = replace(first, queries=options.queries)
        second = replace(second, queries=max(1, options.queries * 2 // DRAWS))
    if options.small:
        small: dict[str, Any] = {"demonstrations": (0, 4), "queries": 4, "new_tokens": 8}
        first, second = replace(first, **small), replace(second, **small)
    return first, second


def _emptied(program: Path, folder: Path) -> Path:
    """Return vLLM's program with the leave to empty its cache, which the tool passes to none."""
    path = folder / "vllm"
    path.write_text(f'#!/bin/sh\nVLLM_SERVER_DEV_MODE=1 exec {program} "$@"\n', "utf-8")
    path.chmod(0o755)
    return path


def main() -> None:
    """Measure, print, record."""
    options = parse()
    first, second = shapes(options)
    lines: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        make_model(root / "model")
        # What the server is started with is what the offline process has.
        os.environ |= common_environment(options.threads, root) | {
            ServerRole.ENGINE.program: str(_emptied(options.program, root)),
        }
        for unwanted in ("VLLM_CPU_KVCACHE_SPACE", "PYTHONPATH"):
            del os.environ[unwanted]
        if "http" in options.part:
            lines += ["### HTTP", "", *http_lines(measure_http(root, first, options)), ""]
        if "order" in options.part:
            found = order_lines(measure_order(root, second, options))
            lines += ["### Order of requests", "", *found, ""]
    print("\n".join(lines[:-1]))
    if options.record:
        record(options, lines[:-1])


def record(options: argparse.Namespace, lines: list[str]) -> None:
    """Put this benchmark's section into RESULTS.md."""
    queries = "" if options.queries is None else f" --queries {options.queries}"
    packages = ("vllm-cpu", "torch", "transformers")
    script = f"from importlib.metadata import version as v; print(*map(v, {packages}))"
    python = options.program.parent / "python"
    asked = subprocess.run([python, "-c", script], check=True, capture_output=True, text=True)
    named = ", ".join(map(" ".join, zip(packages, asked.stdout.split(), strict=True)))
    replace_section(
        "servers",
        [
            "## A model behind a server",
            "",
            f"    python benchmarks/servers.py --repeats {options.repeats}{queries} "
            f"--threads {options.threads} --record",
            "",
            f"- Date: {datetime.now(UTC):%Y-%m-%d}",
            f"- Machine: {machine()}; vLLM computes with {options.threads} threads",
            f"- safety-receipts {version('safety-receipts')}, {named}",
            f"- A random Llama of 4 layers, 256 wide, fp32, greedy, no end token; at most "
            f"{MOST_SEQUENCES} sequences, blocks of {SMALLEST_BLOCK} tokens. Medians [least–most] "
            f"of {options.repeats} runs by turns, each from an empty cache.",
            "",
            *lines,
        ],
    )


if __name__ == "__main__":
    main()
