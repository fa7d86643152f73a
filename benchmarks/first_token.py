"""From a run's start to its first token: a new run, one after ``plan --seal``, one that goes on.

    python benchmarks/first_token.py [--queries 1404] [--blocks all 20 1] [--study DIR] [--record]

The study is that of ``benchmarks/rendering.py`` at the paper's size, as files: 31 conditions, 1,404
queries and two draws are 87,048 points, of which the longest show 128 of 200,000 benign rows.  A
process of its own resolves the plan, so that all corpora are hashed and read, renders and counts
all prompts or takes those that are kept, loads a tiny random Llama of that vocabulary, seals the
plan and cuts the batches.  The clock, which began before Python did, stops when the engine is asked
for its first batch; a stand-in answers it at once, and the run is stopped when that is recorded.

*sealed* begins in a folder that has what ``receipts plan --seal`` leaves there: the plan, and the
prompts beside it.  *resumed* goes on with the first run.  The engine's own time for its first token
is not in it, nor what a larger model takes to load.

Exit code 1 if one takes longer than the bound.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import rendering
from overhead_parts.instant import InstantBatches
from recording import machine, markdown_table, replace_section

from safety_receipts.receipts.model.point import Finish
from safety_receipts.runner.engines.engine import Answer, Completion

BOUND = 60.0
"""Seconds within which the first token should come."""
STARTS = ("new", "sealed", "resumed")
MOST_ROWS: int | None = None
"""Most rows of a batch; None: the engine's own choice."""
_MEMORY = 4 * 2**30


@dataclass(frozen=True)
class Start:
    """What one start took."""

    points: int
    resolved: float
    """Seconds until the plan was resolved, Python's start and imports among them."""
    prompts: float
    """Seconds that taking or rendering and counting all prompts took."""
    loaded: float
    """Seconds that loading took, torch's import among it."""
    first: float
    """Seconds from the start until the first batch was asked for."""
    cpu: float
    """CPU-seconds until then, with all processes started for it."""
    memory: float
    """Greatest resident memory of the process, GiB."""


def write_study(folder: Path, queries: int) -> None:
    """Write checkpoint and corpora, from the texts of ``rendering.py`` that are there, if any."""
    if not (folder / "rows.jsonl").exists():
        rendering.write_study(folder, queries)
    names = {"q": "queries", "h": "harmful", "b": "benign"}
    corpora = {kind: (folder / f"{name}.jsonl").open("w") for kind, name in names.items()}
    with (folder / "rows.jsonl").open(encoding="utf-8") as rows:
        for line in rows:
            kind, id_, request, response = json.loads(line)
            said = {"response": response} if response else {}
            corpora[kind].write(json.dumps({"id": id_, "request": request, **said}) + "\n")
    for file in corpora.values():
        file.close()
    _write_model(folder / "model")


def _write_model(folder: Path) -> None:
    import tokenizers
    import transformers

    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    config = transformers.LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=131_072,
        bos_token_id=tokenizer.token_to_id("<|begin_of_text|>"),
        eos_token_id=tokenizer.token_to_id("<|eot_id|>"),
    )
    llama: Any = transformers.LlamaForCausalLM
    llama(config).save_pretrained(folder)


def write_plan(folder: Path, block: int | str) -> Path:
    """Write the plan of a draw block; return its file."""
    plan = folder / f"plan-{block}.yaml"
    plan.write_text(
        f"""\
version: 1
name: first token
primary: joint
evidence_access: public
checkpoint: {{path: model, training_stage: none, dtype: float32}}
prompt: {{date: "2026-01-01"}}
sampling: {{method: greedy, max_new_tokens: 256}}
queries:
  - {{corpus: own, name: asked, path: queries.jsonl}}
demonstrations:
  harmful: {{corpus: pairs, path: harmful.jsonl}}
  benign: {{benign: {{corpus: pairs, path: benign.jsonl}}}}
  draws: 2
  draw_block: {block}
  truncate: {{characters: {rendering.CHARACTERS}, scope: demonstration}}
judge: {{kind: refusal-strings}}
experiments:
  - sweep: {{totals: [4, 8, 16, 32, 64, 128], harmful_fractions: [0, 0.25, 0.5, 0.75, 1]}}
""",
        "utf-8",
    )
    return plan


class _OneBatch(InstantBatches):
    """The first batch is answered at once; who asks for another stops the run."""

    def __init__(self, engine: _Engine, batches: Any, requests: Any) -> None:
        super().__init__(engine, batches, requests)
        self._asked = engine.asked
        self._answered = False

    def submit(self, number: int) -> None:
        if self._answered:
            raise KeyboardInterrupt
        self._asked()
        super().submit(number)

    def collect(self) -> Answer:
        self._answered = True
        return super().collect()


@dataclass(frozen=True)
class _Engine:
    """Cuts batches as another engine does, and says when it is asked for the first."""

    engine: Any
    asked: Callable[[], None]
    end: int
    """An end token."""

    @property
    def identity(self) -> Any:
        return self.engine.identity

    def start(self, requests: Any, decoding: Any) -> _OneBatch:
        return _OneBatch(self, self.engine.start(requests, decoding).batches, requests)

    def answer(self, keys: Sequence[int]) -> tuple[Completion, ...]:
        return tuple(Completion(key, (40, self.end), Finish.STOP) for key in keys)


