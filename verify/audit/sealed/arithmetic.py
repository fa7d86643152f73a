"""Does an audit follow from what it says it drew?  Recomputed without a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction

from safety_receipts.receipts.bundle import POINTS_FILE, Bundle
from safety_receipts.receipts.errors import ReceiptsError
from safety_receipts.receipts.model.audit import (
    AuditPredicate,
    ChallengeKind,
    RateVerdict,
    audit_traits,
)
from safety_receipts.receipts.model.receipt import EvaluationPredicate
from safety_receipts.verify.audit.statistics.agreement import agreement_test, second_verdict
from safety_receipts.verify.audit.statistics.draws import (
    GENERATED,
    DrawablePoint,
    DrawKind,
    points_in_order,
)
from safety_receipts.verify.audit.statistics.hypotheses import hypothesis_of, kept_outcome
from safety_receipts.verify.audit.statistics.outcomes import (
    OutcomeTests,
    false_needed,
    generated_points,
    level_of,
)
from safety_receipts.verify.audit.statistics.risk_limit import (
    ConfirmingTest,
    RefutingTest,
    p_rounded_up,
)
from safety_receipts.verify.audit.statistics.scope import RecordedRate, name_of, recorded_of
from safety_receipts.verify.audit.statistics.slopes import slope_arithmetic_problems, urn_kind
from safety_receipts.verify.audit.statistics.verdicts import rate_verdict


def arithmetic_problems(audit: AuditPredicate, receipt: EvaluationPredicate) -> Iterator[str]:
    """Yield what does not follow: counts of the claims, p-values, verdicts.

    Args:
        audit: An audit whose ε and α lie above 0 and below 1, and whose counts fit each other.
        receipt: The receipt it is about.
    """
    results = {condition.id: condition for condition in receipt.conditions}
    for rate in audit.conditions:
        result = results.get(rate.id)
        recorded = None if result is None else recorded_of(name_of(rate), result)
        if recorded is None:
            continue
        for problem in _rate_problems(audit, rate, recorded):
            yield f"{name_of(rate)}: {problem}"
    for test, found in zip(audit.slope_tests or (), audit.slope_results or (), strict=True):
        for problem in slope_arithmetic_problems(test, found, audit):
            yield f"the finding {found.finding}: {problem}"
    yield from _outcome_problems(audit, receipt)
    yield from _second_judge_problems(audit, receipt)


def _rate_problems(
    audit: AuditPredicate, rate: RateVerdict, recorded: RecordedRate
) -> Iterator[str]:
    tested = hypothesis_of(recorded.counts, rate.direction, audit)
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
    if len(hard) != rate.hard_contradictions:
        yield "its hard contradictions are not those it counts"
        return
    confirming = ConfirmingTest(tested.recorded, tested.hidden, tested.expected)
    refuting = RefutingTest(tested.recorded, tested.hidden)
    for number in numbers:
        confirming.add(number in wrong)
        refuting.add(number in hard)
    if rate.p_value != p_rounded_up(confirming.p_value):
        yield f"p is {p_rounded_up(confirming.p_value)}, not {rate.p_value}"
    if rate.refuting_p_value != p_rounded_up(refuting.p_value):
        yield f"the refuting p is {p_rounded_up(refuting.p_value)}, not {rate.refuting_p_value}"
    refuted = tested.testable and refuting.refuted(level_of(audit))
    follows = rate_verdict(
        audit.method,
        refuted=bool(rate.ruled_out) or refuted,
        confirmed=tested.trivial
        or (tested.testable and confirming.confirmed(Fraction(audit.alpha))),
    )
    if rate.verdict is not follows:
        yield f"{rate.verdict.value}, and from its draws follows {follows.value}"


def _outcome_problems(audit: AuditPredicate, receipt: EvaluationPredicate) -> Iterator[str]:
    """Yield what is wrong with what the identity's replays say of recorded outcomes."""
    found = audit.outcomes
    if found is None:
        return
    if not audit_traits(audit.method).scores:
        yield "it replays no response, and says what replays contradict"
        return
    recorded = generated_points(receipt)
    hidden = false_needed(recorded, Fraction(audit.epsilon))
    numbers, wrong, hard = range(1, found.draws + 1), set(found.contradicted), set(found.hard)
    if (found.recorded, found.hidden) != (recorded, hidden):
        yield f"outcomes: {hidden:,} of {recorded:,} false ones are a share of ε"
    elif found.draws != len(audit.identity_drawn) or found.draws > recorded:
        yield "outcomes: not those of the points replayed for the model's identity"
    elif (
        not hard <= wrong <= set(numbers)
        or (len(wrong), len(hard)) != (found.contradictions, found.hard_contradictions)
        or found.false_labels > len(hard)
    ):
        yield "outcomes: its contradictions are not those it counts"
    else:
        tests = OutcomeTests(recorded, hidden, found.draws, wrong, hard)
        for said, p in (
            (found.p_value, tests.p_value),
            (found.refuting_p_value, tests.refuting_p_value),
        ):
            if said != p_rounded_up(p):
                yield f"outcomes: p is {p_rounded_up(p)}, not {said}"


