"""False reasons, corrections and differences: what is caught with the evidence, and without."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tampering import predicate

from safety_receipts.receipts.bundle import POINTS_FILE, Bundle
from safety_receipts.receipts.keys import Signer
from safety_receipts.receipts.model.point import Reason

Receipts = Callable[..., Any]
Change = Callable[[dict[str, Any]], None]
"""Edits a condition with demonstrations, of a calibrated judge."""


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory, make_golden: ModuleType) -> Path:
    """An event of the golden plan, sealed anew."""
    folder = tmp_path_factory.mktemp("rich") / "bundle"
    make_golden.seal_rich(folder, make_golden.EVALUATOR)
    return Path(folder)


class Tampered:
    """Edits a copy of the event's receipt, and says which checks fail."""

    def __init__(self, folder: Path, signer: Signer, receipts: Receipts) -> None:
        self.folder, self._signer, self._receipts = folder, signer, receipts

    def failed(self, change: Change, *, number: int = 1, evidence: bool) -> set[str]:
        """Return the failed checks after an edit of one condition."""
        predicate(lambda p: change(p["conditions"][number]))(self.folder, self._signer)
        if not evidence:
            (self.folder / POINTS_FILE).unlink()
        key = self.folder / "key.pub"
        key.write_bytes(self._signer.public.pem())
        finished = self._receipts("verify", self.folder, "--trust", key, "--json")
        checks = json.loads(finished.out)["checks"]
        return {check["name"] for check in checks if check["status"] == "failed"}


@pytest.fixture
def tampered(tmp_path: Path, rich: Path, make_golden: ModuleType, receipts: Receipts) -> Tampered:
    folder = Path(shutil.copytree(rich, tmp_path / "bundle"))
    return Tampered(folder, make_golden.EVALUATOR, receipts)


def _reason(name: str, points: int) -> Change:
    return lambda condition: condition.update(reasons=[{"reason": name, "points": points}])


def _drop(field: str) -> Change:
    return lambda condition: condition.update({field: None})


def _set(field: str, part: str, value: str) -> Change:
    return lambda condition: condition[field].update({part: value})


WITHOUT_EVIDENCE: dict[str, tuple[Change, str]] = {
    "a reason nobody had": (_reason("judge_na", 1), "denominators"),
    "a failure nobody had": (_reason("out_of_memory", 2), "denominators"),
    "another corrected rate": (_set("correctedRate", "rate", "0.111111"), "rates"),
    "no corrected rate": (_drop("correctedRate"), "rates"),
    "another difference": (_set("baselineDifference", "value", "0.300000"), "rates"),
    "no difference": (_drop("baselineDifference"), "rates"),
}
WITH_EVIDENCE: dict[str, tuple[Change, str]] = {
    "a corrected rate known better": (_set("correctedRate", "upper", "0.400000"), "intervals"),
    "a correction of another kind": (_set("correctedRate", "method", "wilson"), "intervals"),
    "another level": (_set("correctedRate", "level", "0.900000"), "intervals"),
    "a difference known better": (_set("baselineDifference", "lower", "-0.050000"), "differences"),
    "a difference of another kind": (
        _set("baselineDifference", "method", "wilson"),
        "differences",
    ),
    "lists called nobody's": (_set("interval", "method", "wilson-clustered"), "intervals"),
}


@pytest.mark.parametrize("name", WITHOUT_EVIDENCE)
def test_a_published_receipt_is_caught_in_contradictions(name: str, tampered: Tampered) -> None:
    change, check = WITHOUT_EVIDENCE[name]
    assert tampered.failed(change, evidence=False) == {check}


@pytest.mark.parametrize("name", WITH_EVIDENCE)
def test_the_evidence_gives_every_part(name: str, tampered: Tampered) -> None:
    change, check = WITH_EVIDENCE[name]
    assert tampered.failed(change, evidence=True) == {check}
    assert tampered.failed(change, evidence=False) == set()


def test_reasons_that_fit_the_counts_are_held_to_the_evidence(tampered: Tampered) -> None:
    """Another reason for the failed points of a condition fits all counts."""
    conditions = Bundle(tampered.folder).receipt.statement.predicate.conditions
    failed = [any(one.reason is Reason.ENGINE_ERROR for one in c.reasons) for c in conditions]

    def change(condition: dict[str, Any]) -> None:
        (one,) = (each for each in condition["reasons"] if each["reason"] == "engine_error")
        one["reason"] = "out_of_memory"

    assert tampered.failed(change, number=failed.index(True), evidence=True) == {"counts"}


def test_reasons_stand_in_their_order_once_each(tampered: Tampered) -> None:
    twice = [{"reason": "engine_error", "points": 1}] * 2
    failed = tampered.failed(lambda c: c.update(reasons=twice), number=0, evidence=False)
    assert failed == {"denominators"}
