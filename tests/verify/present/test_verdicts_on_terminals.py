"""Verdicts on a terminal: lines end between words, and no number or digest is cut or broken."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pytest
from audit_statements import announce, report
from rich.cells import cell_len
from rich.console import Console

from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.canonical import Sha256, sha256_hex
from safety_receipts.receipts.keys import TrustSet, load_public_key
from safety_receipts.receipts.model.audit import AuditVerdict
from safety_receipts.receipts.model.check import CheckLevel
from safety_receipts.receipts.model.statement import AuditStatement
from safety_receipts.verify.audit.statistics.scope import scope_of
from safety_receipts.verify.integrity import verify_bundle
from safety_receipts.verify.present.audit import show_audit
from safety_receipts.verify.present.verification import show_verification
from safety_receipts.verify.view.audit import audit_remarks, audit_verdict
from safety_receipts.verify.view.verification import verdict_words

WIDTHS = pytest.mark.parametrize("width", [60, 80])
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def terminal(width: int) -> Console:
    return Console(file=io.StringIO(), width=width, force_terminal=True, highlight=False)


def lines_of(console: Console, width: int) -> list[str]:
    stream = console.file
    assert isinstance(stream, io.StringIO)
    lines = _COLOURS.sub("", stream.getvalue()).splitlines()
    assert max(map(cell_len, lines)) <= width
    return [line.rstrip() for line in lines]


def assert_whole(lines: list[str], width: int, sentence: str) -> None:
    """A sentence stands in lines, each word on one of them if a line can hold it."""
    assert "".join(sentence.split()) in "".join("".join(lines).split())
    words = {word for line in lines for word in line.split()}
    assert {word for word in sentence.split() if cell_len(word) <= width} <= words


@WIDTHS
@pytest.mark.parametrize("level", [CheckLevel.CONSISTENT, CheckLevel.BOUND])
def test_a_verification(width: int, level: CheckLevel, golden: Path) -> None:
    trust = TrustSet([load_public_key(golden / "ed25519.pub")])
    verified = verify_bundle(Bundle(golden / "good" / "ed25519"), evaluators=trust, wanted=level)
    console = terminal(width)
    show_verification(console, verified, quiet=False)
    verdict = verdict_words(verified)
    assert_whole(lines_of(console, width), width, f"{verdict.word.text}: {verdict.sentence}")


@WIDTHS
@pytest.mark.parametrize("verdict", [AuditVerdict.CONFIRMED, AuditVerdict.REFUTED])
def test_an_audit(width: int, verdict: AuditVerdict, bundle: Path, receipt: Sha256) -> None:
    made = report(receipt, announce(receipt).digest, verdict)
    audit = AuditStatement.model_validate_json(made.payload).predicate
    of = Bundle(bundle).receipt.statement.predicate
    scope = scope_of(of, audit.conditions, draws=1234, replayed=1000)
    console, digest = terminal(width), sha256_hex(b"an audit")
    show_audit(console, audit, scope, digest, self_audit=True, instrument=True)
    lines = lines_of(console, width)
    told: Any = audit_verdict(audit, scope, digest, instrument=True)
    assert digest in told.sentence
    assert_whole(lines, width, f"{told.word.text}: {told.sentence}")
    assert_whole(lines, width, audit.guarantee)
    for remark in audit_remarks(audit, self_audit=True):
        assert_whole(lines, width, remark.text)
