"""It is of no test instrument."""

from __future__ import annotations

from typing import Literal

from safety_receipts.verify.gate.entries import RuleEntry
from safety_receipts.verify.gate.kinds import Decided, GateFacts
from safety_receipts.verify.subject import is_instrument


class InstrumentRule(RuleEntry):
    """Whether a receipt may be of a test instrument, which says nothing about any real model."""

    rule: Literal["instrument"]
    allow: bool = False
    """Whether it may: for trying a policy out."""

    def asked(self) -> str:
        """Return what it asks for, in words."""
        return "anything, test instruments included" if self.allow else "no test instrument"


def decide_instrument(rule: InstrumentRule, facts: GateFacts) -> Decided:
    """Refuse receipts of test instruments, whatever these say of themselves."""
    source = "receipt: instrument, checkpoint.files"
    if not is_instrument(facts.receipt):
        return Decided.of((), "it says that it is of none", source)
    what = "it is of a TEST INSTRUMENT"
    if not facts.receipt.instrument:
        what += ", and says that it is of none"
    return Decided.of(() if rule.allow else (what,), f"{what}, which is allowed", source)
