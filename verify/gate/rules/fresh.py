"""Receipt and audits are not too old."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from safety_receipts.receipts.documents.moments import spell
from safety_receipts.receipts.model.audit import AuditVerdict
from safety_receipts.verify.gate.entries import Days, RuleEntry
from safety_receipts.verify.gate.kinds import Decided, GateFacts
from safety_receipts.verify.gate.moments import age_problem
from safety_receipts.verify.gate.standing import drawback


class FreshRule(RuleEntry):
    """Largest age of a receipt and of the newest audit that stands for it; the moments are the
    evaluator's and the auditor's word.
    """

    rule: Literal["fresh"]
    receipt_days: Days | None = None
    """Largest age of the event's end, in days."""
    audit_days: Days | None = None
    """Largest age, in days, of the newest audit that an independent trusted auditor confirmed."""

    def asked(self) -> str:
        """Return what it asks for, in words."""
        parts = []
        if self.receipt_days is not None:
            parts.append(f"receipt at most {self.receipt_days:,} days old")
        if self.audit_days is not None:
            parts.append(f"newest audit at most {self.audit_days:,} days old")
        return ", ".join(parts)

    def contradictions(self) -> Iterator[str]:
        """Yield what no key by itself is wrong about."""
        if self.receipt_days is None and self.audit_days is None:
            yield "give receipt_days, audit_days or both"


def decide_fresh(rule: FreshRule, facts: GateFacts) -> Decided:
    """Hold moments to the moment of the decision; one that is still to come is not fresh."""
    problems: list[str | None] = []
    ended = facts.receipt.event.finished_at
    if rule.receipt_days is not None:
        problems.append(age_problem("the event", ended, facts.at, rule.receipt_days))
    audits = [
        one.result.finished_at
        for one in facts.verification.audits
        if drawback(one, [AuditVerdict.CONFIRMED]) is None
    ]
    newest = max(audits, default=None)
    if rule.audit_days is not None and newest is None:
        problems.append("no independent audit stands for it")
    elif rule.audit_days is not None and newest is not None:
        problems.append(age_problem("the newest audit", newest, facts.at, rule.audit_days))
    told = "" if newest is None else f", the newest audit at {newest}"
    good = f"the event ended at {ended}{told}; now: {spell(facts.at)}"
    return Decided.of(filter(None, problems), good, "receipt: event.finishedAt; audits: finishedAt")