class _Silent:
    """Is told how a run goes on, and says nothing."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: None


def measure(plan: Path, folder: Path, began: float) -> Start:
    """Begin or resume a run in this process, and stop it after its first unit.

    Args:
        plan: The plan's file.
        folder: The bundle; its key lies beside it.
        began: When this process was started, in seconds since the epoch.
    """
    from safety_receipts.receipts.errors import InterruptedByUserError
    from safety_receipts.receipts.keys import load_signer
    from safety_receipts.runner.plan.resolve import resolve_plan
    from safety_receipts.runner.run import event
    from safety_receipts.runner.run.execute import RunStack

    spent = {"prompts": 0.0, "loaded": 0.0}
    first: list[tuple[float, float]] = []

    def asked() -> None:
        if not first:
            first.append((time.time() - began, rendering._spent()))

    @contextmanager
    def timed(stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        spent[stage] += time.perf_counter() - start

    take = event.render

    def taken(*arguments: Any, **options: Any) -> Any:
        with timed("prompts"):
            return take(*arguments, **options)

    def load(resolved: Any, memory: int | None) -> Any:
        with timed("loaded"):
            from safety_receipts.runner.run.stack import load_stack

            loaded = load_stack(resolved, device="cpu", memory=memory, max_rows=MOST_ROWS)
        stack = loaded.stack
        end = min(resolved.predicate.sampling.end_tokens)
        ours = RunStack(_Engine(stack.engine, asked, end), stack.judge, None, stack.reader)
        return event.LoadedStack(ours, loaded.memory)

    event.render = taken  # type: ignore[assignment]
    resolved = resolve_plan(plan)
    until = time.time() - began
    signer = load_signer(folder.parent / "key")
    options = event.RunOptions(memory=_MEMORY)
    with suppress(InterruptedByUserError):
        event.EventRunner(resolved, folder, signer, options, load, _Silent()).run()
    ((seconds, cpu),) = first
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return Start(resolved.predicate.points, until, **spent, first=seconds, cpu=cpu, memory=memory)


def _in_process(plan: Path, folder: Path) -> Start:
    words = [sys.executable, __file__, "--measure", str(plan), str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(rendering.ROOT)}
    words.append(str(time.time()))
    done = subprocess.run(words, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return Start(**json.loads(done.stdout.splitlines()[-1]))


def starts(study: Path, block: int | str, bundles: Path) -> dict[str, Start]:
    """Measure the three starts of a plan, each in a process of its own.

    Args:
        study: Where its files are.
        block: Its draw block.
        bundles: An empty folder.
    """
    from safety_receipts.receipts.bundle import PLAN
    from safety_receipts.receipts.keys import generate_key, write_key_pair
    from safety_receipts.receipts.unfinished import RUN_PROMPTS

    write_key_pair(bundles / "key", generate_key())
    plan = write_plan(study, block)
    found = {"new": _in_process(plan, bundles / "new")}
    sealed = bundles / "sealed"
    sealed.mkdir()
    for name in (PLAN, RUN_PROMPTS):
        shutil.copy2(bundles / "new" / name, sealed / name)
    found["sealed"] = _in_process(plan, sealed)
    found["resumed"] = _in_process(plan, bundles / "new")
    return found


def _row(block: int | str, name: str, one: Start) -> list[str]:
    cells = (one.resolved, one.prompts, one.loaded, one.first)
    verdict = "met" if one.first <= BOUND else "NOT met"
    seconds = [f"{each:.1f}" for each in cells]
    return [
        str(block),
        f"{one.points:,}",
        name,
        *seconds,
        verdict,
        f"{one.cpu:.0f}",
        f"{one.memory:.2f}",
    ]


def main() -> int:
    """Measure, print, record; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--queries", type=int, default=rendering.QUERIES)
    parser.add_argument("--blocks", type=rendering._block, nargs="+", default=["all", 20, 1])
    parser.add_argument("--study", type=Path, help="keep the texts here, or take them from here")
    parser.add_argument("--record", action="store_true", help="write into RESULTS.md")
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure is not None:
        plan, bundle, began = options.measure
        print(json.dumps(asdict(measure(Path(plan), Path(bundle), float(began)))))
        return 0
    rows, late = [], False
    with tempfile.TemporaryDirectory(prefix="first-token-") as temporary:
        study = options.study or Path(temporary) / "study"
        study.mkdir(parents=True, exist_ok=True)
        write_study(study, options.queries)
        for block in options.blocks:
            bundles = Path(temporary) / f"bundles-{block}"
            bundles.mkdir()
            for name, one in starts(study, block, bundles).items():
                rows.append(_row(block, name, one))
                late |= one.first > BOUND
                print(" | ".join(rows[-1]), file=sys.stderr, flush=True)
            shutil.rmtree(bundles)
    columns = ["draw_block", "points", "start", "resolving, s", "prompts, s", "loading, s"]
    columns += ["first token, s", f"within {BOUND:.0f} s", "CPU-s", "GiB"]
    lines = [
        "## From start to first token (`benchmarks/first_token.py`)",
        "",
        f"{datetime.now(UTC):%Y-%m-%d}, {machine()}; wall clock, the engine a stand-in. Load "
        f"average of 15 minutes then: {os.getloadavg()[2]:.1f}; beside other work CPU-s count.",
        "",
        *markdown_table(columns, rows),
    ]
    print("\n".join(lines))
    if options.record:
        replace_section("first_token", lines)
    return int(late)


if __name__ == "__main__":
    sys.exit(main())
