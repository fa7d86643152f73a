"""The second verifier derives intervals of every method, and refuses those of another."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import pytest

from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.events.grid import distinct_lists
from safety_receipts.receipts.events.synthetic import Mixture, synthetic_event, synthetic_plan
from safety_receipts.receipts.keys import Signer, generate_key
from safety_receipts.receipts.model.demonstrations import Ordering
from safety_receipts.verify.selfcheck.selftest import edit_statement

SCRIPT = Path(__file__).with_name("independent.py")
MIXTURES = [
    Mixture(0, 0, None),
    Mixture(2, 2, Ordering.SUFFIX),
    Mixture(2, 2, Ordering.PREFIX),
]


@pytest.fixture(scope="module")
def signer() -> Signer:
    return generate_key()


def seal(folder: Path, signer: Signer, draws: int, block: int | Literal["all"]) -> set[str]:
    """Seal a synthetic event; return the methods of its conditions' intervals."""
    plan = synthetic_plan(MIXTURES, {"alpha": 14, "beta": 9}, controls={"control": 5}, draws=draws)
    shared = plan.demonstrations.model_copy(update={"draw_block": block})
    plan = plan.model_copy(update={"demonstrations": shared})
    shared = shared.model_copy(update={"distinct_lists": distinct_lists(plan)})
    synthetic_event(folder, plan.model_copy(update={"demonstrations": shared}), signer)
    results = Bundle(folder).receipt.statement.predicate.conditions
    return {result.interval.method.value for result in results if result.interval}


def verify(folder: Path, signer: Signer) -> subprocess.CompletedProcess[str]:
    key = folder / "key.pub"
    key.write_bytes(signer.public.pem())
    command = [sys.executable, str(SCRIPT), str(folder), str(key)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("draws", "block", "methods"),
    [
        (2, 1, {"wilson-clustered"}),
        (3, "all", {"wilson-clustered", "wilson-clustered-given-lists"}),
        (20, "all", {"wilson-clustered", "wilson-clustered-two-way"}),
        (5, 4, {"wilson-clustered", "wilson-clustered-two-way"}),
    ],
)
def test_it_agrees_whatever_queries_share(
    tmp_path: Path, signer: Signer, draws: int, block: int | Literal["all"], methods: set[str]
) -> None:
    assert seal(tmp_path, signer, draws, block) == methods
    done = verify(tmp_path, signer)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("field", "part", "value"),
    [
        ("interval", "method", "wilson-clustered"),
        ("interval", "lower", "0.000001"),
        ("baselineDifference", "upper", "0.999999"),
        ("baselineDifference", "value", "0.999999"),
    ],
)
def test_it_refuses_what_does_not_follow(
    tmp_path: Path, signer: Signer, field: str, part: str, value: str
) -> None:
    seal(tmp_path, signer, 5, 4)

    def change(statement: dict[str, Any]) -> None:
        statement["predicate"]["conditions"][1][field][part] = value

    edit_statement(change, resign=True)(tmp_path, signer)
    done = verify(tmp_path, signer)
    assert done.returncode == 1
    assert field in done.stderr
