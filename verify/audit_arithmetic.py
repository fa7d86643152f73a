"""Does an audit follow from what it says it drew?  Recomputed without a model."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from receipts.bundle import POINTS, Bundle
from receipts.errors import ReceiptsError
from receipts.model.audit import AuditMethod, AuditPredicate, ChallengeKind, RateVerdict
from receipts.model.receipt import ConditionResult, EvaluationPredicate
from verify.draws import GENERATED, Kind, points_in_order
from verify.hypotheses import hypothesis_of, kept_outcome
from verify.risk_limit import (
    REFUTING_LEVEL,
    ConfirmingTest,
    RefutingTest,
    p_string,
)
from verify.verdicts import rate_verdict


def arithmetic_problems(audit: AuditPredicate, receipt: EvaluationPredicate) -> Iterator[str]:
    """Yield what does not follow: counts of the claims, p-values, verdicts.

    Args:
        audit: An audit whose ε and α lie above 0 and below 1, and whose counts fit each other.
        receipt: The receipt it is about.
    """
    results = {condition.id: condition for condition in receipt.conditions}
    for rate in audit.conditions:
        result = results.get(rate.id)
        if result is None:
            continue
        for problem in _rate_problems(audit, rate, result):
            yield f"{rate.id}: {problem}"


def _rate_problems(
    audit: AuditPredicate, rate: RateVerdict, result: ConditionResult
) -> Iterator[str]:
    tested = hypothesis_of(result.counts, rate.direction, audit)
    if rate.recorded != tested.recorded:
        yield "drawn from another number of points than the receipt counts"
        return
    if rate.hidden != tested.hidden:
        yield f"{tested.hidden:,} points would put its rate off by ε, not {rate.hidden:,}"
        return
    numbers = range(1, rate.draws + 1)
    wrong, hard = set(rate.contradicted), set(rate.hard)
    if not hard <= wrong <= set(numbers) or len(wrong) != rate.contradictions:
        yield "its contradictions are not those it counts"
        return
    confirming = ConfirmingTest(tested.recorded, tested.hidden, tested.expected)
    refuting = RefutingTest(tested.recorded, tested.hidden)
    for number in numbers:
        confirming.add(number in wrong)
        refuting.add(number in hard)
    if rate.p_value != p_string(confirming.p_value):
        yield f"p is {p_string(confirming.p_value)}, not {rate.p_value}"
    if rate.refuting_p_value != p_string(refuting.p_value):
        yield f"the refuting p is {p_string(refuting.p_value)}, not {rate.refuting_p_value}"
    level = REFUTING_LEVEL / len(audit.conditions)
    follows = rate_verdict(
        audit.method,
        refuted=tested.testable and refuting.refuted(level),
        confirmed=tested.trivial
        or (tested.testable and confirming.confirmed(Fraction(audit.alpha))),
    )
    if rate.verdict is not follows:
        yield f"{rate.verdict.value}, and from its draws follows {follows.value}"


def draws_problem(
    audit: AuditPredicate, receipt: EvaluationPredicate, bundle: Bundle
) -> tuple[str | None, str]:
    """Return what is wrong with the choice of points, and otherwise what to say of it.

    The points of each rate must be the first in the order of the challenge.  That needs the
    evidence; without it nothing is said to be wrong.
    """
    beacon = audit.challenge.kind is ChallengeKind.BEACON
    nonce = audit.beacon_value if beacon else audit.challenge.nonce
    if not bundle.has(POINTS):
        return None, "draws not checked: no evidence here"
    if nonce is None:
        return "it names no nonce and no beacon value", ""
    tested = audit.method is AuditMethod.REGENERATE
    kinds: list[Kind] = [
        (rate.id, None if tested else kept_outcome(rate.direction)) for rate in audit.conditions
    ]
    try:
        orders = points_in_order(
            bundle,
            receipt,
            [*kinds, GENERATED],
            (audit.receipt.digest, nonce),
            audit.identity_points,
        )
    except ReceiptsError as error:
        return None, f"draws not checked: {error.message}"
    start = 0
    for rate, kind in zip(audit.conditions, kinds, strict=True):
        mine = audit.drawn[start : start + rate.draws]
        if list(mine) != [one.id for one in orders[kind][: rate.draws]]:
            return f"{rate.id}: its points are not those that the challenge draws", ""
        start += rate.draws
    sample = [one.id for one in orders[GENERATED][: audit.identity_points]]
    # An audit that ends early, refuted or at a record that does not follow, makes no such test.
    tests = audit.identity is not None or audit.identity_drawn
    if tests and list(audit.identity_drawn) != sample:
        return "the points of its identity test are not those that the challenge draws", ""
    return None, "draws follow from the challenge"
