"""When confirmed rates confirm a finding."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import pytest

from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.model.audit import (
    AuditMethod,
    AuditVerdict,
    Direction,
    RateFindings,
    SlopeTestFindings,
)
from safety_receipts.receipts.model.base import ConditionId, SourceName
from safety_receipts.verify.audit.statistics.findings import (
    breakdowns_of,
    can_be_audited,
    finding_verdicts,
)

RECEIPT = Bundle(
    Path(__file__).parents[2] / "golden" / "known-answer" / "diluting"
).receipt.statement.predicate
FOUND = breakdowns_of(RECEIPT)
JOINT = FOUND["joint"]


def rate(
    id_: ConditionId,
    direction: Direction,
    verdict: AuditVerdict = AuditVerdict.CONFIRMED,
    source: SourceName | None = None,
) -> RateFindings:
    return RateFindings(
        id=id_,
        direction=direction,
        source=source,
        recorded_rate=None,
        recorded=100,
        hidden=10,
        draws=30,
        contradictions=0,
        implausible=0,
        ambiguous=0,
        missing=0,
        hard_contradictions=0,
        p_value="0.01",
        refuting_p_value="1",
        reason=None,
        verdict=verdict,
    )


def slope(found: AuditVerdict) -> SlopeTestFindings:
    return SlopeTestFindings(
        finding="joint",
        draws=40,
        contradictions=0,
        hard_contradictions=0,
        false_labels=0,
        p_value="0.01",
        verdict=found,
        reason=None,
    )


def every(verdict: AuditVerdict = AuditVerdict.CONFIRMED) -> list[RateFindings]:
    return [rate(id_, way, verdict) for id_ in JOINT.conditions for way in Direction]


def verdict(
    rates: Sequence[RateFindings],
    slopes: Sequence[SlopeTestFindings] = (),
    *,
    epsilon: str = "0.05",
    sound: bool = True,
    method: AuditMethod = AuditMethod.REPLAY,
) -> AuditVerdict:
    [found] = finding_verdicts(
        ["joint"], FOUND, rates, slopes, method=method, epsilon=Fraction(epsilon), sound=sound
    )
    assert (found.finding, found.share) == ("joint", "0.089")
    return found.verdict


def test_all_rates_both_ways_confirm_a_finding() -> None:
    assert verdict(every()) is AuditVerdict.CONFIRMED
    assert verdict(every(), epsilon="0.089") is AuditVerdict.CONFIRMED


@pytest.mark.parametrize("left_out", range(2 * len(JOINT.conditions)))
def test_one_rate_that_is_not_confirmed_one_way_leaves_it_open(left_out: int) -> None:
    rates = every()
    del rates[left_out]
    assert verdict(rates) is AuditVerdict.INCONCLUSIVE
    named = every()[left_out]
    for other in (
        rate(named.id, named.direction, AuditVerdict.INCONCLUSIVE),
        rate(named.id, named.direction, source=SourceName("own")),  # of a part of the queries
    ):
        assert verdict([*rates, other]) is AuditVerdict.INCONCLUSIVE


def test_an_error_beyond_the_breakdown_point_or_another_model_leaves_it_open() -> None:
    assert verdict(every(), epsilon="0.09") is AuditVerdict.INCONCLUSIVE
    assert verdict(every(), sound=False) is AuditVerdict.INCONCLUSIVE


def test_what_nothing_ties_to_the_weights_is_consistent_at_most() -> None:
    rates = every(AuditVerdict.CONSISTENT_WITH)
    assert verdict(rates, method=AuditMethod.REGENERATE) is AuditVerdict.CONSISTENT_WITH
    assert verdict(every(), method=AuditMethod.REGENERATE) is AuditVerdict.INCONCLUSIVE


@pytest.mark.parametrize("found", [AuditVerdict.CONFIRMED, AuditVerdict.INCONCLUSIVE])
def test_a_slope_that_is_tested_as_a_whole_needs_no_rate(found: AuditVerdict) -> None:
    tested = [slope(found)]
    assert verdict([], tested) is found
    assert verdict(every(), tested) is found  # and rates do not stand in for it
    assert verdict([], tested, sound=False) is AuditVerdict.INCONCLUSIVE
    other = SlopeTestFindings(**dict(slope(found)) | {"finding": "joint/prefix"})
    assert verdict([], [other]) is AuditVerdict.INCONCLUSIVE


def test_what_stands_nothing_cannot_be_audited() -> None:
    assert can_be_audited(JOINT, Fraction("0.089"))
    assert not can_be_audited(JOINT.model_copy(update={"share": "0.000"}), Fraction("0.001"))
    assert not can_be_audited(JOINT.model_copy(update={"share": None}), Fraction("0.001"))
    with pytest.raises(KeyError):
        finding_verdicts(
            ["no such finding"],
            FOUND,
            every(),
            (),
            method=AuditMethod.REPLAY,
            epsilon=Fraction("0.05"),
            sound=True,
        )
