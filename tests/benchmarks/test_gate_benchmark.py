"""The benchmark of a gate: it runs what it names, and says when a target is not met."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import gate
import pytest


def test_a_small_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert gate.main(["--repeats", "1", "--queries", "1"]) in (0, 1)
    printed = capsys.readouterr().out
    for case in gate.cases(Path()):
        (row,) = [line for line in printed.splitlines() if line.startswith(f"| {case.name} |")]
        assert float(row.split("|")[2].split("[")[0]) > 0


def test_the_floor_is_every_base_dependency() -> None:
    """And each is there; what is imported is what the program imports."""
    declared = tomllib.loads((gate.ROOT / "pyproject.toml").read_text("utf-8"))
    names = {one.partition(">")[0].lower() for one in declared["project"]["dependencies"]}
    imported = {"yaml" if name == "pyyaml" else name for name in names}
    assert all(name in gate.FLOOR for name in imported)
    subprocess.run([sys.executable, "-c", gate.FLOOR], check=True)


def test_a_target_that_is_not_met_is_told() -> None:
    took = {case.name: [1.0] for case in gate.cases(Path())}
    lines, met = gate.report(took, 1)
    assert met
    assert sum(": met (" in line for line in lines) == 2
    for name, seconds in (("gate, strict", 1.6), ("gate, rates", 2.0)):
        lines, met = gate.report({**took, name: [seconds]}, 1)
        assert not met
        assert any("NOT met" in line for line in lines)
