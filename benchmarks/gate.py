"""What a gate costs beside a verification, and beside what Python and the base install cost.

    python benchmarks/gate.py
    python benchmarks/gate.py --repeats 15 --record

A receipt of the paper's size is sealed and published: 31 conditions of 1,404 queries, two draws,
evidence withheld.  Then, one after the other and over again, each in a process of its own:

* ``floor``: Python, importing every base dependency that pyproject.toml names, in the form in which
  this program uses it;
* ``verify``: ``receipts verify --level authentic`` of the published receipt;
* ``gate, rates``: a gate that asks for signatures and rates alone;
* ``gate, strict``: the strict policy, which does not hold here; every rule is decided;
* ``verify, evidence`` and ``gate, evidence``: both on the bundle with its evidence, which is
  counted again; in some rounds.

CPU seconds are the user and system time of the process, imports included: a gate starts anew in
each step of a pipeline.  Bytecode is cached beforehand, as an installed package has it.

Exit code 1 if a target is not met.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from recording import machine, markdown_table, replace_section

ROOT = Path(__file__).parents[1]
MOST_OF_VERIFY = 1.5
"""Target: a gate of a published receipt costs at most this many times its verification."""
MOST_OF_FLOOR = 2.0
"""Target: a gate of signatures and rates costs less than this many times the floor."""
QUERIES = {"alpha": 200, "beta": 450, "gamma": 754}
FLOOR = """
import click, jsonschema, numpy, rfc8785, yaml, zstandard
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from pydantic import BaseModel, TypeAdapter
from rich.console import Console
from rich.table import Table
class Model(BaseModel):
    number: int
Model(number=1)
"""
POLICY = """\
version: 1
rules:
  - {rule: verified, level: authentic}
  - {rule: rate, measure: rate, at_most: 0.9}
  - {rule: rate, id: worst, measure: worst_case, at_most: 0.9}
