"""``receipts gate --artifacts``: level *bound* before a gate, on a model that was really run."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from auditing import Event, run_event
from printed import held
from studies import write_study

Receipts = Callable[..., Any]
BOUND = "version: 1\nrules:\n  - {rule: verified, level: bound}\n  - rule: model\n"


@pytest.fixture(scope="module")
def event(tmp_path_factory: pytest.TempPathFactory) -> Event:
    """A small study, run once; read only."""
    folder = tmp_path_factory.mktemp("event")
    return run_event(write_study(folder / "study", queries=2, controls=1), folder)


@pytest.fixture
def gate(event: Event, tmp_path: Path, receipts: Receipts) -> Callable[..., Any]:
    """Hold the event to a policy that wants level bound."""
    (tmp_path / "policy.yaml").write_text(BOUND, "utf-8")
    words = ["gate", event.bundle, "--policy", tmp_path / "policy.yaml", "--trust", event.key]
    return lambda *more: receipts(*words, "--model", event.study / "model", *more, "--json")


def status(printed: str) -> dict[str, str]:
    (receipt,) = held("cli-gate", printed)["receipts"]
    return {rule["id"]: rule["status"] for rule in receipt["rules"]}


def test_the_artifacts_are_the_ones_named(gate: Any, event: Event) -> None:
    finished = gate("--artifacts", event.study / "plan.yaml")
    assert finished.code == 0, finished.out
    assert held("cli-gate", finished.out)["receipts"][0]["level"] == "bound"
    assert status(finished.out) == {
        "instrument": "passed",
        "verified": "passed",
        "model": "passed",
    }


def test_without_them_the_level_is_not_reached(gate: Any) -> None:
    finished = gate()
    assert finished.code == 1
    assert status(finished.out)["verified"] == "failed"


@pytest.mark.parametrize(
    ("file", "was", "now"),
    [("queries.jsonl", b"Hide", b"Find"), ("model/config.json", b'"llama"', b'"llama" ')],
    ids=["queries", "checkpoint"],
)
def test_other_artifacts_end_it(
    file: str, was: bytes, now: bytes, *, gate: Any, event: Event, tmp_path: Path
) -> None:
    """No rule is decided then: what is on this disk is not what the receipt names."""
    study = Path(shutil.copytree(event.study, tmp_path / "study"))
    data = (study / file).read_bytes()
    assert was in data
    (study / file).write_bytes(data.replace(was, now, 1))
    finished = gate("--artifacts", study / "plan.yaml")
    assert finished.code == 3
    (receipt,) = held("cli-gate", finished.out)["receipts"]
    assert receipt["rules"] == []
    assert receipt["failed"]


def test_a_plan_file_that_is_not_there(gate: Any, tmp_path: Path) -> None:
    assert gate("--artifacts", tmp_path / "nowhere.yaml").code == 2
