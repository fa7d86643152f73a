"""What it costs to verify a bundle of 10^4, 10^5 and 10^6 points.

    python benchmarks/verify_scale.py
    python benchmarks/verify_scale.py --points 10000 --repeats 5

For each size a synthetic bundle is sealed: the paper's sweep of 31 conditions with as many
queries as the size needs, two draws each, real signatures, a real Merkle root, evidence
lines as a run writes them.  Only what the evidence does not show is left out: commitments
are hashes of no record, and there are no restricted records.

Then two programs read the same evidence in turn, each time in a fresh process:

- *floor*: decompress, SHA-256 over the bytes, ``json.loads`` of every line.  No verifier
  that reads JSON can do less.
- *verify*: ``verify.integrity.verify_bundle`` to level *consistent* with a trusted key.

Times are wall-clock medians, imports excluded.  The peak memory is the verifying process's
own (``ru_maxrss``): the process that measures imports nothing heavy, because Linux lets a
child start from its parent's peak.

Exit code 1 if a verdict is not *passed*.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recording import machine, markdown_table, replace_section

if TYPE_CHECKING:
    from collections.abc import Iterator

    from safety_receipts.receipts.canonical import Sha256
    from safety_receipts.receipts.model.plan import PlanPredicate
    from safety_receipts.receipts.model.point import Finish, Outcome, Point, Reason

SIZES = (10_000, 100_000, 1_000_000)
MAX_RATIO = 3.0
"""Target: verification costs at most this many times the floor."""
MAX_MEGABYTES = 400.0
"""Target: peak memory of the verifying process at 10^6 points."""

_PUBLIC_KEY = "evaluator.key.pub"
_SOURCES = {"alpha": 200, "beta": 450, "gamma": 754}
"""Harmful-role query sources, in the paper's proportions."""
_PACKAGES = (
    "safety-receipts",
    "pydantic",
    "pydantic_core",
    "jsonschema",
    "cryptography",
    "rfc8785",
    "zstandard",
)


@dataclass(frozen=True)
class Row:
    """What was measured at one size; times are medians in seconds."""

    points: int
    verify: float
    floor: float
    megabytes: float
    """Largest peak of the verifying processes, in 10^6 bytes."""
    evidence_bytes: int
    """Length of the evidence lines, decompressed."""
    verdicts: tuple[str, ...]

    @property
    def ratio(self) -> float:
        """How many times the floor verification costs."""
        return self.verify / self.floor

    @property
    def passed(self) -> bool:
        """Whether every repeat ended in the verdict ``passed``."""
        return set(self.verdicts) == {"passed"}

    def per_point(self, seconds: float) -> float:
        """Return ``seconds`` as microseconds a point."""
        return seconds / self.points * 1e6


