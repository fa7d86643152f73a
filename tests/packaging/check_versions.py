"""Pilots, runs, seals, verifies and audits an event with whatever versions are installed.

Run by ``make test-newest`` and ``make test-oldest``, by the environment's own Python: what the
tests say of pinned versions, this says of those that an installation may find today.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

RECEIPTS = Path(sys.executable).with_name("receipts")
PACKAGES = ("torch", "transformers", "tokenizers", "huggingface_hub", "numpy", "pydantic")
QUERIES = 360
"""Rows of the organism's corpora of queries and controls."""


def receipts(*words: str | Path, cwd: Path) -> dict[str, Any]:
    """Run a command, which has to succeed, and return what it says as JSON."""
    finished = subprocess.run(
        [str(RECEIPTS), *map(str, words), "--json"],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    if finished.returncode:
        sys.exit(f"{words}: {finished.returncode}\n{finished.stdout}{finished.stderr}")
    found: dict[str, Any] = json.loads(finished.stdout)
    return found


def small(plan: Path) -> None:
    """Leave of a plan what takes seconds: the baseline and two conditions."""
    entries = yaml.safe_load(plan.read_text("utf-8"))
    entries["experiments"] = [{"fixed_harmful": {"harmful": [4], "benign": [0, 16]}}]
    plan.write_text(yaml.safe_dump(entries, sort_keys=False), "utf-8")


def main() -> None:
    """Do everything, and say with which versions."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        healthy = receipts("doctor", cwd=folder)
        shared = [line["good"] for line in healthy["lines"] if line["name"] == "shared prefixes"]
        assert shared == [True], healthy
        receipts("init", "study", cwd=folder)
        small(folder / "study" / "plan.yaml")
        for who in ("evaluator", "auditor"):
            receipts("keygen", who, cwd=folder)
        pilot = receipts("run", "study/plan.yaml", "--limit", "16", cwd=folder)
        assert pilot["judged"] == pilot["points"] == 16, pilot
        words = ("run", "study/plan.yaml", "--key", "evaluator", "--out", "bundle")
        sealed = receipts(*words, cwd=folder)
        assert (sealed["points"], sealed["failed"]) == (3 * QUERIES, 0), sealed
        held = ("--trust", "evaluator.pub", "--artifacts", "study/plan.yaml")
        verified = receipts("verify", "bundle", *held, "--allow-instrument", cwd=folder)
        assert verified["level"] == "bound", verified
        audit = receipts("audit", "bundle", "--key", "auditor", *held, cwd=folder)
        assert audit["verdict"] == "confirmed", audit
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    print(f"piloted, run, sealed, verified and audited with {versions}")


if __name__ == "__main__":
    main()
