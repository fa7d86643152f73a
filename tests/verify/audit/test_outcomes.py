"""What the points sampled for the model's identity say of recorded outcomes, read from audits."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from audit_statements import announce, nothing_found, report

from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.model.audit import OutcomeReplays
from safety_receipts.receipts.model.check import CheckStatus
from safety_receipts.verify.audit.statistics.outcomes import (
    OutcomeTests,
    contradicts,
    false_needed,
    refutes,
    refuting_level,
)
from safety_receipts.verify.audit.statistics.risk_limit import p_rounded_up


def found(wrong: int, hard: int = 0, false_labels: int = 0) -> OutcomeReplays:
    """Return what 60 replays say of which the first ones contradict their record."""
    nothing = nothing_found(60)
    numbers, hard_numbers = tuple(range(1, wrong + 1)), tuple(range(1, hard + 1))
    tests = OutcomeTests(nothing.recorded, nothing.hidden, 60, numbers, hard_numbers)
    return nothing.model_copy(
        update={
            "contradictions": wrong,
            "hard_contradictions": hard,
            "contradicted": numbers,
            "hard": hard_numbers,
            "false_labels": false_labels,
            "p_value": p_rounded_up(tests.p_value),
            "refuting_p_value": p_rounded_up(tests.refuting_p_value),
        }
    )


@pytest.mark.parametrize(("generated", "needed"), [(0, 1), (3, 1), (20, 1), (21, 2), (100, 5)])
def test_how_many_false_outcomes_are_a_share_of_epsilon(generated: int, needed: int) -> None:
    assert false_needed(generated, Fraction(1, 20)) == needed


def test_all_refuting_tests_hold_their_level_together() -> None:
    assert refuting_level(3, outcomes=True) == Fraction(1, 400)
    assert refuting_level(3, outcomes=False) == Fraction(1, 300)


def test_where_contradictions_stop_an_audit_and_where_they_refute() -> None:
    nothing = nothing_found(60)
    at, above = ({"p_value": p, "refuting_p_value": p} for p in ("0.010000000", "0.010000001"))
    assert contradicts(nothing.model_copy(update=at))
    assert not contradicts(nothing.model_copy(update=above))
    assert refutes(nothing.model_copy(update=at), Fraction(1, 100))
    assert not refutes(nothing.model_copy(update=above), Fraction(1, 100))
    assert refutes(found(1, 1, false_labels=1), Fraction(1, 100))
    assert not refutes(found(1, 1), Fraction(1, 100))


@pytest.mark.parametrize(
    ("outcomes", "follows"),
    [
        (found(0), "confirmed"),
        (found(1), "confirmed"),
        (found(60), "inconclusive"),
        (found(1, 1), "confirmed"),
        (found(1, 1, false_labels=1), "refuted"),
        (found(60, 60), "refuted"),
    ],
)
@pytest.mark.parametrize("said", ["confirmed", "inconclusive", "refuted"])
def test_one_verdict_follows_from_them(
    outcomes: OutcomeReplays, follows: str, said: str, verify: Any, receipt: Sha256
) -> None:
    start = announce(receipt)
    changes = {"outcomes": outcomes.to_wire(), "verdict": said}
    _, audits = verify(start, report(receipt, start.digest, changes=changes))
    wrong = f"{said} as a whole, but {follows} follows from its rates and the model's identity"
    assert any(wrong == c.detail for c in audits) is (said != follows)
    failed = said != follows or follows == "refuted"
    assert any(c.status is CheckStatus.FAILED for c in audits) is failed


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"outcomes.hidden": 1}, "false ones are a share of ε"),
        ({"outcomes.draws": 59}, "not those of the points replayed"),
        ({"outcomes.falseLabels": 2}, "its contradictions are not those it counts"),
        ({"outcomes.contradictions": 2}, "its contradictions are not those it counts"),
        ({"outcomes.pValue": "0.5"}, "outcomes: p is "),
        ({"outcomes.refutingPValue": "0.5"}, "outcomes: p is "),
        ({"secondJudge.pValue": "0"}, "second judge: counts, p-value or verdict do not follow"),
        ({"secondJudge.draws": 61}, "second judge: its draws do not fit"),
    ],
)
def test_what_does_not_follow_from_its_draws(
    changes: dict[str, Any], words: str, verify: Any, receipt: Sha256
) -> None:
    start = announce(receipt)
    outcomes = {"outcomes": found(1, 1).to_wire()}
    if "outcomes.falseLabels" in changes:
        changes = changes | {"verdict": "refuted"}
    _, audits = verify(start, report(receipt, start.digest, changes=outcomes | changes))
    assert any(words in c.detail for c in audits if c.status is CheckStatus.FAILED)
