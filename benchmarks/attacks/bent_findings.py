"""Findings made, hidden or turned round by labels that are false by less than an audit's ε.

Along the number of benign demonstrations, along the order of demonstrations, and between two
stages, one of which is bent one way and the other the other way.  What a finding stands is derived
as a receipt's is; no confidence intervals are: a slope within the margin is called none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import numpy as np
from numpy.typing import NDArray

from attacks.bent_labels import (
    COVARIATES,
    PLANNED,
    RATES_EPSILON,
    Floats,
    audit,
    bent,
    box_of,
    counts_of,
    moved,
    rates_of,
    slope,
    statistic,
)
from safety_receipts.receipts.findings.breakdown.boxes import CountBox
from safety_receipts.receipts.findings.breakdown.extremes import SlopeStatistic, SlopeTerm
from safety_receipts.receipts.findings.breakdown.shares import gap, gap_share, slope_share
from safety_receipts.receipts.model.audit import Direction
from safety_receipts.receipts.model.findings import Effect

MARGIN: Final = "0.05"
"""A plan's effect margin where its file names none."""
BENT_BY: Final = 0.8
"""By how much of ε labels are bent."""
_BOTH: Final = tuple(Direction)
_SHIFT: Final = BENT_BY * float(RATES_EPSILON)

Parts = tuple[Floats, ...]
"""Compliances of each receipt, shape (conditions,)."""


@dataclass(frozen=True)
class FindingShape:
    """A kind of finding: what is drawn, bent and derived."""

    name: str
    """What it is called in a table."""
    plant: Callable[[tuple[float, ...]], Parts]
    """Return the truth of each receipt: as planted, as a finding is about these very points."""
    bend: Callable[[Parts, tuple[int, ...]], Parts]
    """Return the records of labels that are bent."""
    value: Callable[[Parts], float]
    """The number that the finding is about."""
    stands: Callable[[Parts], str | None]
    """Its breakdown point."""


@dataclass(frozen=True)
class FindingAttack:
    """Something that is done to a finding, or nothing."""

    name: str
    """What is done."""
    kind: FindingShape
    """To which finding."""
    planted: tuple[float, ...]
    """What the finding rests on in truth: a slope of each receipt, or a rate of each order."""
    signs: tuple[int, ...]
    """Where these are bent to, 1: up; −1: down; 0: nowhere."""
    claimed: bool = True
    """Whether the record says something; else what there is in truth is hidden."""


def _slopes(planted: tuple[float, ...]) -> Parts:
    return tuple(np.round(rates_of(one) * PLANNED) for one in planted)


def _bent(true: Parts, signs: tuple[int, ...]) -> Parts:
    pairs = zip(true, signs, strict=True)
    return tuple(bent(one, _SHIFT, sign) if sign else one for one, sign in pairs)


def _slope_stands(parts: Parts) -> str | None:
    said = slope(parts[0])
    return slope_share(statistic(parts[0]), _called(said, float(MARGIN)), MARGIN)


def _called(value: float, margin: float) -> Effect:
    if abs(value) < margin:
        return Effect.NONE
    return Effect.DILUTION if value < 0 else Effect.AMPLIFICATION


def _orders(planted: tuple[float, ...]) -> Parts:
    return (np.round(np.array(planted) * PLANNED),)


def _bent_orders(true: Parts, signs: tuple[int, ...]) -> Parts:
    return (moved(true[0], _SHIFT * np.array(signs, float)),)


def _order_gap(parts: Parts) -> float:
    suffix, prefix = parts[0]
    return float(suffix - prefix) / PLANNED


def _order_stands(parts: Parts) -> str | None:
    low, high = sorted(parts[0])
    return gap_share(gap(counts_of(high), counts_of(low)))


def _stage_gap(parts: Parts) -> float:
    first, second = parts
    return slope(second) - slope(first)


def _stages_stand(parts: Parts) -> str | None:
    number = len(COVARIATES)
    terms = [
        SlopeTerm(COVARIATES, np.arange(number) + start, weight)
        for start, weight in ((0, -1.0), (number, 1.0))
    ]
    difference = SlopeStatistic(terms, CountBox.joined([box_of(part) for part in parts]))
    return slope_share(difference, _called(_stage_gap(parts), 0.0), MARGIN)


