"""The benchmark of a log: it measures what it names, and says when a target is not met."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import log
import log_trees
import pytest

from safety_receipts.receipts.log.formats.entry import LogEntry

OPTIONS = argparse.Namespace(entries=1_000, repeats=1, proofs=5, peers=Path("none"), record=False)


def test_a_small_one(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ["--entries", "600", "--repeats", "1", "--proofs", "3", "--peers", str(tmp_path / "no")]
    assert log.main(words) in (0, 1)
    printed = capsys.readouterr().out
    for batch in log.BATCHES:
        (row,) = [line for line in printed.splitlines() if line.startswith(f"| {batch:,} |")]
        assert float(row.split("|")[2].replace(",", "")) > 0
    assert "- The other trees were not there." in printed


def test_entries_are_those_of_plans() -> None:
    leaves = log_trees.made(0, 100)
    assert all(LogEntry.parse(leaf) is not None for leaf in leaves)
    assert len(set(leaves)) == 100


def results(**changes: Any) -> dict[str, list[log.Result]]:
    """Return what a run could find, by which every target is met."""
    one = {"seconds": 0.01, "cpu": 0.01, "milliseconds": 0.5, "worst": 2.0, "files": 3}
    one |= {"megabytes": 60.0, "built": 0.01, "proving": 0.01, "root": "aa"}
    found = {f"append {batch:,}": [one] for batch in log.BATCHES}
    found |= {name: [one] for name in ("add one", "prove", "append a tenth")}
    found |= {"verify all": [{**one, "entries": 1_000}]}
    found |= {"verify a tenth": [{**one, "seconds": 0.001, "entries": 100}]}
    found |= {f"tree: {name}": [one] for name in (log.OURS_ON_DISK, log.OURS_IN_MEMORY)}
    found |= {f"tree: {name}": [{**one, "built": 1.0}] for name in ("other", log.SQLITE)}
    for name, change in changes.items():
        key = name.replace("_", " ")
        found[key] = [{**found[key][0], **change}]
    return found


def test_a_target_that_is_not_met_is_told() -> None:
    lines, met = log.report(results(), OPTIONS)
    assert met
    assert sum(": met (" in line for line in lines) == 5
    assert any(line.startswith("- On the disk: ") for line in lines)
    missed = [
        {"append_10,000": {"seconds": 1.0}},
        {"prove": {"milliseconds": 6.0}},
        {"verify_all": {"seconds": 0.02}},
        {"verify_all": {"megabytes": 201.0}},
        {"tree:_other": {"built": 0.05}},
    ]
    for changes in missed:
        lines, met = log.report(results(**changes), OPTIONS)
        assert not met
        assert sum("NOT met" in line for line in lines) == 1
    with pytest.raises(SystemExit, match="different roots"):
        log.report(results(**{"tree:_other": {"root": "bb"}}), OPTIONS)
