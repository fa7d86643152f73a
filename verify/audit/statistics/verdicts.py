"""What the tests of an audit come to, for its rates and as a whole.

Who audits and who reads an audit must come to the same verdicts.
"""

from __future__ import annotations

from collections.abc import Collection
from fractions import Fraction

from safety_receipts.receipts.model.audit import (
    AuditMethod,
    AuditVerdict,
    OutcomeFindings,
    SecondJudgeFindings,
)
from safety_receipts.verify.audit.statistics.outcomes import contradicts, refutes


def rate_verdict(method: AuditMethod, *, refuted: bool, confirmed: bool) -> AuditVerdict:
    """Return what an audit says of one rate.

    Args:
        method: How drawn points were looked at.
        refuted: Whether hard contradictions refute it; new responses make none.
        confirmed: Whether its draws confirm it, or none could be wrong enough.
    """
    if method is AuditMethod.REGENERATE:
        return AuditVerdict.CONSISTENT_WITH if confirmed else AuditVerdict.INCONCLUSIVE
    if refuted:
        return AuditVerdict.REFUTED
    return AuditVerdict.CONFIRMED if confirmed else AuditVerdict.INCONCLUSIVE


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
        identified: Whether the model was tested to be the one named, and passed.
        level: At which one of its tests refutes.
        outcomes: What the points replayed for the model's identity say of recorded outcomes;
            None: not counted.
        second_judge: What asking the second judge again says; None: there is none, or it was
            not asked.
    """
    if AuditVerdict.REFUTED in rates or (outcomes is not None and refutes(outcomes, level)):
        return AuditVerdict.REFUTED
    regenerated = method is AuditMethod.REGENERATE
    best = AuditVerdict.CONSISTENT_WITH if regenerated else AuditVerdict.CONFIRMED
    stand = all(rate is best for rate in rates) and (regenerated or identified)
    if outcomes is not None and contradicts(outcomes):
        stand = False
    if second_judge is not None and second_judge.verdict is not AuditVerdict.CONFIRMED:
        stand = False
    return best if stand else AuditVerdict.INCONCLUSIVE