"""
KEY = "evaluator.pub"
EVIDENCE = ("verify, evidence", "gate, evidence")


@dataclass(frozen=True)
class Case:
    """One thing that is measured."""

    name: str
    words: tuple[str, ...]
    """After ``python``."""
    codes: tuple[int, ...] = (0,)
    """Exit codes that it may end with."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, record; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--queries", type=int, help="queries of each source, for a trial")
    parser.add_argument("--record", action="store_true", help="write to RESULTS.md")
    parser.add_argument("--seal", type=Path, metavar="FOLDER", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.seal is not None:
        seal(options.seal, options.queries)
        return 0
    with tempfile.TemporaryDirectory(prefix="gate-") as name:
        folder = Path(name)
        environment = _prepare(folder, options.queries)
        took = measure(list(cases(folder)), options.repeats, environment)
    lines, met = report(took, options.repeats)
    print("\n".join([*lines, ""]), flush=True)
    if options.record:
        replace_section("gate", lines)
    return int(not met)


def seal(folder: Path, queries: int | None) -> None:
    """Seal an event of the paper's size, and what the cases need beside it."""
    from safety_receipts.receipts.events.synthetic import (
        paper_sweep,
        synthetic_event,
        synthetic_plan,
    )
    from safety_receipts.receipts.keys import generate_key
    from safety_receipts.receipts.model.plan import EvidenceAccess

    signer = generate_key()
    asked = {name: queries or number for name, number in QUERIES.items()}
    plan = synthetic_plan(paper_sweep(), asked, evidence_access=EvidenceAccess.AUDITORS)
    synthetic_event(folder / "bundle", plan.model_copy(update={"instrument": False}), signer)
    (folder / KEY).write_bytes(signer.public.pem())
    (folder / "policy.yaml").write_text(POLICY, "utf-8")


def _prepare(folder: Path, queries: int | None) -> Mapping[str, str]:
    """Write all that is measured, and return the environment to measure it in."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PYTHON")},
        "PYTHONPATH": str(ROOT),
        "PYTHONPYCACHEPREFIX": str(folder / "bytecode"),
        "OMP_NUM_THREADS": "1",
    }
    sealing = [__file__, "--seal", str(folder)]
    sealing += [] if queries is None else ["--queries", str(queries)]
    program = ["-m", "safety_receipts"]
    for words in (
        sealing,
        [*program, "publish", str(folder / "bundle"), "--out", str(folder / "published")],
        [*program, "init", str(folder / "strict"), "--policy", "strict"],
    ):
        subprocess.run(
            [sys.executable, *words], check=True, env=environment, stdout=subprocess.DEVNULL
        )
    return environment


def cases(folder: Path) -> Iterator[Case]:
    """Yield what is measured, in the order of a round."""
    program = ("-m", "safety_receipts")
    trust = ("--trust", str(folder / KEY), "--quiet")
    published, bundle = str(folder / "published"), str(folder / "bundle")
    rates = ("--policy", str(folder / "policy.yaml"))
    strict = ("--policy", str(folder / "strict" / "gate-policy.yaml"))
    yield Case("floor", ("-c", FLOOR))
    yield Case("verify", (*program, "verify", published, *trust, "--level", "authentic"))
    yield Case("gate, rates", (*program, "gate", published, *trust, *rates))
    yield Case("gate, strict", (*program, "gate", published, *trust, *strict), codes=(1,))
    yield Case("verify, evidence", (*program, "verify", bundle, *trust))
    yield Case("gate, evidence", (*program, "gate", bundle, *trust, *rates))


def measure(
    found: Sequence[Case], repeats: int, environment: Mapping[str, str]
) -> dict[str, list[float]]:
    """Return the CPU seconds of each case, round by round; a first round is thrown away."""
    took: dict[str, list[float]] = {case.name: [] for case in found}
    for number in range(repeats + 1):
        for case in found:
            if case.name in EVIDENCE and number % 5 > 1:
                continue
            seconds = _cpu(case, environment)
            if number:
                took[case.name].append(seconds)
        print(f"round {number} of {repeats}", file=sys.stderr, flush=True)
    return took


def _cpu(case: Case, environment: Mapping[str, str]) -> float:
    """Run a case and return its user and system time."""
    with subprocess.Popen(
        [sys.executable, *case.words], stdout=subprocess.DEVNULL, env=environment
    ) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in case.codes:
        sys.exit(f"{case.name} ended with exit code {process.returncode}")
    return usage.ru_utime + usage.ru_stime


def report(took: Mapping[str, Sequence[float]], repeats: int) -> tuple[list[str], bool]:
    """Return the section of RESULTS.md, and whether all targets are met."""
    middle = {name: statistics.median(seconds) for name, seconds in took.items()}
    of_verify = {
        "gate, rates": middle["gate, rates"] / middle["verify"],
        "gate, strict": middle["gate, strict"] / middle["verify"],
        "gate, evidence": middle["gate, evidence"] / middle["verify, evidence"],
    }
    of_floor = middle["gate, rates"] / middle["floor"]
    worst = max(of_verify.values())
    first, second = worst <= MOST_OF_VERIFY, of_floor < MOST_OF_FLOOR
    table = [
        [
            name,
            f"{middle[name]:.3f} [{min(seconds):.3f}–{max(seconds):.3f}]",
            f"{middle[name] / middle['floor']:.2f}",
            f"{of_verify[name]:.2f}" if name in of_verify else "–",
        ]
        for name, seconds in took.items()
    ]
    names = ("click", "cryptography", "jsonschema", "numpy", "pydantic", "rich")
    lines = [
        "## A gate beside a verification",
        "",
        f"    python benchmarks/gate.py --repeats {repeats} --record",
        "",
        f"- Date: {datetime.now(UTC):%Y-%m-%d}",
        f"- Machine: {machine()}; one process at a time, one thread",
        f"- Python {platform.python_version()}; {', '.join(f'{n} {version(n)}' for n in names)}",
        "- Medians [least–most] of alternating runs; every process is new, and its imports count.",
        "",
        *markdown_table(("what", "CPU-s", "× floor", "× its verification"), table),
        "",
        f"- At most {MOST_OF_VERIFY:g} × a verification: {_met(first)} ({worst:.2f} ×).",
        f"- Signatures and rates alone, under {MOST_OF_FLOOR:g} × the floor: {_met(second)} "
        f"({of_floor:.2f} ×).",
        "",
        "The floor is Python importing every base dependency that pyproject.toml names, in the "
        "form in which this program uses it.",
    ]
    return lines, first and second


def _met(holds: bool) -> str:
    return "met" if holds else "NOT met"


if __name__ == "__main__":
    sys.exit(main())