def _second_judge_problems(audit: AuditPredicate, receipt: EvaluationPredicate) -> Iterator[str]:
    """Yield what is wrong with what asking the second judge again came to."""
    found, agreement = audit.second_judge, receipt.judge_agreement
    if found is None:
        return
    if agreement is None or agreement.agreed > agreement.points:
        yield "it used a second judge, but the receipt names none"
        return
    wrong, most = set(found.contradicted), agreement_test(agreement, audit).recorded
    if not wrong <= set(range(1, found.draws + 1)) or not found.draws <= min(
        most, len(audit.identity_drawn)
    ):
        yield "second judge: its draws do not fit the points replayed"
    elif found != second_verdict(agreement, audit, found.draws, wrong):
        yield "second judge: counts, p-value or verdict do not follow from its draws"


def draws_problem(
    audit: AuditPredicate, receipt: EvaluationPredicate, bundle: Bundle
) -> tuple[str | None, str]:
    """Return what is wrong with the choice of points, and otherwise what to say of it.

    The points of each rate must be the first in the order of the challenge.  That needs the
    evidence; without it nothing is said to be wrong.
    """
    beacon = audit.challenge.kind is ChallengeKind.BEACON
    nonce = audit.beacon_value if beacon else audit.challenge.nonce
    if not bundle.has(POINTS_FILE):
        return None, "draws not checked: no evidence here"
    if nonce is None:
        return "it names no nonce and no beacon value", ""
    tested = not audit_traits(audit.method).scores
    kinds = [
        DrawKind(
            rate.id,
            None if tested else kept_outcome(rate.direction),
            rate.source,
            rate.control is True,
        )
        for rate in audit.conditions
    ]
    urns = [urn_kind(test) for test in audit.slope_tests or ()]
    try:
        orders = points_in_order(
            bundle,
            receipt,
            [*kinds, *urns, GENERATED],
            (audit.receipt.digest, nonce),
            audit.identity_points,
        )
    except ReceiptsError as error:
        return None, f"draws not checked: {error.message}"
    problem = _order_problem(audit, orders, kinds, urns)
    if problem is not None:
        return problem, ""
    sample = [one.id for one in orders[GENERATED][: audit.identity_points]]
    # An audit that ends early, refuted or at a record that does not follow, makes no such test.
    tests = audit.identity is not None or audit.identity_drawn
    if tests and list(audit.identity_drawn) != sample:
        return "the points of its identity test are not those that the challenge draws", ""
    return None, "draws follow from the challenge"


def _order_problem(
    audit: AuditPredicate,
    orders: Mapping[DrawKind, Sequence[DrawablePoint]],
    kinds: Sequence[DrawKind],
    urns: Sequence[DrawKind],
) -> str | None:
    """Return which rate's or slope's points are not the first in the order of the challenge."""
    start = 0
    for rate, kind in zip(audit.conditions, kinds, strict=True):
        mine = audit.drawn[start : start + rate.draws]
        if list(mine) != [one.id for one in orders[kind][: rate.draws]]:
            return f"{name_of(rate)}: its points are not those that the challenge draws"
        start += rate.draws
    for found, urn in zip(audit.slope_results or (), urns, strict=True):
        if list(found.drawn) != [one.id for one in orders[urn][: found.draws]]:
            return f"the finding {found.finding}: its points are not those that the challenge draws"
    return None