def main() -> int:
    """Measure, print the table, and return the exit code."""
    arguments = _parse()
    if arguments.worker:
        print(json.dumps(_WORKERS[arguments.worker](arguments.folder, arguments.points[0])))
        return 0
    root = Path(tempfile.mkdtemp(prefix="verify-scale-"))
    try:
        rows = [_measure(root, size, arguments.repeats) for size in sorted(arguments.points)]
    finally:
        if arguments.keep:
            _say(f"kept: {root}")
        else:
            shutil.rmtree(root, ignore_errors=True)
    _print_table(rows)
    if arguments.record:
        _record(rows, arguments.repeats)
    return 0 if all(row.passed for row in rows) else 1


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="What it costs to verify a bundle, by number of points."
    )
    parser.add_argument(
        "--points",
        type=_positive,
        nargs="+",
        default=SIZES,
        metavar="N",
        help="sizes; each is rounded up to whole queries (default: 10000 100000 1000000)",
    )
    parser.add_argument(
        "--repeats", type=_positive, default=3, help="pairs of floor and verification (default: 3)"
    )
    parser.add_argument("--keep", action="store_true", help="keep the bundles, and say where")
    parser.add_argument(
        "--record", action="store_true", help="refresh this benchmark's section of RESULTS.md"
    )
    parser.add_argument("--worker", choices=_WORKERS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# --- the measuring process --------------------------------------------------------------


def _measure(root: Path, size: int, repeats: int) -> Row:
    folder = root / str(size)
    _say(f"{size:,} points: sealing")
    points = _run("make", folder, size)["points"]
    floors, verifications = [], []
    for repeat in range(1, repeats + 1):
        floors.append(_run("floor", folder, size))
        verifications.append(_run("verify", folder, size))
        _say(
            f"{points:,} points: {repeat} of {repeats}: floor {floors[-1]['seconds']:.2f} s, "
            f"verification {verifications[-1]['seconds']:.2f} s"
        )
    return Row(
        points=points,
        verify=statistics.median(run["seconds"] for run in verifications),
        floor=statistics.median(run["seconds"] for run in floors),
        megabytes=max(run["megabytes"] for run in verifications),
        evidence_bytes=floors[0]["bytes"],
        verdicts=tuple(run["verdict"] for run in verifications),
    )


def _run(worker: str, folder: Path, size: int) -> dict[str, Any]:
    """Run one worker in a process of its own and return what it reports."""
    command = [sys.executable, __file__, "--worker", worker, "--folder", str(folder)]
    done = subprocess.run(
        [*command, "--points", str(size)], stdout=subprocess.PIPE, check=False, text=True
    )
    if done.returncode:
        raise SystemExit(f"verify_scale: the worker {worker!r} failed at {size:,} points")
    report: dict[str, Any] = json.loads(done.stdout)
    return report


_COLUMNS = ("points", "seconds", "µs/point", "floor µs/point", "× floor", "peak MB", "verdict")


def _cells(row: Row) -> tuple[str, ...]:
    return (
        f"{row.points:,}",
        f"{row.verify:.2f}",
        f"{row.per_point(row.verify):.1f}",
        f"{row.per_point(row.floor):.1f}",
        f"{row.ratio:.2f}",
        f"{row.megabytes:.0f}",
        ", ".join(sorted(set(row.verdicts))),
    )


def _conclusions(rows: list[Row]) -> list[str]:
    """Return one line for each target, then what the sizes say together."""
    over = [f"{row.ratio:.2f} × at {row.points:,}" for row in rows if row.ratio > MAX_RATIO]
    worst = max(row.ratio for row in rows)
    lines = [
        f"At most {MAX_RATIO:g} × the floor: "
        + (f"NOT met ({', '.join(over)})." if over else f"met (at most {worst:.2f} ×).")
    ]
    smallest, largest = rows[0], rows[-1]
    target = f"Under {MAX_MEGABYTES:g} MB at 10^6 points"
    if largest.points >= SIZES[-1]:
        met = "met" if largest.megabytes < MAX_MEGABYTES else "NOT met"
        lines.append(f"{target}: {met} ({largest.megabytes:.0f} MB).")
    else:
        lines.append(f"{target}: not measured.")
    if largest.points > smallest.points:
        growth = largest.per_point(largest.verify) / smallest.per_point(smallest.verify)
        slope = (largest.verify - smallest.verify) / (largest.points - smallest.points)
        fixed = smallest.verify - slope * smallest.points
        lines += [
            (
                f"Linearity: a point costs {growth:.2f} × as much at {largest.points:,} points as "
                f"at {smallest.points:,} (above 1 would be worse than linear)."
            ),
            (
                f"Between the two: {slope * 1e6:.1f} µs for each further point, and {fixed:.2f} s "
                "that do not depend on the points (schemas, signatures, models)."
            ),
        ]
    return lines


def _print_table(rows: list[Row]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    table = Table(title="Verification to level consistent")
    for name in _COLUMNS:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(*_cells(row), style=None if row.passed else "bold red")
    console.print(table)
    for line in _conclusions(rows):
        console.print(line)


def _record(rows: list[Row], repeats: int) -> None:
    """Put this benchmark's section into RESULTS.md, in place of an earlier one."""
    sizes = " ".join(str(row.points) for row in rows)
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    line_bytes = rows[-1].evidence_bytes / rows[-1].points
    text = [
        "## Verification by number of points",
        "",
        f"    python benchmarks/verify_scale.py --points {sizes} --repeats {repeats} --record",
        "",
        f"- Date: {datetime.now(UTC):%Y-%m-%d}",
        f"- Machine: {machine()}",
        f"- Python {platform.python_version()}; {packages}",
        (
            f"- Evidence lines of {line_bytes:.0f} bytes on average, line break included; medians "
            f"of {repeats} alternating runs, each in a fresh process; one core is used."
        ),
        "",
        *markdown_table(_COLUMNS, map(_cells, rows)),
        "",
        *(f"- {line}" for line in _conclusions(rows)),
        "",
        (
            "The floor is decompression, SHA-256 over the bytes and `json.loads` of every line. "
            "The peak is the whole verifying process, Python and its imports included."
        ),
    ]
    replace_section("verify_scale", text)


# --- the workers, each in a process of its own; they import what they need -----------------


def make_bundle(folder: Path, size: int) -> dict[str, Any]:
    """Seal a synthetic bundle of at least ``size`` points, without restricted records."""
    import zstandard

    from safety_receipts.receipts import merkle
    from safety_receipts.receipts.bundle import POINTS_FILE, BundleWriter
    from safety_receipts.receipts.dsse import sign
    from safety_receipts.receipts.events import synthetic
    from safety_receipts.receipts.findings.counts.observations import Observer
    from safety_receipts.receipts.keys import generate_key
    from safety_receipts.receipts.seal import evaluation_statement, seal_plan

    mixtures = synthetic.paper_sweep()
    draws = 2
    plan = synthetic.synthetic_plan(
        mixtures, _share_out(-(-size // (len(mixtures) * draws))), draws=draws
    )
    signer = generate_key()
    writer = BundleWriter(folder)
    (folder / _PUBLIC_KEY).write_bytes(signer.public.pem())
    envelope = seal_plan(plan, signer)
    writer.write_plan(envelope)
    observer, root = Observer(plan), merkle.RootAccumulator()
    compressor = zstandard.ZstdCompressor(level=9, write_checksum=True)
    with (folder / POINTS_FILE).open("wb") as file, compressor.stream_writer(file) as stream:
        for point in _points(plan, envelope.digest):
            line = point.to_line()
            observer.add(point)
            root.append(line)
            stream.write(line + b"\n")
    statement = evaluation_statement(
        plan,
        plan_digest=envelope.digest,
        observations=observer.result(),
        root=root,
        event=synthetic.EVENT,
        environment=synthetic.ENVIRONMENT,
    )
    writer.write_receipt(sign(statement.to_wire(), signer))
    return {"points": root.size}


def _share_out(queries: int) -> dict[str, int]:
    """Return ``queries`` shared out among the sources in their proportions."""
    whole = sum(_SOURCES.values())
    shares = {name: queries * part // whole for name, part in _SOURCES.items()}
    shares["gamma"] += queries - sum(shares.values())
    return {name: number for name, number in shares.items() if number}


def _points(plan: PlanPredicate, plan_digest: Sha256) -> Iterator[Point]:
    """Yield a point for every place of the plan; outcomes and commitments come from a hash."""
    from safety_receipts.receipts.canonical import Sha256
    from safety_receipts.receipts.events.grid import planned_points, shows_draws, source_of
    from safety_receipts.receipts.model.point import Point

    for index, (condition, _, query, draw) in enumerate(planned_points(plan)):
        # Draws of a condition without demonstrations are one prompt, and end alike.
        name = f"{plan_digest} {condition.id} {query} {draw if shows_draws(condition) else 0}"
        coin = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4])
        finish, outcome, reason, tokens = _ending(coin % 1000)
        shown = condition.n_harmful + condition.n_benign
        yield Point(
            index=index,
            condition=condition.id,
            query=query,
            source=source_of(query),
            draw=draw,
            prompt_tokens=24 + 58 * shown + coin % 16,
            response_tokens=tokens,
            finish=finish,
            outcome=outcome,
            reason=reason,
            prefix_adopted=None,
            labels=None,
            commitment=Sha256(hashlib.sha256(f"{name} {draw}".encode()).hexdigest()),
        )


def _ending(coin: int) -> tuple[Finish, Outcome, Reason | None, int]:
    """Return how a point ended: 0.5 % failed, 1 % unscored, about 29 % complied."""
    from safety_receipts.receipts.model.point import Finish, Outcome, Reason

    if coin < 5:
        return Finish.ERROR, Outcome.FAILED, Reason.ENGINE_ERROR, 0
    finish, tokens = (Finish.LENGTH, 4) if coin % 10 == 0 else (Finish.STOP, 3)
    if coin < 15:
        return finish, Outcome.UNSCORED, Reason.JUDGE_NA, tokens
    return finish, Outcome.COMPLIED if coin < 300 else Outcome.REFUSED, None, tokens


def read_floor(folder: Path, _size: int) -> dict[str, Any]:
    """Do what every verifier must: decompress, hash, parse."""
    import zstandard

    started = time.perf_counter()
    digest = hashlib.sha256()
    total = 0
    rest = b""
    with zstandard.open(folder / "points.jsonl.zst", "rb") as stream:
        while piece := stream.read(256 * 1024):
            total += len(piece)
            digest.update(piece)
            lines = (rest + piece).split(b"\n")
            rest = lines.pop()
            for line in lines:
                json.loads(line)
    digest.digest()
    return {"seconds": time.perf_counter() - started, "bytes": total}


def verify(folder: Path, _size: int) -> dict[str, Any]:
    """Verify the bundle to level *consistent*."""
    from safety_receipts.receipts.bundle import Bundle
    from safety_receipts.receipts.keys import TrustSet
    from safety_receipts.verify.integrity import verify_bundle

    started = time.perf_counter()
    verification = verify_bundle(Bundle(folder), evaluators=TrustSet.load([folder / _PUBLIC_KEY]))
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss: bytes on macOS, else KiB
    return {
        "seconds": seconds,
        "megabytes": peak * unit / 1e6,
        "verdict": verification.verdict.value,
    }


_WORKERS = {"make": make_bundle, "floor": read_floor, "verify": verify}

if __name__ == "__main__":
    sys.exit(main())
