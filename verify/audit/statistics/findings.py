"""From confirmed rates to a confirmed finding.

A finding keeps its direction as long as every rate that it rests on is within its breakdown point
of the truth, in both directions (:mod:`receipts.findings.breakdown`). So a finding whose
direction is false has at least one rate that is off by that much, and an audit that tests each of
these rates both ways, at an ε no larger, confirms all of them with probability at most α, however
many they are: the test of an intersection of alternatives needs no correction (Berger,
Technometrics 24, 1982).  A slope can be tested as a whole instead, with fewer draws
(:mod:`.slopes`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction

from safety_receipts.receipts.errors import IntegrityError
from safety_receipts.receipts.findings.breakdown.sealed_grid import SealedGrid
from safety_receipts.receipts.findings.registry import KINDS
from safety_receipts.receipts.model.audit import (
    AuditMethod,
    AuditVerdict,
    Direction,
    FindingVerdict,
    RateFindings,
    SlopeTestFindings,
    audit_traits,
)
from safety_receipts.receipts.model.base import ConditionId
from safety_receipts.receipts.model.breakdown import FindingBreakdown
from safety_receipts.receipts.model.receipt import EvaluationPredicate


def breakdowns_of(receipt: EvaluationPredicate) -> dict[str, FindingBreakdown]:
    """Return the breakdown points of a receipt's findings by name, from its counts.

    Nothing is taken from what the receipt says of them: one of an older version says nothing.

    Raises:
        IntegrityError: Its findings and counts do not fit each other.
    """
    if receipt.findings is None:
        return {}
    with derivable():
        sealed = SealedGrid.of(receipt)
        found = [one for kind in KINDS for one in kind.breakdowns(receipt.findings, sealed)]
    return {one.finding: one for one in found}


@contextmanager
def derivable() -> Iterator[None]:
    """Derive something from a receipt's findings and counts, which need not fit each other.

    Raises:
        IntegrityError: They do not.
    """
    try:
        yield
    except (KeyError, ValueError, ArithmeticError):  # of numpy, LinAlgError is a ValueError
        raise IntegrityError(
            "the receipt's findings are of conditions or counts that it does not have"
        ) from None


def can_be_audited(found: FindingBreakdown, epsilon: Fraction) -> bool:
    """Say whether confirming the rates of a finding within ε confirms it."""
    return found.share is not None and 0 < epsilon <= Fraction(found.share)


def finding_verdicts(
    names: Iterable[str],
    breakdowns: Mapping[str, FindingBreakdown],
    rates: Collection[RateFindings],
    slopes: Iterable[SlopeTestFindings],
    *,
    method: AuditMethod,
    epsilon: Fraction,
    sound: bool,
) -> tuple[FindingVerdict, ...]:
    """Return what an audit says of findings.

    Args:
        names: The findings that it is of.
        breakdowns: As :func:`breakdowns_of` gives them.
        rates: What it says of rates.
        slopes: What it says of slopes that it tested as a whole.
        method: How drawn points were looked at.
        epsilon: Its tolerated error.
        sound: Whether nothing but rates could keep the audit from its best verdict: the model's
            identity, recorded outcomes, the second judge, and that no rate is refuted.

    Raises:
        KeyError: The receipt has no such finding, or none with a breakdown point.
    """
    best = audit_traits(method).best
    stand = {
        (rate.id, rate.direction)
        for rate in rates
        if rate.verdict is best and rate.source is None and rate.control is not True
    }
    whole = {one.finding: one.verdict is best for one in slopes}
    found = []
    for name in names:
        breakdown = breakdowns[name]
        holds = whole.get(name)
        if holds is None:
            holds = _rates_hold(breakdown, stand, epsilon)
        found.append(
            FindingVerdict(
                finding=name,
                share=_share(breakdown),
                verdict=best if sound and holds else AuditVerdict.INCONCLUSIVE,
            )
        )
    return tuple(found)


def _share(found: FindingBreakdown) -> str:
    if found.share is None:
        raise KeyError(found.finding)
    return found.share


def _rates_hold(
    found: FindingBreakdown,
    stand: Collection[tuple[ConditionId, Direction]],
    epsilon: Fraction,
) -> bool:
    needed = {(id_, direction) for id_ in found.conditions for direction in Direction}
    return can_be_audited(found, epsilon) and needed <= set(stand)
