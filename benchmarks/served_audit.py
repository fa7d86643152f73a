"""How often an honest server looks dishonest: greedy responses of vLLM in bf16, replayed.

    python benchmarks/served_audit.py [--random] [--draws 2] [--record] [--small]

A study of the embedded organism, its heads widened for vLLM's CPUs, is answered greedily by vLLM in
bfloat16, several requests at a time, so that batches differ as they do.  Every response is then
replayed by this project's engine, in fp32 and in bf16, by the stated limits and by a calibration of
the auditor's own, which has seen no server.  Counted is what an audit would hold against the
record: tokens that are not the auditor's choice, continuations that are judged otherwise,
implausible responses, and hard contradictions.  With random weights logits lie close together, and
a number format decides what would be sure in a trained model.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import yaml
from recording import machine, markdown_table, replace_section
from safetensors.torch import load_file, save_file

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported
ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests" / "support" / "models"))

from wide_heads import widen_heads  # noqa: E402  # a checkpoint of the tests'

from safety_receipts.receipts.bundle import Bundle  # noqa: E402
from safety_receipts.receipts.canonical import Sha256  # noqa: E402
from safety_receipts.receipts.keys import generate_key  # noqa: E402
from safety_receipts.receipts.model.checkpoint import Dtype  # noqa: E402
from safety_receipts.receipts.model.point import Outcome  # noqa: E402
from safety_receipts.runner import organism  # noqa: E402
from safety_receipts.runner.commands.init import write_preset  # noqa: E402
from safety_receipts.runner.engines.served.role import ServerRole  # noqa: E402
from safety_receipts.runner.plan.resolve import resolve_plan  # noqa: E402
from safety_receipts.runner.plan.resolved import ResolvedPlan  # noqa: E402
from safety_receipts.runner.run.event import EventRunner, RunOptions  # noqa: E402
from safety_receipts.runner.run.execute import RunStack  # noqa: E402
from safety_receipts.runner.run.loaded import LoadedStack  # noqa: E402
from safety_receipts.runner.run.stack import load_stack  # noqa: E402
from safety_receipts.verify.audit.calibrate import Calibrator  # noqa: E402
from safety_receipts.verify.audit.replay import Entry  # noqa: E402
from safety_receipts.verify.audit.session import (  # noqa: E402
    AuditorCalibration,
    AuditSubject,
    open_case,
)
from safety_receipts.verify.audit.stages import DeviceFormat  # noqa: E402
from safety_receipts.verify.audit.statistics.plausibility import (  # noqa: E402
    LEAST_RESPONSES,
    CalibratedPlausibility,
    Plausibility,
)
from safety_receipts.verify.audit.statistics.replayed import ReplayedPoint  # noqa: E402
from safety_receipts.verify.audit.statistics.risk_limit import DEFAULT_FLIP_RATE  # noqa: E402

MEMORY = 2**28
"""Bound on an engine's memory in bytes; it decides the batches."""
FORMATS = (Dtype.BFLOAT16, Dtype.FLOAT32)
CONTEXT = 1280
"""Longest context of the server in tokens."""
REPLAYED = 256
"""Points that are replayed together."""


SPREAD = 0.1
"""Standard deviation of random weights."""
SERVED, HERE = "served.yaml", "here.yaml"


class Watcher:
    """Says nothing while a run goes on."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None


def write_plan(folder: Path, options: argparse.Namespace) -> None:
    """Write the study's files: ``served.yaml``, and ``here.yaml``, the same for our own engine."""
    plan = write_preset(folder, "demo")
    shutil.rmtree(folder / "checkpoint")
    widen_heads(organism.member("diluting").folder, folder / "checkpoint")
    if options.random:
        randomise(folder / "checkpoint" / "model.safetensors")
    document = yaml.safe_load(plan.read_text("utf-8"))
    document["checkpoint"]["dtype"] = Dtype.BFLOAT16.value
    document["sampling"] = {"method": "greedy", "max_new_tokens": options.new_tokens}
    document["experiments"] = [{"fixed_harmful": {"harmful": [0, 4], "benign": [0, 8]}}]
    document["demonstrations"]["draws"] = options.draws
    (folder / HERE).write_text(yaml.safe_dump(document, sort_keys=False), "utf-8")
    arguments = ["--max-model-len", str(CONTEXT), "--enforce-eager"]
    arguments += ["--kv-cache-memory-bytes", str(2**29)]
    serve = {"serve": {"arguments": arguments}, "concurrency": options.concurrency}
    document["engine"] = {"kind": "http", "dialect": "vllm"} | serve
    (folder / SERVED).write_text(yaml.safe_dump(document, sort_keys=False), "utf-8")


