"""How fast many-shot prompts are answered: this project's engine against others.

    python benchmarks/engine.py
    python benchmarks/engine.py --workload S --queries 4 --peers ours,plain
    python benchmarks/engine.py --peers ours,vllm --threads 1 2 --against FOLDER
    python benchmarks/engine.py --flips
    python benchmarks/engine.py --gpu

Every peer answers the same prompts greedily with the same tiny random model in fp32, on all
cores or on as many as ``--threads`` says.  Each is one resident process that has loaded its
model and answered a few prompts before anything is timed; they are told to run in turn, in the
opposite order every other round.  What a run takes includes tokenizing, where a peer takes text,
but no loading.

- *ours*: ``TransformersEngine.generate``
- *plain*: transformers' ``generate``, prompt by prompt; the reference for the responses
- *padded*: ``generate``, left-padded batches of 32, sorted by length
- *lm-eval*: lm-evaluation-harness, ``HFLM.generate_until``, batches of 32
- *inspect*: Inspect's transformers provider, 32 requests in flight
- *dynamic-cache*: one DynamicCache for each shared prefix, copied for 64 queries
- *vllm*: vLLM on the CPU, prefix caching in the smallest blocks it takes; its default blocks
  are larger (*vllm-default-blocks*), and it can do without (*vllm-no-cache*)
- *before*: ours as another checkout of the project has it, with ``--against``

Tokens computed are positions that pass through the model's layers, padding included; the
lower bound is the prefix tree of the prompts plus, for each distinct prompt, its response less
the last token.  An engine may answer equal prompts once: decoding is greedy.  vLLM's figure is
its own report: prompt tokens less cached ones, plus every response less its last token.

``--flips`` measures how often bf16 changes the next token, and ``--gpu`` an 8-billion-
parameter shape on a CUDA device.

Several numbers of threads have a section of RESULTS.md of their own.

Exit code 1 if a response of ours differs from the plain one, or could not be compared.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from engine_peers.comparison import BEFORE, PeerResult, ours_is_plain
from engine_peers.environments import UnavailableError
from engine_peers.reporting import Section, print_table, record
from engine_peers.resident import Resident
from engine_peers.worker import CLASSES
from engine_peers.workloads import SHAPES, WARM_UP, Workload, build, write

ROOT = Path(__file__).parent.parent
BATCH = 32
"""Rows of a padded batch, and requests in flight."""
SLOW = ("plain", "padded", "lm-eval", "inspect")
"""Peers that take minutes on workload L."""
DEFAULT_PEERS = {
    "S": ("ours", "vllm", "dynamic-cache", "plain", "padded", "lm-eval", "inspect"),
    "L": ("ours", "vllm", "dynamic-cache"),
}
CHECKED_QUERIES = 2
"""Queries that ``plain`` answers untimed where it is no peer."""


def main() -> int:
    """Measure what the command line asks for, and return the exit code."""
    arguments = _parse()
    if arguments.gpu:
        from engine_peers.accelerator import main as measure_accelerator

        return measure_accelerator(
            queries=arguments.queries, record=arguments.record, tiny=arguments.tiny
        )
    root = arguments.keep or Path(tempfile.mkdtemp(prefix="engine-"))
    try:
        if arguments.flips:
            from engine_peers.flips import main as measure_flips

            return measure_flips(
                root, models=arguments.models, queries=arguments.queries, record=arguments.record
            )
        return _compare(arguments, root)
    finally:
        if arguments.keep is None:
            shutil.rmtree(root, ignore_errors=True)
        else:
            _say(f"kept: {root}")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="How fast many-shot prompts are answered, by engine."
    )
    parser.add_argument(
        "--workload", choices=SHAPES, nargs="+", default=list(SHAPES), help="default: S L"
    )
    parser.add_argument("--repeats", type=_positive, default=3, help="rounds (default: 3)")
    parser.add_argument(
        "--peers",
        type=_peers,
        metavar="A,B",
        help=f"of {', '.join(CLASSES)} (default: on S all but the last two, on L the fast ones)",
    )
    parser.add_argument(
        "--queries", type=_positive, metavar="N", help="fewer or more queries than 64"
    )
    parser.add_argument(
        "--slow",
        type=_positive,
        metavar="N",
        help="on L, run the slow peers too, on N queries (in batches of N), and extrapolate",
    )
    parser.add_argument(
        "--threads",
        type=_positive,
        nargs="+",
        default=[os.cpu_count() or 1],
        metavar="N",
        help="one number after the other (default: all cores)",
    )
    parser.add_argument(
        "--against",
        type=Path,
        metavar="FOLDER",
        help="another checkout of the project, whose engine is measured too",
    )
    parser.add_argument(
        "--environments",
        type=Path,
        default=Path(__file__).parent / ".env",
        metavar="FOLDER",
        help="where the peers' virtual environments are kept (default: benchmarks/.env)",
    )
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="work in this new folder, and keep it"
    )
    parser.add_argument(
        "--record", action="store_true", help="refresh this benchmark's section of RESULTS.md"
    )
    parser.add_argument("--flips", action="store_true", help="measure the flips of bf16 instead")
    parser.add_argument(
        "--models", type=_positive, default=3, help="random models for --flips (default: 3)"
    )
    parser.add_argument("--gpu", action="store_true", help="measure on a CUDA device instead")
    parser.add_argument("--tiny", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.keep:
        try:
            arguments.keep.mkdir(parents=True)
        except FileExistsError:
            parser.error(f"{arguments.keep} exists: name a new folder")
    return arguments


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _peers(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    for name in names:
        if name not in CLASSES:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(CLASSES)}")
    return names


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _compare(arguments: argparse.Namespace, root: Path) -> int:
    from engine_peers.tiny_model import make_model

    make_model(root / "model")
    write(build(WARM_UP), root / "warm-up.json")
    sections = []
    versions: dict[str, dict[str, str]] = {}
    sound = True
    for name in arguments.workload:
        shape = SHAPES[name]
        if arguments.queries:
            shape = replace(shape, queries=arguments.queries)
        workload = build(shape)
        for threads in arguments.threads:
            results = _measure(arguments, root, workload, threads, versions)
            section = Section(workload, threads, results)
            print_table(section)
            sections.append(section)
            sound = sound and ours_is_plain(results)
    (root / "results.json").write_text(
        json.dumps([[*one.named, [r.summary() for r in one.results]] for one in sections]),
        "utf-8",
    )
    if arguments.record:
        record(arguments, sections, versions)
    return 0 if sound else 1


def _measure(
    arguments: argparse.Namespace,
    root: Path,
    workload: Workload,
    threads: int,
    versions: dict[str, dict[str, str]],
) -> list[PeerResult]:
    """Return what each peer made of a workload, in the order in which they were named."""
    name = workload.shape.name
    peers = arguments.peers or DEFAULT_PEERS[name]
    if arguments.against is not None and BEFORE not in peers:
        peers += (BEFORE,)
    slow = min(arguments.slow or 0, workload.shape.queries) if name == "L" else 0
    if slow and arguments.peers is None:
        peers += SLOW
    results = [
        PeerResult(peer, queries=slow if slow and peer in SLOW else workload.shape.queries)
        for peer in peers
    ]
    workers: dict[str, Resident] = {}
    try:
        for result in results:
            _start(result, workers, arguments, root, threads)
        for turn in range(arguments.repeats):
            for result in results if turn % 2 == 0 else reversed(results):
                if result.peer in workers:
                    _run(result, workers, root, workload)
        reference = next((r for r in results if r.peer == "plain" and r.outputs), None)
        if reference is None:
            reference = PeerResult("plain", min(CHECKED_QUERIES, workload.shape.queries))
            _start(reference, workers, arguments, root, threads)
            if "plain" in workers:
                _run(reference, workers, root, workload)
        versions |= {peer: worker.versions for peer, worker in workers.items()}
    finally:
        for worker in workers.values():
            worker.close()
    for result in results:
        result.compare(reference, workload)
    return results


def _start(
    result: PeerResult,
    workers: dict[str, Resident],
    arguments: argparse.Namespace,
    root: Path,
    threads: int,
) -> None:
    checkout = arguments.against if result.peer == BEFORE else ROOT
    try:
        workers[result.peer] = Resident(
            result.peer, root, arguments.environments, threads, checkout=checkout.resolve()
        )
    except UnavailableError as error:
        result.problem = str(error)
        _say(f"{result.peer}: not available: {error}")


def _run(result: PeerResult, workers: dict[str, Resident], root: Path, workload: Workload) -> None:
    """Have a peer answer its part of the workload once."""
    part = workload.of_first(result.queries)
    file = root / f"{workload.shape.name}-{result.queries}.json"
    if not file.exists():
        write(part, file)
    whole = result.queries == workload.shape.queries
    try:
        report = workers[result.peer].run(file, BATCH if whole else min(BATCH, result.queries))
    except UnavailableError as error:
        result.problem = str(error)
        workers.pop(result.peer).close()
        _say(f"{result.peer}: stopped: {error}")
        return
    result.add(report, workload)
    of = "" if whole else f" for {result.queries} queries"
    _say(f"{workload.shape.name} {result.peer}: {report['seconds']:.2f} s{of}")


if __name__ == "__main__":
    sys.exit(main())
