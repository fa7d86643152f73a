"""Statements that several processes add to one log at once, each until its witnesses saw it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from transparency import WitnessedLog, witnessed_log

from safety_receipts.receipts.bundle import PLAN, BundleWriter, read_envelope
from safety_receipts.receipts.events.synthetic import Mixture, synthetic_plan
from safety_receipts.receipts.keys import generate_key
from safety_receipts.receipts.log.formats.entry import entry_of
from safety_receipts.receipts.log.survey import check_log
from safety_receipts.receipts.seal import seal_plan

_PROGRAM = """
import sys
from pathlib import Path
from safety_receipts.receipts.bundle import PLAN, read_envelope
from safety_receipts.receipts.log.settings import load_statement_log

settings, *folders = map(Path, sys.argv[1:])
for folder in folders:
    log = load_statement_log(settings)
    log.record(read_envelope(folder / PLAN, 2**25), folder / PLAN, folder)
"""
WRITERS, EACH = 3, 6


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """Bundles with a plan each."""
    signer, made = generate_key(), []
    for number in range(WRITERS * EACH):
        plan = synthetic_plan([Mixture(0, 0, None)], {"alpha": 1 + number})
        folder = tmp_path / f"bundle-{number}"
        BundleWriter(folder).write_plan(seal_plan(plan, signer))
        made.append(folder)
    return made


def test_several_writers_wait_for_each_other(tmp_path: Path, folders: list[Path]) -> None:
    with witnessed_log(tmp_path / "logged") as log:
        running = [
            subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, str(log.settings), *map(str, folders[n::WRITERS])],
                stderr=subprocess.PIPE,
                text=True,
            )
            for n in range(WRITERS)
        ]
        for process in running:
            assert process.communicate(timeout=120)[1] == ""
            assert process.returncode == 0
        assert log.log.size == len(folders)
        check_log(log.log.source, log.log.signed)
        assert {_index(log, folder) for folder in folders} == set(range(len(folders)))


def _index(log: WitnessedLog, folder: Path) -> int:
    """Return the place that a proof shows, with the witnesses that the policy asks for."""
    envelope = read_envelope(folder / PLAN, 2**25)
    found = log.own.recorded(envelope, folder / PLAN, folder)
    assert found is not None
    assert len(found.seen.seen) == 2
    assert found.proof.holds(entry_of(envelope, folder / PLAN).leaf())
    return found.proof.index