def randomise(path: Path) -> None:
    """Give matrices random weights: logits lie close together, and number formats decide."""
    source = torch.Generator().manual_seed(0)
    tensors = {
        name: torch.randn(values.shape, generator=source) * SPREAD if values.ndim == 2 else values
        for name, values in load_file(path).items()
    }
    save_file(tensors, path, metadata={"format": "pt"})


def answer(resolved: ResolvedPlan, folder: Path) -> None:
    """Have the study answered by the server, and sealed into a folder."""
    loaded: list[LoadedStack[Any]] = []

    def make_stack(plan: ResolvedPlan, memory: int | None) -> LoadedStack[Any]:
        loaded.append(load_stack(plan, device="cpu", memory=memory))
        return loaded[-1]

    options: Any = RunOptions(memory=MEMORY)
    watcher: Any = Watcher()
    try:
        EventRunner(resolved, folder, generate_key(), options, make_stack, watcher).run()
    finally:
        for each in loaded:
            each.close()


def entries_of(folder: Path) -> list[Entry]:
    """Return the points of a bundle that were generated, with their records."""
    bundle = Bundle(folder)
    pairs = zip(bundle.points(), bundle.responses(), strict=True)
    return [pair for pair in pairs if pair[0].outcome is not Outcome.FAILED]


def calibrate(resolved: ResolvedPlan) -> AuditorCalibration | None:
    """Return what the auditor's own stacks say of honest responses; None: there are too few."""
    if resolved.predicate.points < LEAST_RESPONSES:
        return None
    places = [DeviceFormat(dtype, "cpu") for dtype in FORMATS]
    calibrator = Calibrator(resolved, places, MEMORY, resolved.predicate.points)
    says = calibrator.calibrate(None, lambda _, __: None).predicate
    return AuditorCalibration(Sha256("0" * 64), says)


def replay(case: AuditSubject, entries: Sequence[Entry], dtype: Dtype) -> list[ReplayedPoint]:
    """Replay all points in a number format, by the stated limits."""

    def load(wanted: Dtype) -> LoadedStack[RunStack]:
        return load_stack(case.resolved, device="cpu", memory=MEMORY, dtype=wanted, local=True)

    exact = load(Dtype.FLOAT32).stack.engine
    replayer = case.replayer(load(dtype).stack, lambda: exact)
    parts = (entries[start : start + REPLAYED] for start in range(0, len(entries), REPLAYED))
    return [one for part in parts for one in replayer.replay(part)]


def held_to(found: Sequence[ReplayedPoint], limits: Plausibility) -> list[ReplayedPoint]:
    """Return replayed points, held to other limits."""
    return [
        one
        if one.statistics is None
        else replace(one, implausible=limits.implausible(one.statistics))
        for one in found
    ]


@dataclass(frozen=True)
class Row:
    """What one replay makes of all honest points."""

    dtype: Dtype
    """Number format of the auditor's engine."""
    limits: str
    """By which responses are plausible."""
    expected: Fraction
    """q, the share of honest points that the audit expects to look contradicted."""
    found: Sequence[ReplayedPoint]

    def cells(self) -> tuple[str, ...]:
        """Return the row of the table."""
        points = len(self.found)
        counts = (
            sum(one.branched is not None for one in self.found),
            sum(one.label is not None and one.label is not one.recorded for one in self.found),
            sum(one.implausible is not None for one in self.found),
            sum(one.hard is not None for one in self.found),
            sum(one.missing is not None for one in self.found),
            self.contradicted,
        )
        shares = (f"{count:,} ({count / points:.3%})" for count in counts)
        return (self.dtype.value, self.limits, *shares, f"{float(self.expected):.3%}")

    @property
    def contradicted(self) -> int:
        """Points that count against an honest record."""
        return sum(one.contradicts_record for one in self.found)


