"""What is drawn to test a slope as a whole, and what an announcement of such a test may say."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.errors import IntegrityError
from safety_receipts.receipts.model.audit import ConditionTickets, SlopeTest
from safety_receipts.receipts.model.base import ConditionId
from safety_receipts.receipts.model.point import Outcome
from safety_receipts.verify.audit.statistics.draws import GENERATED, points_in_order
from safety_receipts.verify.audit.statistics.findings import breakdowns_of
from safety_receipts.verify.audit.statistics.slopes import (
    slope_test,
    slope_test_problems,
    slopes_to_test,
    urn_kind,
)
from safety_receipts.verify.challenge import TICKET_TAG, ticket_order

KNOWN = Path(__file__).parents[2] / "golden" / "known-answer"
BUNDLE = Bundle(KNOWN / "diluting")
RECEIPT = BUNDLE.receipt.statement.predicate
NONCE = "7" * 64


def announced(name: str = "joint") -> SlopeTest:
    found = slope_test(RECEIPT, slopes_to_test(RECEIPT)[name])
    assert found is not None
    return found


def changed(**changes: Any) -> list[str]:
    return list(slope_test_problems([announced().model_copy(update=changes)], RECEIPT))


def test_the_known_answers_have_the_urns_that_they_had() -> None:
    for member, name, recorded, hidden in (
        ("diluting", "joint", 34560, 2987),
        ("amplifying", "joint", 34560, 3512),
        ("neutral", "joint", 34560, 1004),
    ):
        receipt = Bundle(KNOWN / member).receipt.statement.predicate
        test = slope_test(receipt, slopes_to_test(receipt)[name])
        assert test is not None
        assert test.recorded == recorded
        assert test.hidden == pytest.approx(hidden, abs=3)  # the last bits are the machine's
        assert list(slope_test_problems([test], receipt)) == []


def test_any_tickets_will_do_with_which_as_many_turn_it() -> None:
    urn = tuple(ConditionTickets(condition=one.condition, tickets=1) for one in announced().urn)
    size = announced().recorded * len(urn) // sum(one.tickets for one in announced().urn)
    assert changed(urn=urn, recorded=size, hidden=240) == []
    assert changed(urn=urn, recorded=size, hidden=size // 2) != []
    assert changed(hidden=1) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"finding": "total"}, "tests a slope that the receipt does not have: total"),
        ({"urn": announced().urn[1:]}, "joint: draws from other conditions than its slope is"),
        ({"urn": announced().urn[::-1]}, "joint: draws from other conditions than its slope is"),
        ({"recorded": 1}, "joint: 34,560 tickets are in its urn, not 1"),
        ({"hidden": 3020}, "joint: nothing shows that labels with fewer than 3,020 tickets could"),
    ],
)
def test_what_could_miss_a_turned_slope_is_no_test(changes: dict[str, Any], said: str) -> None:
    [problem] = changed(**changes)
    assert problem.startswith(said)


@pytest.mark.parametrize("conditions", [(), ("nope",), ("h8-b0",)], ids=["none", "another", "one"])
def test_findings_of_conditions_that_are_not_there_are_said_to_be(
    conditions: tuple[ConditionId, ...],
) -> None:
    assert RECEIPT.findings is not None
    assert RECEIPT.findings.joint is not None
    joint = RECEIPT.findings.joint.model_copy(update={"conditions": conditions})
    findings = RECEIPT.findings.model_copy(update={"joint": joint})
    forged = RECEIPT.model_copy(update={"findings": findings})
    with pytest.raises(IntegrityError, match="conditions or counts that it does not have"):
        breakdowns_of(forged)
    with suppress(IntegrityError):
        assert list(slope_test_problems([announced()], forged)) != []


def test_tickets_are_drawn_in_the_order_of_a_hash() -> None:
    points = {Sha256(hashlib.sha256(bytes([n])).hexdigest()): n % 4 for n in range(40)}
    receipt = Sha256("5" * 64)
    hashed = sorted(
        (hashlib.sha256(json.dumps(line, separators=(",", ":")).encode()).digest(), line[3])
        for point, count in points.items()
        for line in [[TICKET_TAG, receipt, NONCE, point, n] for n in range(1, count + 1)]
    )
    assert ticket_order(receipt, NONCE, points) == [point for _, point in hashed]


def test_judged_points_of_the_fit_are_drawn_as_often_as_they_have_tickets() -> None:
    test = announced()
    orders = points_in_order(
        BUNDLE, RECEIPT, [urn_kind(test), GENERATED], (BUNDLE.receipt_envelope.digest, NONCE), 5
    )
    drawn = orders[urn_kind(test)]
    assert len(drawn) == test.recorded
    tickets = {one.condition: one.tickets for one in test.urn}
    counted: dict[str, int] = {}
    for one in drawn:
        counted[one.id] = counted.get(one.id, 0) + 1
    expected = {
        point.id: tickets[point.condition]
        for point in BUNDLE.points()
        if point.outcome in (Outcome.REFUSED, Outcome.COMPLIED) and tickets.get(point.condition)
    }
    controls = [point.id for point in BUNDLE.points() if point.id in expected.keys() - counted]
    assert {id_: n for id_, n in expected.items() if id_ not in controls} == counted
    assert len(orders[GENERATED]) == 5
