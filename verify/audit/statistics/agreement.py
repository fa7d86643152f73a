"""What draws say of the recorded agreement of both judges."""

from __future__ import annotations

from collections.abc import Collection
from fractions import Fraction

from safety_receipts.receipts.model.audit import (
    AuditTerms,
    AuditVerdict,
    Direction,
    SecondJudgeVerdict,
    audit_traits,
)
from safety_receipts.receipts.model.judge import JudgeAgreement
from safety_receipts.receipts.model.receipt import Counts, EvaluationPredicate
from safety_receipts.verify.audit.statistics.feasibility import Feasibility, expected_draws
from safety_receipts.verify.audit.statistics.outcomes import generated_points
from safety_receipts.verify.audit.statistics.risk_limit import (
    ConfirmingTest,
    hidden_needed,
    p_rounded_up,
)


def agreement_test(agreement: JudgeAgreement, terms: AuditTerms) -> ConfirmingTest:
    """Return the test of H0: the true agreement lies ε or more below the recorded one.

    As with rates the truth is over all points that the first judge gave a label, and what the
    second gave none counts against the record.
    """
    counts = Counts(
        planned=agreement.points + agreement.second_unscored,
        generated=agreement.points + agreement.second_unscored,
        failed=0,
        unscored=agreement.second_unscored,
        refused=agreement.points - agreement.agreed,
        complied=agreement.agreed,
        length_stopped=0,
    )
    if not agreement.points:
        return ConfirmingTest(0, 1)  # nothing was agreed on, and nothing is claimed
    rate = Fraction(agreement.agreed, agreement.points)
    hidden = hidden_needed(counts, rate, Fraction(terms.epsilon), Direction.NOT_OVERSTATED)
    return ConfirmingTest(agreement.agreed, hidden, Fraction(terms.expected_flip_rate))


def agreement_forecast(receipt: EvaluationPredicate, terms: AuditTerms) -> Feasibility | None:
    """Return what confirming the recorded agreement would take; None: it is not tested.

    Its draws are those of the points for the model's identity on which both judges agree, so
    that these are its budget.
    """
    agreement, generated = receipt.judge_agreement, generated_points(receipt)
    if agreement is None or not audit_traits(terms.method).scores or not generated:
        return None
    test = agreement_test(agreement, terms)
    return expected_draws(
        test.recorded,
        test.hidden,
        alpha=Fraction(terms.alpha),
        expected_flip_rate=Fraction(terms.expected_flip_rate),
        budget=min(terms.identity_points, generated) * test.recorded // generated,
    )


def second_verdict(
    agreement: JudgeAgreement, terms: AuditTerms, draws: int, contradicted: Collection[int]
) -> SecondJudgeVerdict:
    """Return what follows from draws of which some were contradicted.

    Args:
        agreement: What the receipt says.
        terms: The audit's.
        draws: How many points were asked again.
        contradicted: Which of them, from 1, got another label.
    """
    test = agreement_test(agreement, terms)
    for number in range(1, draws + 1):
        test.add(number in contradicted)
    confirmed = test.hidden > 0 and test.confirmed(Fraction(terms.alpha))
    return SecondJudgeVerdict(
        recorded=test.recorded,
        hidden=test.hidden,
        draws=draws,
        contradictions=len(contradicted),
        p_value=p_rounded_up(test.p_value),
        verdict=audit_traits(terms.method).best if confirmed else AuditVerdict.INCONCLUSIVE,
        contradicted=tuple(sorted(contradicted)),
    )
