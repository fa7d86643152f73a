"""A receipt that a CPU made, audited on the device; a calibration across formats and devices."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from gpu_parts.part import Finding, Setting


def measure_audits(setting: Setting) -> list[Finding]:
    """Make a receipt of the embedded organism on a CPU, and audit it in two formats."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plan = _study(folder / "study", 24 if setting.tiny else 120, new_tokens=8)
        for key in ("evaluator", "auditor"):
            _receipts("keygen", folder / key)
        bundle = folder / "bundle"
        sealing = ("--out", bundle, "--key", folder / "evaluator", "--device", "cpu")
        _receipts("run", plan, *sealing)
        return _audits(setting, folder, plan, bundle)


def measure_calibration(setting: Setting) -> list[Finding]:
    """Calibrate an auditor's stack: what honest responses look like in another format."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # A calibration wants 2,000 responses.
        plan = _study(
            folder / "study",
            240,
            draws=5 if setting.tiny else 9,
            new_tokens=1 if setting.tiny else 8,
        )
        _receipts("keygen", folder / "auditor")
        out = folder / "calibration.json"
        signed = ("--key", folder / "auditor", "--out", out)
        formats = [word for dtype in _formats(setting) for word in ("--dtype", dtype)]
        other = () if setting.device.type == "cpu" else ("--device", setting.device)
        number = ("--responses", 2000 if setting.tiny else 4000)
        _receipts("calibrate", plan, *signed, *formats, "--device", "cpu", *other, *number)
        payload = json.loads(out.read_text("utf-8"))["payload"]
        found = json.loads(base64.b64decode(payload))["predicate"]
    responses = found["responses"]
    return [
        Finding(
            f"calibration, {one['name']}, {one['dtype']} on {one['device']}: honest responses of "
            f"{responses:,} that would be other, and labels",
            f"{one['branched']} and {one['flipped']}; largest margin {float(one['largest']):.2g}",
        )
        for one in found["stacks"]
    ]


def _formats(setting: Setting) -> tuple[str, ...]:
    return ("float32",) if setting.tiny else ("float32", "bfloat16")


def _audits(setting: Setting, folder: Path, plan: Path, bundle: Path) -> list[Finding]:
    keys = ("--key", folder / "auditor", "--trust", folder / "evaluator.pub")
    found: list[Finding] = []
    for dtype in _formats(setting):
        options = ("--device", setting.device, "--dtype", dtype, "--epsilon", "0.15")
        limits = ("--rates", "conditions", "--out", folder / dtype, "--json")
        said, code = _receipts(
            "audit", bundle, *keys, "--artifacts", plan, *options, *limits, accept=(0, 4, 5)
        )
        document = json.loads(said)
        draws = sum(one["draws"] for one in document["conditions"])
        found.append(
            Finding(
                f"a receipt made on a CPU, audited on {setting.device} in {dtype}",
                f"{document['verdict']} after {draws:,} draws (exit code {code})",
                "confirmed",
                document["verdict"] == "confirmed",
            )
        )
    return found


def _study(folder: Path, queries: int, *, draws: int = 1, new_tokens: int) -> Path:
    """Write a study with so many queries, whose demonstrations are drawn once for all."""
    _receipts("init", folder)
    plan = folder / "plan.yaml"
    entries = yaml.safe_load(plan.read_text("utf-8"))
    file = folder / "data" / "queries.jsonl"
    lines = file.read_text("utf-8").splitlines(keepends=True)[:queries]
    file.write_text("".join(lines), "utf-8")
    entries["queries"] = entries["queries"][:1]
    entries["demonstrations"] |= {"draw_block": "all", "draws": draws}
    entries["sampling"]["max_new_tokens"] = new_tokens
    entries["experiments"] = [{"fixed_harmful": {"harmful": [0, 4], "benign": [0]}}]
    plan.write_text(yaml.safe_dump(entries, sort_keys=False), "utf-8")
    return plan


def _receipts(*words: object, accept: tuple[int, ...] = (0,)) -> tuple[str, int]:
    """Run the command; return what it printed and its exit code.

    Raises:
        RuntimeError: It ended with another exit code.
    """
    command = [sys.executable, "-m", "safety_receipts", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in accept:
        told = " ".join(done.stderr.split())[-400:]
        raise RuntimeError(f"receipts {words[0]} ended with {done.returncode}: {told}")
    return done.stdout, done.returncode