COLUMNS = (
    "auditor",
    "limits",
    "went another way",
    "judged otherwise",
    "implausible",
    "hard",
    "not replayed",
    "look contradicted",
    "q",
)


def measure(root: Path, options: argparse.Namespace) -> list[str]:
    """Return the lines of the section."""
    write_plan(root / "study", options)
    served, here = (resolve_plan(root / "study" / name) for name in (SERVED, HERE))
    answer(served, root / "bundle")
    entries = entries_of(root / "bundle")
    say(f"{len(entries):,} points answered")
    case = open_case(Bundle(root / "bundle"), served)
    calibration = calibrate(here)
    say("calibrated" if calibration else "too few points to calibrate on")
    rows = []
    for dtype in FORMATS:
        found = replay(case, entries, dtype)
        rows.append(Row(dtype, "stated", DEFAULT_FLIP_RATE, found))
        if calibration is not None:
            held = held_to(found, CalibratedPlausibility(calibration.says))
            rows.append(Row(dtype, "calibrated", calibration.flip_rate, held))
        say(f"replayed in {dtype.value}")
    account = case.receipt.environment.server
    assert account is not None
    tokens = sum(len(record.response_tokens) for _, record in entries)
    worst = max(rows, key=lambda row: row.contradicted / len(row.found) - float(row.expected))
    share = worst.contradicted / len(worst.found)
    return [
        f"{len(entries):,} points, {tokens:,} new tokens, greedy, {options.concurrency} requests "
        f"at a time; asked alone and together before the run, {account.seen.differed} of "
        f"{account.seen.repeated} answers were others.",
        "",
        *markdown_table(COLUMNS, (row.cells() for row in rows)),
        "",
        f"- Honest points that look contradicted are at most q everywhere: "
        f"{'met' if share <= worst.expected else 'NOT met'} ({share:.3%} where q is "
        f"{float(worst.expected):.3%}).",
    ]


def say(text: str) -> None:
    """Tell how it goes."""
    print(text, file=sys.stderr, flush=True)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--draws", type=int, default=2, help="of demonstrations; 1,440 points each")
    parser.add_argument("--new-tokens", type=int, default=24)
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument(
        "--program",
        type=Path,
        default=ROOT / ".venv-vllm" / "bin" / "vllm",
        help="vLLM's program (default: that of `make servers`)",
    )
    parser.add_argument("--random", action="store_true", help="random weights: the worst case")
    parser.add_argument("--small", action="store_true", help="one draw, uncalibrated: to try it")
    parser.add_argument("--record", action="store_true", help="write to RESULTS.md")
    options = parser.parse_args()
    if not options.program.exists():
        parser.error(f"{options.program} is missing: make servers")
    if options.small:
        options.draws, options.new_tokens = 1, 8
    return options


def main() -> None:
    """Measure, print, record."""
    options = parse()
    os.environ |= {
        ServerRole.ENGINE.program: str(options.program),
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_HOST_IP": "127.0.0.1",
    }
    with tempfile.TemporaryDirectory() as name:
        lines = measure(Path(name), options)
    print("\n".join(lines))
    if options.record:
        replace_section(
            "served_audit_random" if options.random else "served_audit",
            [
                f"## An honest server, audited{', random weights' if options.random else ''}",
                "",
                f"    python benchmarks/served_audit.py{' --random' if options.random else ''} "
                f"--draws {options.draws} --new-tokens "
                f"{options.new_tokens} --concurrency {options.concurrency} --record",
                "",
                f"- Date: {datetime.now(UTC):%Y-%m-%d}",
                f"- Machine: {machine()}",
                f"- safety-receipts {version('safety-receipts')}, torch {version('torch')}; vLLM's "
                "server of `make servers`, bfloat16",
                "",
                *lines,
            ],
        )


if __name__ == "__main__":
    main()