ALONG_BENIGN: Final = FindingShape(
    "along N_b", _slopes, _bent, lambda parts: slope(parts[0]), _slope_stands
)
ALONG_ORDER: Final = FindingShape("along orders", _orders, _bent_orders, _order_gap, _order_stands)
BETWEEN_STAGES: Final = FindingShape(
    "between stages, both receipts audited", _slopes, _bent, _stage_gap, _stages_stand
)

FINDING_ATTACKS: Final = (
    FindingAttack("honest dilution", ALONG_BENIGN, (-0.25,), (0,)),
    FindingAttack("an effect is made", ALONG_BENIGN, (0.0,), (-1,)),
    FindingAttack("one is hidden: called none", ALONG_BENIGN, (-0.12,), (1,)),
    FindingAttack("one is turned round", ALONG_BENIGN, (0.05,), (-1,)),
    FindingAttack("honest recency", ALONG_ORDER, (0.36, 0.24), (0, 0)),
    FindingAttack("recency is made", ALONG_ORDER, (0.3, 0.3), (1, -1)),
    FindingAttack("it is hidden", ALONG_ORDER, (0.34, 0.26), (-1, 1), claimed=False),
    FindingAttack("it is turned round", ALONG_ORDER, (0.32, 0.28), (-1, 1)),
    FindingAttack("honest difference", BETWEEN_STAGES, (-0.3, 0.0), (0, 0)),
    FindingAttack("one is made", BETWEEN_STAGES, (-0.1, -0.1), (-1, 1)),
    FindingAttack("one is hidden", BETWEEN_STAGES, (-0.24, 0.0), (1, -1), claimed=False),
    FindingAttack("one is turned round", BETWEEN_STAGES, (0.0, -0.12), (-1, 1)),
)
"""What is done, and beside it an honest finding of each kind."""


@dataclass(frozen=True)
class BentAudits:
    """What became of an attack on a finding."""

    true: float
    """The finding's number in truth: a slope, or a difference of rates or of slopes."""
    recorded: float
    """As recorded."""
    share: str | None
    """Its breakdown point; None: nothing is claimed."""
    one_way: NDArray[np.bool_]
    """Which audits of all rates, as they are made by default, confirm all of them."""
    both_ways: NDArray[np.bool_]
    """Likewise in both directions."""
    finding: NDArray[np.bool_]
    """Which audits confirm the finding; none where nothing is claimed."""


def attack_finding(attack: FindingAttack, repeats: int, coin: np.random.Generator) -> BentAudits:
    """Bend labels, and audit what is recorded then.

    Args:
        attack: What is done.
        repeats: How many audits of each kind.
        coin: Where chance comes from.

    Raises:
        ValueError: The record says nothing, of a finding that is to be claimed.
    """
    kind = attack.kind
    true = kind.plant(attack.planted)
    recorded = kind.bend(true, attack.signs)
    pair, share = (recorded, true), kind.stands(recorded) if attack.claimed else None
    if attack.claimed and (share is None or not Fraction(share)):
        raise ValueError(f"{attack.name}: the record has no finding that could be audited")
    return BentAudits(
        true=kind.value(true),
        recorded=kind.value(recorded),
        share=share,
        one_way=_audits(pair, RATES_EPSILON, (Direction.NOT_UNDERSTATED,), repeats, coin),
        both_ways=_audits(pair, RATES_EPSILON, _BOTH, repeats, coin),
        finding=np.zeros(repeats, dtype=bool)
        if share is None
        else _audits(pair, share, _BOTH, repeats, coin),
    )


def _audits(
    pair: tuple[Parts, Parts],
    epsilon: str,
    directions: Sequence[Direction],
    repeats: int,
    coin: np.random.Generator,
) -> NDArray[np.bool_]:
    """Return which audits of each record confirm all rates of all records."""
    passed = np.ones(repeats, dtype=bool)
    for recorded, true in zip(*pair, strict=True):
        passed &= audit(recorded, true, epsilon, directions, repeats, coin).each
    return passed
