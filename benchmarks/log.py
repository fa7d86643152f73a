"""What a log costs: adding entries, proving them, reading it whole; and two other trees beside it.

    python benchmarks/log.py
    python benchmarks/log.py --entries 1000000 --repeats 3 --record

Entries are those of plans, about 340 bytes each, made before anything is timed.  Every measurement
runs in a process of its own, on one core:

- *append*: an empty log gets the entries in batches.  A batch is looked up in the log, written as
  tiles and bundles of entries, synced to the disk, and named by a signed checkpoint;
- *add one*: a further entry, when all others are there;
- *prove*: proofs of entries drawn at random, each by a reader that has read nothing yet, who counts
  the files that it reads; each proof is verified;
- *verify*: every entry and every tile is hashed again, of a tenth of the log and of all of it.  The
  peak is that of the whole process (``ru_maxrss``), Python and its imports included.

Then the same entries go into other Merkle trees: from entries to the root, and to the same proofs.
Each is held to ours of its kind.  In memory that is the tree of a log with its tiles in a
dictionary, beside ``pymerkle`` in memory and ``proofbundle``, which has a list, of which it makes a
root or a proof.  On the disk it is a log: hashes and entries in files that are synced, and a signed
checkpoint; beside ``pymerkle``'s SQLite file.  All roots have to be the same.  Others' are taken
from a folder of their own, into which they are put by

    pip install --no-deps --target .venv/peers proofbundle==6.3.1 pymerkle==7.0.0 cachetools==7.2.1

and left out, which is said, where they are not there.

Exit code 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from random import Random
from typing import Any, Final

from log_trees import Result, made, opened, tree
from recording import machine, markdown_table, replace_section

ROOT: Final = Path(__file__).parents[1]
PEERS: Final = ROOT / ".venv" / "peers"
BATCHES: Final = (1_000, 10_000, 100_000)
"""Entries in a batch; the target is for the middle one."""
LEAST_RATE: Final = 10_000.0
"""Target: entries added in a second."""
MOST_MILLISECONDS: Final = 5.0
"""Target: a proof takes less."""
MOST_MEGABYTES: Final = 200.0
"""Target: peak memory of reading a whole log."""
MOST_OF_LINEAR: Final = 1.25
"""Target: an entry of all costs at most this many times one of a tenth."""
OURS_ON_DISK: Final = "ours, on the disk"
OURS_IN_MEMORY: Final = "ours, in memory"
SQLITE: Final = "pymerkle, SQLite"
TIMES_AS_FAST: Final = 5.0
"""Target: entries, root and proofs, beside each of the other trees."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and return the exit code."""
    parser = argparse.ArgumentParser(description="What a log costs.")
    parser.add_argument("--entries", type=int, default=1_000_000, help="default: 1,000,000")
    parser.add_argument("--repeats", type=int, default=3, help="rounds (default: 3)")
    parser.add_argument("--proofs", type=int, default=20, help="of each tree (default: 20)")
    parser.add_argument("--peers", type=Path, default=PEERS, help="folder of the other trees")
    parser.add_argument("--record", action="store_true", help="write to RESULTS.md")
    parser.add_argument("--work", nargs=2, metavar=("WHAT", "JSON"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.work is not None:
        what, given = options.work
        print(json.dumps(WORK[what](**json.loads(given))))
        return 0
    found = measure(options.entries, options.repeats, options.proofs, options.peers)
    lines, met = report(found, options)
    print("\n".join([*lines, ""]), flush=True)
    if options.record:
        replace_section("log", lines)
    return int(not met)


def measure(entries: int, repeats: int, proofs: int, peers: Path) -> dict[str, list[Result]]:
    """Return the results of each measurement, round by round."""
    found: dict[str, list[Result]] = {}
    there = peers.is_dir()

    def run(name: str, what: str, **given: Any) -> None:
        found.setdefault(name, []).append(_child(what, peers, given))
        print(f"{name}: {found[name][-1]}", file=sys.stderr, flush=True)

    for number in range(repeats):
        for batch in BATCHES[number > 0 :]:  # small batches take long, and are tried once
            with tempfile.TemporaryDirectory(prefix="log-") as folder:
                log = f"{folder}/log"
                run(f"append {batch:,}", "append", folder=log, entries=entries, batch=batch)
                if batch == BATCHES[-1]:
                    run("add one", "add_one", folder=log, entries=entries)
                    run("prove", "prove", folder=log, entries=entries, proofs=1_000)
                    run("verify all", "verify", folder=log)
                    run(
                        "append a tenth",
                        "append",
                        folder=f"{folder}/tenth",
                        entries=entries // 10,
                        batch=batch,
                    )
                    run("verify a tenth", "verify", folder=f"{folder}/tenth")
        with tempfile.TemporaryDirectory(prefix="trees-") as folder:
            for name in (
                OURS_ON_DISK,
                OURS_IN_MEMORY,
                *(("pymerkle", SQLITE, "proofbundle") if there else ()),
            ):
                run(
                    f"tree: {name}",
                    "tree",
                    folder=f"{folder}/{name}",
                    which=name,
                    entries=entries,
                    proofs=proofs,
                )
    return found


def _child(what: str, peers: Path, given: Mapping[str, Any]) -> Result:
    """Run one measurement in a process of its own."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PYTHON")},
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(Path(__file__).parent), str(peers)]),
        "OMP_NUM_THREADS": "1",
    }
    words = [sys.executable, __file__, "--work", what, json.dumps(given)]
    done = subprocess.run(words, check=True, env=environment, stdout=subprocess.PIPE, text=True)
    found: Result = json.loads(done.stdout)
    return found


# In a process of its own.


def append(folder: str, entries: int, batch: int) -> Result:
    """Add entries in batches."""
    log, signer = opened(folder)
    seconds = cpu = 0.0
    for start in range(0, entries, batch):
        some = made(start, min(entries, start + batch))
        began, worked = time.perf_counter(), time.process_time()
        log.add(some, signer)
        seconds += time.perf_counter() - began
        cpu += time.process_time() - worked
    assert log.size == entries
    return {"seconds": seconds, "cpu": cpu}


def add_one(folder: str, entries: int) -> Result:
    """Add one entry to a log that has all others."""
    log, signer = opened(folder)
    assert log.size >= entries
    began = time.perf_counter()
    added = log.add(made(log.size, log.size + 1), signer)
    seconds = time.perf_counter() - began
    assert added.new == 1
    return {"seconds": seconds}


def prove(folder: str, entries: int, proofs: int) -> Result:
    """Prove entries, each with nothing read before, and count the files that are read."""
    from safety_receipts.receipts.log.formats.proof import LogProof
    from safety_receipts.receipts.log.formats.tiles import TileTree
    from safety_receipts.receipts.log.sources import FolderSource

    class Counted(FolderSource):
        def read(self, name: str, limit: int) -> bytes | None:
            files.append(name)
            return super().read(name, limit)

    log, _ = opened(folder)
    random, seconds, most = Random(1), [], 0
    for _ in range(proofs):
        index, files = random.randrange(entries), []
        [leaf] = made(index, index + 1)
        began = time.perf_counter()
        tree = TileTree(Counted(log.folder), log.size)
        proof = LogProof(index, tuple(tree.inclusion(index)), log.signed)
        seconds.append(time.perf_counter() - began)
        assert proof.holds(leaf)
        most = max(most, len(files))
    return {
        "milliseconds": 1000 * statistics.median(seconds),
        "worst": 1000 * max(seconds),
        "files": most,
    }


def verify(folder: str) -> Result:
    """Read a whole log."""
    from safety_receipts.receipts.log.survey import check_log

    log, _ = opened(folder)
    began = time.perf_counter()
    check_log(log.source, log.signed)
    seconds = time.perf_counter() - began
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss: bytes on macOS, else KiB
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
    return {"seconds": seconds, "entries": log.size, "megabytes": peak}


WORK: Final[dict[str, Callable[..., Result]]] = {
    "append": append,
    "add_one": add_one,
    "prove": prove,
    "verify": verify,
    "tree": tree,
}


def report(
    found: Mapping[str, Sequence[Result]], options: argparse.Namespace
) -> tuple[list[str], bool]:
    """Return the section of RESULTS.md, and whether all targets are met."""
    entries = options.entries

    def middle(name: str, what: str) -> float:
        return statistics.median(one[what] for one in found[name])

    def spread(name: str, what: str) -> str:
        values = [one[what] for one in found[name]]
        return f"{statistics.median(values):.2f} [{min(values):.2f}–{max(values):.2f}]"

    rate = entries / middle(f"append {BATCHES[1]:,}", "seconds")
    proof, worst = middle("prove", "milliseconds"), middle("prove", "worst")
    peak = max(one["megabytes"] for one in found["verify all"])
    an_entry = {
        name: middle(name, "seconds") / found[name][0]["entries"]
        for name in ("verify a tenth", "verify all")
    }
    linear = an_entry["verify all"] / an_entry["verify a tenth"]
    targets = [
        (
            f"At least {LEAST_RATE:,.0f} entries a second, in batches of {BATCHES[1]:,}",
            rate >= LEAST_RATE,
            f"{rate:,.0f}",
        ),
        (
            f"A proof in less than {MOST_MILLISECONDS:g} ms",
            proof < MOST_MILLISECONDS,
            f"median {proof:.2f} ms, slowest of 1,000 {worst:.2f} ms",
        ),
        (
            f"Reading a whole log is linear: an entry costs at most {MOST_OF_LINEAR:g} × as much",
            linear <= MOST_OF_LINEAR,
            f"{linear:.2f} ×",
        ),
        (f"… and takes less than {MOST_MEGABYTES:g} MB", peak < MOST_MEGABYTES, f"{peak:.0f} MB"),
    ]
    trees = [name for name in found if name.startswith("tree: ")]
    total = {name: middle(name, "built") + middle(name, "proving") for name in trees}
    times = {
        name: total[name] / total[f"tree: {ours}"]
        for name in trees
        for ours in (OURS_ON_DISK if name == f"tree: {SQLITE}" else OURS_IN_MEMORY,)
        if not name.startswith("tree: ours")
    }
    targets += [
        (
            f"At least {TIMES_AS_FAST:g} × as fast as {name.removeprefix('tree: ')}",
            found_times >= TIMES_AS_FAST,
            f"{found_times:.1f} ×",
        )
        for name, found_times in times.items()
        if name != f"tree: {SQLITE}"  # on a disk what is measured is the disk
    ]
    if len({one["root"] for name in trees for one in found[name]}) != 1:
        sys.exit("the trees have different roots")
    work = [
        [
            name.removeprefix("append "),
            f"{entries / middle(name, 'seconds'):,.0f}",
            spread(name, "seconds"),
            spread(name, "cpu"),
        ]
        for name in (f"append {batch:,}" for batch in BATCHES)
    ]
    beside = [
        [
            name.removeprefix("tree: "),
            spread(name, "built"),
            spread(name, "proving"),
            f"{total[name]:.2f}",
            f"{times[name]:.1f}" if name in times else "–",
            f"{middle(name, 'cpu'):.2f}",
        ]
        for name in trees
    ]
    on_disk = times.get(f"tree: {SQLITE}")
    said = [] if on_disk is None else [f"- On the disk: {on_disk:.1f} × as fast as {SQLITE}."]
    section = _section(found, options, (work, beside), targets, said)
    return section, all(met for _, met, _ in targets)


def _section(
    found: Mapping[str, Sequence[Result]],
    options: argparse.Namespace,
    tables: tuple[list[list[str]], list[list[str]]],
    targets: Sequence[tuple[str, bool, str]],
    said: Sequence[str],
) -> list[str]:
    """Return the lines of the section."""
    one, all_, tenth = (
        statistics.median(each["seconds"] for each in found[name])
        for name in ("add one", "verify all", "verify a tenth")
    )
    command = f"--entries {options.entries} --repeats {options.repeats} --record"
    missing = [] if len(tables[1]) > 2 else ["- The other trees were not there."]
    return [
        "## A log of many entries",
        "",
        f"    python benchmarks/log.py {command}",
        "",
        f"- Date: {datetime.now(UTC):%Y-%m-%d}",
        f"- Machine: {machine()}; one process at a time, one thread",
        f"- Python {platform.python_version()}; cryptography {version('cryptography')}"
        f"{''.join(_versions(options.peers))}",
        f"- {options.entries:,} entries of about 340 bytes; medians [least–most].",
        "",
        *markdown_table(("batches of", "entries/s", "seconds", "CPU-s"), tables[0]),
        "",
        f"- One further entry: {one:.2f} s, from opening the log to its signed checkpoint.",
        f"- A proof reads at most {found['prove'][0]['files']} files.",
        f"- Reading all of the log: {all_:.2f} s; of a tenth: {tenth:.2f} s.",
        *(f"- {text}: {'met' if met else 'NOT met'} ({said})." for text, met, said in targets),
        *said,
        *missing,
        "",
        f"The same entries in other trees: from entries to the root, then {options.proofs} proofs. "
        "*× ours*: of the SQLite file beside ours on the disk, of the others beside ours in "
        "memory:",
        "",
        *markdown_table(("tree", "root, s", "proofs, s", "both, s", "× ours", "CPU-s"), tables[1]),
    ]


def _versions(peers: Path) -> Iterator[str]:
    for folder in sorted(peers.glob("*.dist-info")):
        name, _, number = folder.name.removesuffix(".dist-info").partition("-")
        if name in ("proofbundle", "pymerkle"):
            yield f", {name} {number}"


if __name__ == "__main__":
    sys.exit(main())
