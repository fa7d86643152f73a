"""The table of kinds: whatever goes through all findings goes through it."""

from __future__ import annotations

from io import StringIO

import pytest
from found import full_findings, with_findings
from rich.console import Console

from safety_receipts.receipts.findings.kind import FindingKind
from safety_receipts.receipts.findings.registry import KINDS
from safety_receipts.receipts.model.findings import Findings
from safety_receipts.receipts.model.plan import Hypothesis
from safety_receipts.receipts.model.receipt import EvaluationPredicate
from safety_receipts.receipts.present.findings import show_findings
from safety_receipts.receipts.view.sentences import sentences
from safety_receipts.receipts.view.words import null_words


def test_every_field_of_the_findings_is_one_kind_s() -> None:
    """A field that no kind fills would be sealed empty; one of two kinds, overwritten.

    Tests and breakdown points are of all kinds.
    """
    fields = [field for kind in KINDS for field in kind.fields]
    assert sorted(fields) == sorted(set(Findings.model_fields) - {"alpha", "tests", "breakdown"})
    assert len({kind.name for kind in KINDS}) == len(KINDS)


@pytest.mark.parametrize("hypothesis", list(Hypothesis))
def test_every_primary_hypothesis_is_answered_by_one_kind(hypothesis: Hypothesis) -> None:
    assert sum(kind.hypothesis is hypothesis for kind in KINDS) == 1


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_kind_is_tested_told_and_drawn(kind: FindingKind) -> None:
    """Its tests bear its name; a sentence and a table of a terminal are there for it alone."""
    found = full_findings()
    names = [name for name, _ in kind.p_values(found)]
    assert names, "p_values names no test, or tests/support/found.py has no such finding"
    assert all(name.partition("/")[0] == kind.name for name in names)
    assert all(null_words(name) for name in names)
    receipt = with_findings(**{field: getattr(found, field) for field in kind.fields})
    assert sentences(receipt), "receipts/view/sentences.py says nothing of it"
    drawn, nothing = len(_drawn(receipt)), len(_drawn(with_findings()))
    assert drawn > nothing + 200, "receipts/view/finding_tables.py has no table of it"


def _drawn(receipt: EvaluationPredicate) -> str:
    text = StringIO()
    show_findings(Console(file=text, width=120), receipt)
    return text.getvalue()
