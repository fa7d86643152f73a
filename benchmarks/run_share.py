"""Where the wall clock of a whole ``receipts run`` goes.

    python benchmarks/run_share.py [--queries 64 512] [--repeats 3] [--record]

The run is workload L of ``benchmarks/engine.py`` as a plan: 64 queries after 0, 32 and 128
demonstrations of about 120 tokens, a tiny random Llama of 5 million parameters, 32 new tokens,
greedy, judged by refusal strings; and the same with more queries.  Corpora, checkpoint and
plan are written to a temporary folder, and ``receipts run`` is started in a fresh process, from
importing Python's modules to the signed receipt.  A few functions are timed from outside; what
is in none of them is *else*.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from engine_peers.tiny_model import make_model
from engine_peers.workloads import SPECIAL_TOKENS, VOCABULARY
from recording import machine, markdown_table, replace_section

DEMONSTRATIONS = (0, 32, 128)
REQUEST, RESPONSE, QUERY = 40, 78, (16, 40)
"""Words of a demonstration's request and response, about, and of a query, from and to."""

PHASES = {
    "runner.commands.run:resolve_plan": "reading and hashing the plan's inputs",
    "runner.run.event:render": "rendering and counting the prompts",
    "runner.engines.load:load_model": "loading the checkpoint",
    "runner.engines.transformers_engine:_Batches.run": "the engine",
    "runner.engines.transformers_engine:TransformersEngine.start": "the engine's schedule",
    # After its method: what is timed in its place has none of its own.
    "runner.engines.transformers_engine:TransformersEngine": "trying shared prefixes on it",
    "runner.run.judging:judged": "the judge",
    "runner.run.journal:Journal.add": "the journal",
    "runner.run.event:seal_journal": "sealing",
}
"""What is timed, and its name in the table."""
START = (
    "importing",
    "starting and leaving Python",
    "loading the checkpoint",
    "trying shared prefixes on it",
)
"""What every run takes, whatever its plan."""

# Runs in the measured process, before the command line.  Imports that a phase sets off are in
# that phase; those of torch and transformers are timed by themselves, first.
_TIMED = """
import atexit, functools, importlib, json, sys, time
began = time.time()
phases, out = json.loads(sys.argv[1]), sys.argv[2]
import torch, transformers
from transformers import LlamaForCausalLM
import safety_receipts.runner.run.stack, safety_receipts.runner.commands.run
spent = {"importing": time.time() - began}
def timed(name, function):
    @functools.wraps(function)
    def call(*arguments, **options):
        start = time.time()
        try:
            found = function(*arguments, **options)
            return list(found) if name == "the engine" else found
        finally:
            spent[name] = spent.get(name, 0.0) + time.time() - start
    return call
for place, name in phases.items():
    module, _, path = place.partition(":")
    owner = importlib.import_module(f"safety_receipts.{module}")
    *parents, last = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    setattr(owner, last, timed(name, getattr(owner, last)))
def write():
    spent["else"] = time.time() - began - sum(spent.values())
    open(out, "w").write(json.dumps(spent))
atexit.register(write)
sys.argv = ["receipts", *sys.argv[3:]]
from safety_receipts.receipts.cli import main
main()
"""


