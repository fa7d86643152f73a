"""What the tests of an audit come to, for its rates and as a whole.

Who audits and who reads an audit must come to the same verdicts.
"""

from __future__ import annotations

from collections.abc import Collection
from fractions import Fraction

from safety_receipts.receipts.model.audit import (
    AuditMethod,
    AuditPredicate,
    AuditVerdict,
    OutcomeFindings,
    PublicAuditPredicate,
    SecondJudgeFindings,
    audit_traits,
)
from safety_receipts.verify.audit.statistics.outcomes import contradicts, refutes


def rate_verdict(method: AuditMethod, *, refuted: bool, confirmed: bool) -> AuditVerdict:
    """Return what an audit says of one rate.

    Args:
        method: How drawn points were looked at.
        refuted: Whether hard contradictions would refute it; only the named weights can.
        confirmed: Whether its draws confirm it, or none could be wrong enough.
    """
    traits = audit_traits(method)
    if refuted and traits.by_weights:
        return AuditVerdict.REFUTED
    return traits.best if confirmed else AuditVerdict.INCONCLUSIVE


def hard_in_draws(result: AuditPredicate | PublicAuditPredicate) -> int:
    """Return how many draws for rates and slopes contradict the record beyond numerical noise."""
    of_rates = sum(rate.hard_contradictions for rate in result.conditions)
    return of_rates + sum(slope.hard_contradictions for slope in result.slope_results or ())


def tested_verdicts(result: AuditPredicate | PublicAuditPredicate) -> list[AuditVerdict]:
    """Return what an audit says of each rate and each slope that it tested."""
    rates = [rate.verdict for rate in result.conditions]
    return rates + [slope.verdict for slope in result.slope_results or ()]


def possible_verdicts(method: AuditMethod) -> set[AuditVerdict]:
    """Return what audits by a method may say, of a rate and as a whole."""
    traits = audit_traits(method)
    refuting = {AuditVerdict.REFUTED} if traits.by_weights else set()
    return {traits.best, AuditVerdict.INCONCLUSIVE} | refuting


def whole_verdict(
    method: AuditMethod,
    rates: Collection[AuditVerdict],
    *,
    identified: bool,
    level: Fraction,
    outcomes: OutcomeFindings | None = None,
    second_judge: SecondJudgeFindings | None = None,
) -> AuditVerdict:
    """Return what an audit says as a whole.

    Args:
        method: How drawn points were looked at.
        rates: Verdicts of its rates, at least one.
        identified: Whether the model that scored was tested to be the one that wrote the
            responses, and passed.
        level: At which one of its tests refutes.
        outcomes: What the points replayed for the model's identity say of recorded outcomes;
            None: not counted.
        second_judge: What asking the second judge again says; None: there is none, or it was
            not asked.
    """
    traits = audit_traits(method)
    hard = outcomes is not None and refutes(outcomes, level)
    if AuditVerdict.REFUTED in rates or (hard and traits.by_weights):
        return AuditVerdict.REFUTED
    stand = all(rate is traits.best for rate in rates) and (identified or not traits.scores)
    if hard:
        stand = False
    if outcomes is not None and contradicts(outcomes):
        stand = False
    if second_judge is not None and second_judge.verdict is not traits.best:
        stand = False
    return traits.best if stand else AuditVerdict.INCONCLUSIVE
