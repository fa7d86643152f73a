"""Plan, receipt and audits are in a log."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from safety_receipts.receipts.view.numerals import counted
from safety_receipts.verify.gate.entries import Number, RuleEntry
from safety_receipts.verify.gate.kinds import Decided, GateFacts

if TYPE_CHECKING:
    from safety_receipts.verify.levels.times.logged import LogFacts


class LoggedRule(RuleEntry):
    """Plan, receipt and audits are in a transparency log, the plan before the run."""

    rule: Literal["logged"]
    plans_at_most: Number | None = None
    """Largest number of plans of this checkpoint, by trusted keys, in the log."""

    def asked(self) -> str:
        """Return what it asks for, in words."""
        plans = "" if self.plans_at_most is None else f", at most {self.plans_at_most:,} plans"
        return f"plan, receipt and audits are in a log{plans}"


def decide_logged(rule: LoggedRule, facts: GateFacts) -> Decided:
    """Decide by what proofs of logs show."""
    logged = facts.verification.logged
    source = "proofs of the log"
    if logged is None:
        return Decided.of(["no log policy was named (--log-policy)"], "", source)
    problems = list(_problems(rule, logged))
    known = None if logged.counts is None else logged.counts.plans
    plans = "" if known is None else f"; {counted(known, 'plan')} in the log"
    good = f"plan, receipt and audits are in the log, the plan before the run{plans}"
    return Decided.of(problems, good, source)


def _problems(rule: LoggedRule, logged: LogFacts) -> Iterator[str]:
    for what, there in (("plan", logged.plan), ("receipt", logged.receipt)):
        if not there:
            yield f"nothing shows that the {what} is in the log"
    if logged.plan and not logged.before:
        yield "nothing shows that the plan was in the log before the run"
    if not logged.audits:
        yield "nothing shows that all audits are in the log"
    counts = logged.counts
    if counts is not None and counts.missing_audits:
        yield f"{counted(counts.missing_audits, 'announced audit')} missing"
    if rule.plans_at_most is None:
        return
    if counts is None or counts.plans is None:
        yield (
            "how many plans there are is not known: no copy of the log was named (--log), too few "
            "witnesses have seen it, or the plan is not in it under its key's id"
        )
        return
    if counts.plans > rule.plans_at_most:
        yield f"{counted(counts.plans, 'plan')} of this checkpoint by trusted keys in the log"
    if counts.receipts > 1:
        yield f"{counted(counts.receipts, 'receipt')} of this plan in the log"