def write_study(folder: Path, queries: int) -> Path:
    """Write checkpoint, corpora and plan; return the plan's file."""
    folder.mkdir()
    draw = random.Random(3)

    def words(number: int) -> str:
        first = len(SPECIAL_TOKENS)
        return " ".join(f"w{draw.randrange(first, VOCABULARY)}" for _ in range(number))

    make_model(folder / "model")
    corpora = {
        "queries": [{"id": f"q{i}", "request": words(draw.randint(*QUERY))} for i in range(queries)]
    }
    for name in ("harmful", "benign"):
        corpora[name] = [
            {"id": f"{name}{i}", "request": words(REQUEST), "response": words(RESPONSE)}
            for i in range(max(DEMONSTRATIONS) + 8)
        ]
    for name, rows in corpora.items():
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text, "utf-8")
    plan = folder / "plan.yaml"
    plan.write_text(
        f"""\
version: 1
name: workload L
primary: joint
evidence_access: public
checkpoint: {{path: model, training_stage: none, dtype: float32}}
prompt: {{date: "2026-01-01"}}
sampling: {{method: greedy, max_new_tokens: 32}}
queries:
  - {{corpus: own, name: asked, path: queries.jsonl}}
demonstrations:
  harmful: {{corpus: pairs, name: harmful-pairs, path: harmful.jsonl}}
  benign: {{first: {{corpus: pairs, path: benign.jsonl}}}}
  draws: 1
  draw_block: all
judge: {{kind: refusal-strings}}
experiments:
  - fixed_harmful: {{harmful: {list(DEMONSTRATIONS)}, benign: [0]}}
""",
        "utf-8",
    )
    return plan


def measure(plan: Path, key: Path, bundle: Path) -> dict[str, float]:
    """Return the seconds of each phase of a run, and of all of it."""
    out = bundle.with_suffix(".json")
    words = ["run", str(plan), "--key", str(key), "--out", str(bundle), "--memory", "4GiB"]
    start = time.time()
    subprocess.run(
        [sys.executable, "-c", _TIMED, json.dumps(PHASES), str(out), *words, "--device", "cpu"],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    whole = time.time() - start
    spent: dict[str, float] = json.loads(out.read_text("utf-8"))
    spent["starting and leaving Python"] = whole - sum(spent.values())
    return spent | {"whole": whole}


def report(runs: list[dict[str, float]]) -> list[str]:
    """Return the lines of the table, and what they add up to."""
    medians = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    whole = medians["whole"]
    rows = [
        (name, f"{seconds:.2f}", f"{100 * seconds / whole:.1f} %")
        for name, seconds in sorted(medians.items(), key=lambda item: -item[1])
        if name != "whole"
    ]
    shares, running = [], []
    for run in runs:
        work = run["the engine"] + run["the engine's schedule"] + run["the judge"]
        start = sum(run[name] for name in START)
        shares.append(work / run["whole"])
        running.append(work / (run["whole"] - start))
    return [
        *markdown_table(("phase", "seconds", "share"), [*rows, ("whole", f"{whole:.2f}", "")]),
        "",
        f"- Engine and judge: {100 * statistics.median(shares):.1f} % of the whole process, "
        f"{100 * statistics.median(running):.1f} % of what is left without starting and leaving "
        "Python, importing torch and transformers and loading the checkpoint, none of which grows "
        "with the plan.",
    ]


def main() -> None:
    """Measure, print, record."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--queries", type=int, nargs="+", default=[64], help="queries of the plan; 64: workload L"
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--record", action="store_true", help="write to RESULTS.md")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subprocess.run(
            [sys.executable, "-m", "safety_receipts", "keygen", str(folder / "key")],
            check=True,
            capture_output=True,
        )
        lines: list[str] = []
        for queries in options.queries:
            study = folder / str(queries)
            plan = write_study(study, queries)
            runs = [
                measure(plan, folder / "key", study / f"bundle{i}") for i in range(options.repeats)
            ]
            lines += [f"### {queries} queries, {len(DEMONSTRATIONS) * queries:,} points", ""]
            lines += [*report(runs), ""]
    print("\n".join(lines))
    if options.record:
        queries = " ".join(map(str, options.queries))
        command = f"python benchmarks/run_share.py --queries {queries}"
        replace_section(
            "run_share",
            [
                "## Where a whole run's wall clock goes",
                "",
                f"    {command} --repeats {options.repeats} --record",
                "",
                f"- Date: {datetime.now(UTC):%Y-%m-%d}",
                f"- Machine: {machine()}",
                f"- Workload L as a plan, fp32, on the CPU; medians of {options.repeats} runs.",
                "",
                *lines[:-1],
            ],
        )


if __name__ == "__main__":
    main()
