"""What a dry run prints, whole, as somebody read it: the text is below ``__snapshots__``."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pages import by_form
from studies import write_study
from syrupy.assertion import SnapshotAssertion


def test_a_dry_run(
    receipts: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    snapshot: SnapshotAssertion,
) -> None:
    """Digests and measured durations by their form, as the pages are compared; durations in a
    column without the blanks before them.
    """
    write_study(tmp_path / "study", queries=4, controls=2)
    monkeypatch.chdir(tmp_path)
    done = receipts("plan", "study/plan.yaml")
    assert done.code == 0, done.err
    # What the device's speed is measured with depends on how fast it is.
    measured = re.sub(r"(?<=measured on cpu: )[^)]+", "…", by_form(done.out))
    assert re.sub(" +(?=‹duration›)", " ", measured) == snapshot
