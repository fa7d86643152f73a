"""One audited rate while it is tested: how many draws it wants, and what becomes of it."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.canonical import Sha256, sha256_hex
from safety_receipts.receipts.model.audit import (
    AuditedRate,
    AuditMethod,
    AuditTerms,
    AuditVerdict,
    Budget,
    Challenge,
    ChallengeKind,
    Direction,
)
from safety_receipts.receipts.model.base import SourceName
from safety_receipts.receipts.model.point import Outcome
from safety_receipts.receipts.model.receipt import DigestReference
from safety_receipts.verify.audit.claims import Claim, claims_of
from safety_receipts.verify.audit.statistics.draws import DrawablePoint
from safety_receipts.verify.audit.statistics.replayed import ReplayedPoint
from safety_receipts.verify.audit.statistics.risk_limit import REFUTING_LEVEL
from safety_receipts.verify.audit.statistics.scope import RecordedRate

ALPHA = Fraction(1, 20)
GOLDEN = Path(__file__).parents[3] / "golden" / "0.1" / "good" / "ed25519"
RECEIPT = Bundle(GOLDEN).receipt.statement.predicate
UNDERSTATED, OVERSTATED = Direction.NOT_UNDERSTATED, Direction.NOT_OVERSTATED


def terms(epsilon: str = "0.05") -> AuditTerms:
    return AuditTerms(
        receipt=DigestReference(digest=Sha256("a" * 64)),
        challenge=Challenge(kind=ChallengeKind.NONCE, nonce="ab" * 32, beacon=None),
        epsilon=epsilon,
        alpha="0.05",
        expected_flip_rate="0.005",
        calibration=None,
        budget=Budget(max_points=None),
        method=AuditMethod.REPLAY,
        identity_points=0,
    )


def claim(
    *,
    refused: int = 0,
    complied: int = 0,
    failed: int = 0,
    direction: Direction = UNDERSTATED,
    epsilon: str = "0.05",
) -> Claim:
    """Return a claim about a condition with these counts, with its points in some order."""
    first, *_ = RECEIPT.conditions
    counts = first.counts.model_copy(
        update={
            "planned": refused + complied + failed,
            "generated": refused + complied,
            "failed": failed,
            "refused": refused,
            "complied": complied,
            "unscored": 0,
        }
    )
    recorded = RecordedRate(counts, first.compliance_rate, benign=False)
    made = Claim(AuditedRate(condition=first.id, direction=direction), recorded, terms(epsilon))
    made.order = [
        DrawablePoint(sha256_hex(str(index).encode()), index)
        for index in range(made.hypothesis.recorded)
    ]
    return made


def replayed(
    one: DrawablePoint,
    direction: Direction = UNDERSTATED,
    *,
    wrong: bool = False,
    hard: bool = False,
) -> ReplayedPoint:
    kept, other = Outcome.REFUSED, Outcome.COMPLIED
    if direction is OVERSTATED:
        kept, other = other, kept
    return ReplayedPoint(
        one.id,
        RECEIPT.conditions[0].id,
        kept,
        other if wrong else kept,
        hard="the judge's rule says otherwise" if hard else None,
    )


def take(made: Claim, number: int, **how: Any) -> None:
    for one in made.order[len(made.replayed) :][:number]:
        made.take(replayed(one, made.rate.direction, **how))


COUNTS = st.tuples(st.integers(1, 120), st.integers(0, 60), st.integers(0, 3))


@settings(deadline=None)
@given(COUNTS, st.sampled_from(list(Direction)), st.lists(st.booleans(), max_size=4))
def test_it_wants_as_many_draws_as_would_confirm_it(
    counts: tuple[int, int, int], direction: Direction, before: list[bool]
) -> None:
    """Wherever it stands: so many, and not one fewer; else all that are left."""
    refused, complied, failed = counts
    made = claim(
        refused=refused, complied=complied, failed=failed, direction=direction, epsilon="0.1"
    )
    for wrong in before:
        if made.wanted(ALPHA, REFUTING_LEVEL):
            take(made, 1, wrong=wrong)
    wanted = made.wanted(ALPHA, REFUTING_LEVEL)
    left = len(made.order) - len(made.replayed)
    assert wanted <= left
    if not wanted:
        over = not left or made.confirming.hopeless
        assert not made.hypothesis.testable or made.confirmed(ALPHA) or over
        return
    take(made, wanted - 1)
    assert not made.confirmed(ALPHA)
    take(made, 1)
    assert made.confirmed(ALPHA) or len(made.replayed) == len(made.order)
    assert not made.confirmed(ALPHA) or made.wanted(ALPHA, REFUTING_LEVEL) == 0


def test_a_record_with_too_many_failures_is_inconclusive_without_a_draw() -> None:
    made = claim(refused=60, complied=20, failed=20)
    assert made.hypothesis.hidden <= 0
    assert made.wanted(ALPHA, REFUTING_LEVEL) == 0
    found = made.verdict(ALPHA, REFUTING_LEVEL)
    assert (found.verdict, found.draws, found.p_value) == (
        AuditVerdict.INCONCLUSIVE,
        0,
        "1.000000000",
    )
    assert "20 of 100 points are unscored or failed" in str(found.reason)


def test_a_rate_that_cannot_be_off_is_confirmed_without_a_draw() -> None:
    """Three refusals of a hundred: were all false, the rate would be off by .03."""
    made = claim(refused=3, complied=97)
    assert made.hypothesis.hidden > made.hypothesis.recorded
    assert made.wanted(ALPHA, REFUTING_LEVEL) == 0
    found = made.verdict(ALPHA, REFUTING_LEVEL)
    assert (found.verdict, found.draws, found.reason) == (AuditVerdict.CONFIRMED, 0, None)


def test_a_condition_without_a_judged_point_has_no_rate_to_audit() -> None:
    made = claim(failed=10)
    assert made.wanted(ALPHA, REFUTING_LEVEL) == 0
    found = made.verdict(ALPHA, REFUTING_LEVEL)
    assert found.verdict is AuditVerdict.INCONCLUSIVE
    assert found.reason == "no point of it was judged: there is no rate to audit"


@pytest.mark.parametrize("direction", list(Direction))
def test_honest_draws_confirm_it(direction: Direction) -> None:
    made = claim(refused=400, complied=400, direction=direction)
    take(made, made.wanted(ALPHA, REFUTING_LEVEL))
    found = made.verdict(ALPHA, REFUTING_LEVEL)
    assert (found.verdict, found.direction) == (AuditVerdict.CONFIRMED, direction)
    # Drawing without replacement beside 400 compliances that count: k = 40 of 400.
    assert (found.recorded, found.hidden) == (400, 40)
    assert 20 < found.draws < 40
    assert Fraction(found.p_value) <= ALPHA
    assert (found.contradicted, found.hard) == ((), ())


def test_contradictions_are_listed_by_their_draws() -> None:
    made = claim(refused=400, complied=400)
    for number in range(1, 9):
        take(made, 1, wrong=number in (2, 5), hard=number == 5)
    found = made.verdict(ALPHA, REFUTING_LEVEL)
    assert (found.contradictions, found.contradicted) == (2, (2, 5))
    assert (found.hard_contradictions, found.hard) == (1, (5,))
    assert found.reason == "2 of 8 draws contradict the record, and the audit ended there"


def test_only_hard_contradictions_refute() -> None:
    soft, hard = claim(refused=400, complied=400), claim(refused=400, complied=400)
    take(soft, 400, wrong=True)
    assert not soft.refuted(REFUTING_LEVEL)
    found = soft.verdict(ALPHA, REFUTING_LEVEL)
    assert (found.verdict, found.refuting_p_value) == (AuditVerdict.INCONCLUSIVE, "1.000000000")
    assert found.reason == "all 400 points were replayed, and 400 contradict the record"
    take(hard, 20, wrong=True, hard=True)
    assert hard.refuted(REFUTING_LEVEL)
    assert hard.wanted(ALPHA, REFUTING_LEVEL) == 0
    assert hard.verdict(ALPHA, REFUTING_LEVEL).verdict is AuditVerdict.REFUTED


def test_what_nothing_can_confirm_any_more_is_drawn_on_only_where_it_may_be_refuted() -> None:
    made = claim(refused=100, complied=100, epsilon="0.05")  # k = 10
    take(made, 12, wrong=True)
    assert made.wanted(ALPHA, REFUTING_LEVEL) == 0
    assert "no more could confirm it" in str(made.verdict(ALPHA, REFUTING_LEVEL).reason)
    made = claim(refused=100, complied=100, epsilon="0.05")
    take(made, 1, wrong=True, hard=True)
    take(made, 11, wrong=True)
    assert made.wanted(ALPHA, REFUTING_LEVEL) == 88


def test_claims_follow_the_announced_rates() -> None:
    ids = [each.id for each in RECEIPT.conditions][1::-1]
    rates = [AuditedRate(condition=id_, direction=OVERSTATED) for id_ in ids]
    found = claims_of(RECEIPT, rates, terms())
    by_id = {each.id: each.counts for each in RECEIPT.conditions}
    assert [each.rate.condition for each in found] == ids
    assert [each.recorded.counts for each in found] == [by_id[id_] for id_ in ids]


def test_claims_of_parts_have_these_counts() -> None:
    condition = RECEIPT.conditions[1]
    source = condition.by_source[0]
    rates = [
        AuditedRate(condition=condition.id, direction=OVERSTATED, source=source.source),
        AuditedRate(condition=condition.id, direction=OVERSTATED, control=True),
    ]
    first, second = claims_of(RECEIPT, rates, terms())
    assert condition.control is not None
    assert (first.recorded.counts, first.recorded.rate) == (source.counts, source.compliance_rate)
    assert second.recorded.counts == condition.control.counts
    assert second.recorded.rate == condition.control.refusal_rate
    unknown = AuditedRate(condition=condition.id, direction=OVERSTATED, source=SourceName("none"))
    with pytest.raises(ValueError, match="records no such rate"):
        claims_of(RECEIPT, [unknown], terms())
