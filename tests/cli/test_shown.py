"""What commands print, whole, as somebody read it: the texts are below ``__snapshots__``.

What each of them must say is said by other tests; these show how it looks, and every change of it.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from found import full_receipt
from rich.cells import cell_len
from rich.console import Console
from syrupy.assertion import SnapshotAssertion

from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.canonical import sha256_hex
from safety_receipts.receipts.model.receipt import EvaluationPredicate
from safety_receipts.receipts.present.receipt import show_receipt

KNOWN = Path(__file__).parents[1] / "golden" / "known-answer"
KNOWN_KEY = KNOWN / "evaluator.pub"

Receipts = Callable[..., Any]

indented_as_today = pytest.mark.skipif(
    int(version("rich").partition(".")[0]) < 15,
    reason="older versions of rich indent the lists of checks by two blanks more",
)


def drawn(receipt: EvaluationPredicate, width: int) -> str:
    """Return a receipt as a terminal of that width shows it, without colours."""
    stream, identity = io.StringIO(), sha256_hex(b"no receipt")
    show_receipt(Console(file=stream, width=width), receipt, identity, identity, receipt.conditions)
    assert max(map(cell_len, stream.getvalue().splitlines())) <= width
    return seen(stream.getvalue())


def seen(text: str) -> str:
    """Return a text without the blanks at the ends of its lines: versions of rich differ there."""
    return "\n".join(line.rstrip() for line in text.split("\n"))


@pytest.mark.parametrize("width", [60, 80, 120])
def test_show_a_receipt_of_every_part(width: int, snapshot: SnapshotAssertion) -> None:
    assert drawn(full_receipt(), width) == snapshot


@pytest.mark.parametrize("width", [60, 80, 120])
def test_show_a_golden_bundle(width: int, golden: Path, snapshot: SnapshotAssertion) -> None:
    predicate = Bundle(golden / "good" / "ed25519").receipt.statement.predicate
    assert drawn(predicate, width) == snapshot


def test_show_as_a_pipe_has_it(receipts: Receipts, snapshot: SnapshotAssertion) -> None:
    done = receipts("show", KNOWN / "diluting")
    assert done.code == 0
    assert seen(done.out) == snapshot


@indented_as_today
def test_verify_passed(receipts: Receipts, golden: Path, snapshot: SnapshotAssertion) -> None:
    done = receipts("verify", golden / "good" / "ed25519", "--trust", golden / "ed25519.pub")
    assert done.code == 0
    assert seen(done.out) == snapshot


@indented_as_today
def test_verify_failed(receipts: Receipts, golden: Path, snapshot: SnapshotAssertion) -> None:
    bundle = golden / "bad" / "the-evaluator-signs-a-false-rate"
    done = receipts("verify", bundle, "--trust", golden / "ed25519.pub")
    assert done.code == 3
    assert seen(done.out) == snapshot


@indented_as_today
def test_verify_incomplete(receipts: Receipts, golden: Path, snapshot: SnapshotAssertion) -> None:
    bundle = golden / "good" / "published"
    done = receipts("verify", bundle, "--trust", golden / "ed25519.pub", "--quiet")
    assert done.code == 5
    assert seen(done.out) == snapshot


@indented_as_today
def test_compare(
    receipts: Receipts, snapshot: SnapshotAssertion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(KNOWN)  # bundles are shown by their paths
    done = receipts("compare", "diluting", "neutral", "amplifying", "--trust", KNOWN_KEY)
    assert done.code == 0
    assert seen(done.out) == snapshot
