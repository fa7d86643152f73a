"""The benchmark of a run's first token, at a size that shows whether it measures what it says."""

from __future__ import annotations

import time
from pathlib import Path

import first_token
import pytest
import rendering

from safety_receipts.receipts.unfinished import RUN_JOURNAL, RUN_PROMPTS
from safety_receipts.runner.run import event


def test_a_run_begins_begins_sealed_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rendering, "VOCABULARY", 1500)
    monkeypatch.setattr(rendering, "LEXICON", 400)
    monkeypatch.setattr(rendering, "HARMFUL", 130)
    monkeypatch.setattr(first_token, "MOST_ROWS", 16)  # several batches, so that it can be stopped
    monkeypatch.setattr(event, "render", event.render)  # which the benchmark times from outside
    monkeypatch.setattr(
        first_token, "_in_process", lambda *what: first_token.measure(*what, began=time.time())
    )
    study, bundles = tmp_path / "study", tmp_path / "bundles"
    for folder in (study, bundles):
        folder.mkdir()
    first_token.write_study(study, 2)
    found = first_token.starts(study, "all", bundles)
    assert tuple(found) == first_token.STARTS
    for one in found.values():
        assert one.points == 31 * 2 * 2
        assert 0 < one.prompts + one.loaded < one.first - one.resolved
    for name in ("new", "sealed"):
        left = {file.name for file in (bundles / name).iterdir()}
        assert left == {RUN_JOURNAL, RUN_PROMPTS, "plan.dsse.json"}
