"""Which audits stand for a receipt before a gate, and for which of its rates."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from safety_receipts.receipts.model.audit import AuditVerdict, Direction, PublicAuditPredicate
from safety_receipts.receipts.model.check import CheckStatus
from safety_receipts.receipts.model.receipt import EvaluationPredicate
from safety_receipts.verify.audit.sealed.audits import AuditSummary
from safety_receipts.verify.audit.statistics.scope import (
    RateName,
    directions_of,
    name_of,
    recorded_of,
)
from safety_receipts.verify.audit.statistics.verdicts import hard_in_draws


def drawback(audit: AuditSummary, verdicts: Sequence[AuditVerdict]) -> str | None:
    """Return why an audit says nothing for a receipt, whatever a policy asks of it; None: it does.

    Args:
        audit: A trusted auditor's result.
        verdicts: The verdicts that are accepted.
    """
    if audit.self_audit:
        return "is signed by the evaluator's own key"
    if audit.result.verdict not in verdicts:
        return f"says {audit.result.verdict.value}"
    if audit.status is CheckStatus.FAILED:
        return "does not hold"
    outcomes = audit.result.outcomes
    hard = hard_in_draws(audit.result)
    hard += 0 if outcomes is None else outcomes.hard_contradictions
    if hard:
        return f"found {hard:,} hard contradictions"
    # A check that did not pass: an inconclusive result, or a second one of one announcement.
    if audit.status is not CheckStatus.PASSED:
        return "does not count beside others"
    return None


def risk_of(audit: AuditSummary) -> Fraction:
    """Return the risk of confirming a wrong rate, over all audits that its auditor announced."""
    return Fraction(audit.result.alpha) * max(1, audit.result.known_starts)


def stood_for(
    audit: AuditSummary, receipt: EvaluationPredicate, verdicts: Sequence[AuditVerdict]
) -> set[RateName]:
    """Return the recorded rates that an audit stands for.

    A compliance rate has to be tested for being understated: that it is not overstated helps no
    reader.  Rates of benign controls are tested both ways.

    Args:
        audit: A trusted auditor's result.
        receipt: The receipt.
        verdicts: The verdicts that are accepted, of each rate.
    """
    results = {condition.id: condition for condition in receipt.conditions}
    found: dict[RateName, set[Direction]] = {}
    for rate in audit.result.conditions:
        if rate.verdict in verdicts:
            found.setdefault(name_of(rate), set()).add(rate.direction)
    stands = set()
    for name, directions in found.items():
        condition = results.get(name.condition)
        recorded = None if condition is None else recorded_of(name, condition)
        if recorded is None:
            continue
        if directions.issuperset(directions_of((Direction.NOT_UNDERSTATED,), recorded)):
            stands.add(name)
    return stands


def distinct_auditors(audits: Sequence[AuditSummary]) -> int:
    """Return how many auditors made some audits.

    Keys that signed one statement count as one auditor, as they answer for one replay.
    """
    groups: list[set[str]] = []
    for audit in audits:
        joined = {key.keyid for key in audit.keys}
        apart = []
        for group in groups:
            if group & joined:
                joined |= group
            else:
                apart.append(group)
        groups = [*apart, joined]
    return len(groups)


def told_once(audits: Sequence[AuditSummary]) -> list[AuditSummary]:
    """Return audits without public forms that stand beside their full forms: one audit, told once.

    Args:
        audits: Trusted auditors' results.
    """
    full = {
        (audit.result.start.digest, key.keyid)
        for audit in audits
        if not isinstance(audit.result, PublicAuditPredicate)
        for key in audit.keys
    }
    return [
        audit
        for audit in audits
        if not isinstance(audit.result, PublicAuditPredicate)
        or not any((audit.result.start.digest, key.keyid) in full for key in audit.keys)
    ]


def called(audit: AuditSummary) -> str:
    """Return what an audit is called."""
    return f"audit {audit.digest[:12]}"
