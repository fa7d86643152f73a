"""What ``receipts show`` says of differences, corrections and reasons."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.events.synthetic import Mixture, synthetic_event, synthetic_plan
from safety_receipts.receipts.keys import generate_key
from safety_receipts.receipts.model.demonstrations import Ordering
from safety_receipts.receipts.model.receipt import ConditionResult

Receipts = Callable[..., Any]


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory, make_golden: ModuleType) -> Path:
    """An event of a calibrated judge, with two failed points in the baseline."""
    folder = tmp_path_factory.mktemp("rich") / "bundle"
    make_golden.seal_rich(folder, make_golden.EVALUATOR)
    return Path(folder)


def _row(text: str, title: str, condition: str) -> str:
    """Return a condition's line in the table of that title."""
    lines = text.partition(title)[2].splitlines()
    return next(line for line in lines if line.split()[:1] == [condition])


def test_conditions_show_their_difference_and_the_corrected_rate(
    rich: Path, receipts: Receipts
) -> None:
    shown = receipts("show", rich).out
    result = Bundle(rich).receipt.statement.predicate.conditions[2]
    assert result.baseline_difference is not None
    assert result.corrected_rate is not None
    row = _row(shown, "Compliance by condition", result.id)
    value = float(result.baseline_difference.value) * 100
    lower = float(result.baseline_difference.lower) * 100
    upper = float(result.baseline_difference.upper) * 100
    assert f"{value:+.1f} ({lower:+.1f}…{upper:+.1f})".replace("-", "−") in row
    assert f"{float(result.corrected_rate.rate) * 100:.1f} (" in row
    assert "(" in _row(shown, "Compliance by condition", "h0-b0")
    assert "+" not in _row(shown, "Compliance by condition", "h0-b0")
    assert max(map(len, shown.splitlines())) <= 120
    assert "…  " not in shown.partition("Compliance by condition")[2].partition("Findings")[0]


def test_reasons_stand_beside_the_denominators(rich: Path, receipts: Receipts) -> None:
    shown = receipts("show", rich).out
    conditions = Bundle(rich).receipt.statement.predicate.conditions
    assert any(condition.reasons for condition in conditions)
    for condition in conditions:
        row = _row(shown, "Denominators", condition.id)
        first = [f"{one.points} {one.reason.value}" for one in condition.reasons[:1]]
        assert all(said in row for said in first)
        assert first or "error" not in row


def test_without_a_calibration_there_is_room_for_bars(tmp_path: Path, receipts: Receipts) -> None:
    plan = synthetic_plan([Mixture(0, 0, None), Mixture(4, 4, Ordering.SUFFIX)], {"alpha": 40})
    synthetic_event(tmp_path, plan, generate_key())
    shown = receipts("show", tmp_path).out
    assert "judge corrected" not in shown
    assert "█" in _row(shown, "Compliance by condition", "h4-b4-suffix")


def test_choosing_conditions_compares_none_with_another(
    rich: Path, receipts: Receipts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of thousands of conditions that would be millions of comparisons."""

    def compared(one: object, other: object) -> bool:
        raise AssertionError("conditions were compared")

    monkeypatch.setattr(ConditionResult, "__eq__", compared)
    for more in ([], ["--json"], ["--conditions", "h2*", "--json"]):
        assert receipts("show", rich, *more).code == 0
