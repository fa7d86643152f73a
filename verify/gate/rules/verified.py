"""The level that verification reached."""

from __future__ import annotations

from typing import Literal

from safety_receipts.receipts.model.check import CheckLevel
from safety_receipts.verify.check_names import CheckName
from safety_receipts.verify.gate.entries import RuleEntry
from safety_receipts.verify.gate.kinds import Decided, GateFacts
from safety_receipts.verify.verification import LADDER


class VerifiedRule(RuleEntry):
    """The level that verification has to reach."""

    rule: Literal["verified"]
    level: Literal["authentic", "consistent", "bound"] = "consistent"
    """``authentic``: keys that are trusted signed plan and receipt.  ``consistent``: and every
    number follows from the evidence.  ``bound``: and prompts and texts from the artifacts."""

    def asked(self) -> str:
        """Return what it asks for, in words."""
        return f"level {self.level} or higher"


def decide_verified(rule: VerifiedRule, facts: GateFacts) -> Decided:
    """Hold the level that verification reached to the one asked for."""
    verification, wanted = facts.verification, CheckLevel(rule.level)
    order = (CheckLevel.NONE, *LADDER)
    reached = verification.level
    problems = []
    if order.index(reached) < order.index(wanted):
        needed = LADDER[: LADDER.index(wanted) + 1]
        missing = [one for one in verification.checks if one.level in needed and not one.holds]
        problems = [f"reached: {reached.value}", *(f"{one.name}: {one.detail}" for one in missing)]
        bound = {one.name for one in verification.checks if one.level is CheckLevel.BOUND}
        if wanted is CheckLevel.BOUND and bound <= {CheckName.COMMITMENTS.value}:
            problems.append("the artifacts were not compared: --artifacts PLAN is missing")
    return Decided.of(problems, f"reached: {reached.value}", "verification")
