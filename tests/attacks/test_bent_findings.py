"""Findings made, hidden or turned round by few false labels in every condition."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import detection
import numpy as np
import pytest
from attacks import bent_findings
from attacks.bent_findings import (
    ALONG_ORDER,
    BENT_BY,
    FINDING_ATTACKS,
    FindingAttack,
    attack_finding,
)
from attacks.bent_labels import PLANNED, RATES_EPSILON, audit, bent, rates_of, slope

from safety_receipts.receipts.model.audit import Direction

SHIFT = BENT_BY * float(RATES_EPSILON)
BY_NAME = {f"{one.kind.name}: {one.name}": one for one in FINDING_ATTACKS}


def truth_and_record(attack: FindingAttack) -> tuple[float, float]:
    true = attack.kind.plant(attack.planted)
    return attack.kind.value(true), attack.kind.value(attack.kind.bend(true, attack.signs))


@pytest.mark.parametrize("attack", FINDING_ATTACKS, ids=list(BY_NAME))
def test_every_condition_is_bent_by_less_than_epsilon_or_none_is(attack: FindingAttack) -> None:
    true = attack.kind.plant(attack.planted)
    record = attack.kind.bend(true, attack.signs)
    off = np.abs(np.concatenate(record) - np.concatenate(true)) / PLANNED
    assert off.max() < float(RATES_EPSILON)
    if any(attack.signs):
        assert off.min() == pytest.approx(SHIFT, abs=1 / PLANNED)
    else:
        assert off.max() == 0


@pytest.mark.parametrize("attack", FINDING_ATTACKS, ids=list(BY_NAME))
def test_what_is_recorded_is_what_the_attack_is_called(attack: FindingAttack) -> None:
    true, recorded = truth_and_record(attack)
    if "made" in attack.name:
        assert abs(true) < 0.001
        assert abs(recorded) > 0.05
    elif "hidden" in attack.name:
        assert abs(recorded) < 0.01
        assert abs(true) > 0.05
    elif "turned round" in attack.name:
        assert true * recorded < 0
        assert min(abs(true), abs(recorded)) > 0.03
    else:
        assert true == recorded


@pytest.mark.parametrize("attack", FINDING_ATTACKS, ids=list(BY_NAME))
def test_the_truth_lies_beyond_what_a_bent_finding_stands(attack: FindingAttack) -> None:
    if not attack.claimed:
        return
    true = attack.kind.plant(attack.planted)
    share = attack.kind.stands(attack.kind.bend(true, attack.signs))
    assert share is not None
    if any(attack.signs):
        assert 0 < Fraction(share) < SHIFT
    else:
        assert Fraction(share) > Fraction("0.04")


def orders(name: str) -> FindingAttack:
    return BY_NAME[f"{ALONG_ORDER.name}: {name}"]


@pytest.mark.parametrize("name", ["recency is made", "it is turned round"])
def test_audits_of_rates_pass_bent_orders_and_audits_of_the_finding_do_not(name: str) -> None:
    found = attack_finding(orders(name), 100, np.random.default_rng(3))
    assert found.one_way.mean() >= 0.9
    assert found.both_ways.mean() >= 0.9
    assert found.finding.mean() <= 0.05
    assert detection.bent_row(orders(name), found)[-1] == "not confirmed"


def test_an_honest_order_is_confirmed_and_a_hidden_one_claims_nothing() -> None:
    coin = np.random.default_rng(3)
    honest = attack_finding(orders("honest recency"), 50, coin)
    assert honest.finding.mean() > 0.9
    hidden = attack_finding(orders("it is hidden"), 50, coin)
    row = detection.bent_row(orders("it is hidden"), hidden)
    assert len(row) == len(detection.BENT)
    assert (row[5], row[6], row[7]) == ("nothing is claimed", "–", "no")


def test_a_record_without_a_finding_is_not_taken_for_one() -> None:
    nothing = replace(orders("honest recency"), planted=(0.3, 0.3))
    with pytest.raises(ValueError, match="no finding that could be audited"):
        attack_finding(nothing, 10, np.random.default_rng(3))


@pytest.mark.long
def test_a_slope_that_is_made_passes_rate_by_rate_alone() -> None:
    true = np.round(rates_of(0.0) * PLANNED)
    record = bent(true, SHIFT, -1)
    assert slope(record) < -0.1
    coin = np.random.default_rng(3)
    both = tuple(Direction)
    assert audit(record, true, RATES_EPSILON, both, 20, coin).each.mean() >= 0.9
    share = bent_findings.ALONG_BENIGN.stands((record,))
    assert share is not None
    assert not audit(record, true, share, both, 20, coin).each.any()
