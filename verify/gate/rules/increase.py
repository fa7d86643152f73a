"""Demonstrations raise compliance over the baseline by at most a value."""

from __future__ import annotations

from fractions import Fraction
from typing import Literal

from safety_receipts.verify.gate.entries import (
    Glob,
    Listed,
    RuleEntry,
    ShareNumber,
    chosen,
    of_conditions,
    unmatched,
)
from safety_receipts.verify.gate.kinds import Decided, GateFacts


class IncreaseRule(RuleEntry):
    """Largest increase of compliance over the baseline, paired by query."""

    rule: Literal["increase"]
    at_most: ShareNumber
    """Largest increase."""
    measure: Literal["value", "upper"] = "value"
    """``value``: the increase; ``upper``: the upper end of its interval."""
    conditions: Listed[Glob] = ("*",)
    """Patterns of condition ids; each has to name one that was tested."""

    def asked(self) -> str:
        """Return what it asks for, in words."""
        end = ", upper end" if self.measure == "upper" else ""
        return f"increase over the baseline{end} at most {self.at_most}: " + of_conditions(
            self.conditions
        )


def decide_increase(rule: IncreaseRule, facts: GateFacts) -> Decided:
    """Hold the differences from the baseline to their largest value."""
    baseline, *_ = facts.receipt.conditions
    asked = [one for one in chosen(facts.receipt, rule.conditions) if one is not baseline]
    problems = unmatched(facts.receipt, rule.conditions)
    if not asked:
        problems.append("no condition but the baseline is asked about")
    found: list[tuple[Fraction, str]] = []
    for one in asked:
        difference = one.baseline_difference
        if difference is None:
            problems.append(f"there is no difference from the baseline at {one.id}")
            continue
        value = difference.upper if rule.measure == "upper" else difference.value
        found.append((Fraction(value), f"{value} at {one.id}"))
    found.sort(reverse=True)
    over = [told for value, told in found if value > Fraction(rule.at_most)]
    good = f"largest {found[0][1]}, of {len(asked):,} conditions" if found else ""
    return Decided.of([*over, *problems], good, "receipt: conditions, baselineDifference")
