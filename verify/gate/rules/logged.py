"""Plan, receipt and audits are in a log."""

from __future__ import annotations

from typing import Literal

from safety_receipts.verify.gate.entries import Number, RuleEntry
from safety_receipts.verify.gate.kinds import Decided, GateFacts


class LoggedRule(RuleEntry):
    """Plan, receipt and audits are in a transparency log, the plan before the run."""

    rule: Literal["logged"]
    plans_at_most: Number | None = None
    """Largest number of plans of this checkpoint, by this key, in the log."""

    def asked(self) -> str:
        """Return what it asks for, in words."""
        plans = "" if self.plans_at_most is None else f", at most {self.plans_at_most:,} plans"
        return f"plan, receipt and audits are in a log{plans}"


def decide_logged(rule: LoggedRule, facts: GateFacts) -> Decided:
    """Say that nothing shows it: this version reads no log."""
    why = "this version has no log: nothing shows when the plan was sealed, nor how many were"
    return Decided.of([why], "", "no log")
