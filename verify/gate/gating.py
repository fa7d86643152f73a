"""Holding one verified receipt to a policy."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.errors import ExitCode, IntegrityError
from safety_receipts.receipts.io.text import printable
from safety_receipts.receipts.model.check import CheckLevel
from safety_receipts.verify.gate.entries import RuleEntry
from safety_receipts.verify.gate.kinds import GateFacts, GateRule, RuleStatus
from safety_receipts.verify.gate.policy import GatePolicy, Waiver
from safety_receipts.verify.gate.registry import RULES
from safety_receipts.verify.levels.expected import ExpectedCheckpoint
from safety_receipts.verify.verification import Verification

if TYPE_CHECKING:
    from safety_receipts.verify.compare.evaluations import Evaluation


@dataclass(frozen=True)
class RuleResult:
    """What became of one rule."""

    name: str
    """What its policy calls it."""
    kind: GateRule
    """Which rule it is."""
    implied: bool
    """Whether it holds although the policy says nothing of it."""
    status: RuleStatus
    """How it ended."""
    asked: str
    """What was asked for."""
    found: str
    """What was found, or what is missing."""
    source: str
    """Where that comes from."""
    waiver: Waiver | None
    """What accepts the failure; None: nothing does, or there is none."""
    expired: tuple[Waiver, ...]
    """Waivers of it that do not count any more."""


class GateVerdict(StrEnum):
    """What a gate says of one receipt."""

    ADMITTED = "admitted"
    """Every rule holds, or a waiver accepts that it does not."""
    REFUSED = "refused"
    """Some rule does not hold."""
    FAILED = "failed"
    """The receipt does not hold: no rule was decided."""
    INCOMPLETE = "incomplete"
    """No key that is trusted signed the receipt and its plan: no rule was decided."""


@dataclass(frozen=True)
class GateResult:
    """What became of one receipt."""

    bundle: Path
    """Its bundle, as it was named."""
    verification: Verification
    """What verification found."""
    rules: tuple[RuleResult, ...]
    """What became of each rule, implied ones first; empty where the receipt does not hold."""

    @property
    def verdict(self) -> GateVerdict:
        """What follows."""
        if self.verification.failed:
            return GateVerdict.FAILED
        if self.verification.level is CheckLevel.NONE:
            return GateVerdict.INCOMPLETE
        if any(rule.status is RuleStatus.FAILED for rule in self.rules):
            return GateVerdict.REFUSED
        return GateVerdict.ADMITTED

    @property
    def exit_code(self) -> ExitCode:
        """0, 1, 3 or 5."""
        return {
            GateVerdict.ADMITTED: ExitCode.DONE,
            GateVerdict.REFUSED: ExitCode.POLICY,
            GateVerdict.FAILED: ExitCode.INTEGRITY,
            GateVerdict.INCOMPLETE: ExitCode.INCOMPLETE,
        }[self.verdict]


def gate_receipt(
    bundle: Bundle,
    verification: Verification,
    policy: GatePolicy,
    at: datetime,
    *,
    shipped: ExpectedCheckpoint | None = None,
    earlier: tuple[Evaluation, Evaluation] | None = None,
) -> GateResult:
    """Hold a receipt to a policy.

    Args:
        bundle: The bundle that was verified.
        verification: What that found.
        policy: The policy.
        at: The moment of the decision, in UTC.
        shipped: The checkpoint that is to be shipped; None: none was named.
        earlier: An earlier event and this one; None: no earlier one was named.

    Returns:
        The result; no rule is decided where the receipt does not hold.

    Raises:
        IntegrityError: The bundle at hand holds another receipt than the one that was verified.
    """
    if verification.failed or verification.level is CheckLevel.NONE:
        return GateResult(bundle.folder, verification, ())
    held = {bundle.receipt.envelope.digest, verification.receipt_digest}
    held |= set() if earlier is None else {earlier[1].verification.receipt_digest}
    if held != {verification.receipt_digest}:
        raise IntegrityError("changed while it was read", file=bundle.folder)
    facts = GateFacts(verification, bundle.receipt.statement.predicate, at, shipped, earlier)
    implied = policy.implied()
    rules = (*implied, *policy.rules)
    results = [_decide(entry, facts, policy, implied=entry in implied) for entry in rules]
    return GateResult(bundle.folder, verification, tuple(results))


def _decide(entry: RuleEntry, facts: GateFacts, policy: GatePolicy, *, implied: bool) -> RuleResult:
    kind = GateRule(entry.rule)
    decided = RULES[kind].decide(entry, facts)
    mine = [waiver for waiver in policy.waivers if waiver.rule == entry.name and not implied]
    counting = [waiver for waiver in mine if waiver.counts(facts.at)]
    waiver = counting[0] if counting and not decided.holds else None
    if decided.holds:
        status = RuleStatus.PASSED
    else:
        status = RuleStatus.FAILED if waiver is None else RuleStatus.WAIVED
    return RuleResult(
        name=entry.name,
        kind=kind,
        implied=implied,
        status=status,
        asked=printable(entry.asked(), 400),
        found=decided.found,
        source=decided.source,
        waiver=waiver,
        expired=tuple(one for one in mine if not one.counts(facts.at)),
    )


def exit_code_of(results: list[GateResult]) -> ExitCode:
    """Return how a gate of several receipts ends: as the worst of them."""
    found = {result.exit_code for result in results}
    worst = (ExitCode.INTEGRITY, ExitCode.INCOMPLETE, ExitCode.POLICY)
    return next((code for code in worst if code in found), ExitCode.DONE)
