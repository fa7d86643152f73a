"""The test of a slope's direction as a whole: what is drawn from, and what rejects what.

H0: the labels that are false have at least k of the urn's N0 tickets together. Labels that turn the
slope do (:mod:`receipts.findings.breakdown.urns`), so that rejecting it at α confirms the slope's
direction at risk α. Tickets are drawn without replacement, and a ticket contradicts where its
point does: the test is the one of a recorded rate, :class:`.risk_limit.ConfirmingTest`. Weights
that follow from what a label could do are those of Stark's ALPHA (Annals of Applied Statistics 17,
2023) for a fixed order of draws; here they are whole numbers, and the arithmetic stays exact.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction

from safety_receipts.receipts.findings.breakdown.sealed_grid import NamedSlope, SealedGrid
from safety_receipts.receipts.findings.breakdown.urns import FittedSlope
from safety_receipts.receipts.findings.registry import KINDS
from safety_receipts.receipts.model.audit import (
    MAX_URN,
    AuditTerms,
    ConditionTickets,
    SlopeTest,
    SlopeTestVerdict,
)
from safety_receipts.receipts.model.base import ConditionId
from safety_receipts.receipts.model.receipt import EvaluationPredicate
from safety_receipts.verify.audit.statistics.draws import DrawKind
from safety_receipts.verify.audit.statistics.findings import derivable
from safety_receipts.verify.audit.statistics.risk_limit import ConfirmingTest, p_rounded_up
from safety_receipts.verify.audit.statistics.verdicts import rate_verdict


def slopes_to_test(receipt: EvaluationPredicate) -> dict[str, NamedSlope]:
    """Return the slopes of a receipt that can be tested as a whole, by name."""
    if receipt.findings is None:
        return {}
    return {one.finding: one for kind in KINDS for one in kind.slopes(receipt.findings)}


def slope_test(receipt: EvaluationPredicate, slope: NamedSlope) -> SlopeTest | None:
    """Return the test of a slope; None: points that were not judged could turn it alone."""
    fitted, conditions = SealedGrid.of(receipt).fitted(slope)
    urn = fitted.urn(fitted.tickets())
    if urn.hidden <= 0 or not 0 < urn.recorded <= MAX_URN:
        return None
    return SlopeTest(
        finding=slope.finding,
        urn=tuple(
            ConditionTickets(condition=id_, tickets=tickets)
            for id_, tickets in zip(conditions, urn.tickets, strict=True)
        ),
        recorded=urn.recorded,
        hidden=urn.hidden,
    )


def slope_test_problems(tests: Iterable[SlopeTest], receipt: EvaluationPredicate) -> Iterator[str]:
    """Yield what in announced tests of slopes does not follow from a receipt.

    Any numbers of tickets make a test, if no labels turn the slope that have fewer than k of them.

    Raises:
        IntegrityError: The receipt's findings and counts do not fit each other.
    """
    slopes, sealed = slopes_to_test(receipt), SealedGrid.of(receipt)
    for test in tests:
        slope = slopes.get(test.finding)
        if slope is None:
            yield f"tests a slope that the receipt does not have: {test.finding}"
            continue
        with derivable():
            problem = _problem(test, *sealed.fitted(slope))
        if problem is not None:
            yield f"{test.finding}: {problem}"


def _problem(
    test: SlopeTest, fitted: FittedSlope, conditions: tuple[ConditionId, ...]
) -> str | None:
    """Return what in a test does not follow from a slope and the conditions of its fit."""
    if tuple(one.condition for one in test.urn) != conditions:
        return "draws from other conditions than its slope is fitted to"
    tickets = [one.tickets for one in test.urn]
    size = fitted.size(tickets)
    if test.recorded != size:
        return f"{size:,} tickets are in its urn, not {test.recorded:,}"
    if not fitted.takes(test.hidden, tickets):
        return (
            f"nothing shows that labels with fewer than {test.hidden:,} tickets could not turn it"
        )
    return None


def urn_kind(test: SlopeTest) -> DrawKind:
    """Return what is drawn for a test."""
    return DrawKind(None, None, tickets=tuple((one.condition, one.tickets) for one in test.urn))


def confirming_test(test: SlopeTest, terms: AuditTerms) -> ConfirmingTest:
    """Return the test before a draw."""
    return ConfirmingTest(test.recorded, test.hidden, Fraction(terms.expected_flip_rate))


def slope_arithmetic_problems(
    test: SlopeTest, found: SlopeTestVerdict, terms: AuditTerms
) -> Iterator[str]:
    """Yield what in a result of such a test does not follow from its own draws."""
    wrong = set(found.contradicted)
    if not wrong <= set(range(1, found.draws + 1)) or len(wrong) != found.contradictions:
        yield "its contradictions are not those it counts"
        return
    again = confirming_test(test, terms)
    for number in range(1, found.draws + 1):
        again.add(number in wrong)
    if found.p_value != p_rounded_up(again.p_value):
        yield f"p is {p_rounded_up(again.p_value)}, not {found.p_value}"
    follows = rate_verdict(
        terms.method,
        refuted=bool(found.false_labels),
        confirmed=again.confirmed(Fraction(terms.alpha)),
    )
    if found.verdict is not follows:
        yield f"{found.verdict.value}, and from its draws follows {follows.value}"
