"""What ``receipts gate --json`` prints."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from safety_receipts.receipts.documents.moments import spell
from safety_receipts.receipts.model.base import Digest, Timestamp
from safety_receipts.receipts.model.check import CheckLevel
from safety_receipts.receipts.view.documents.base import SCHEMA, Document
from safety_receipts.verify.gate.gating import GateResult, GateVerdict, RuleResult
from safety_receipts.verify.gate.kinds import GateRule, RuleStatus
from safety_receipts.verify.gate.policy import LoadedPolicy, Waiver
from safety_receipts.verify.verification import VerificationVerdict
from safety_receipts.verify.view.documents.verify import CheckPart, check_part


class WaiverPart(Document):
    """A failure that somebody accepts."""

    rule: str
    """Id of the rule."""
    reason: str
    """Why it is accepted."""
    who: str
    """Who accepts it."""
    until: str
    """Last day on which it is accepted (UTC)."""


class GateRulePart(Document):
    """One rule, and what became of it."""

    id: str
    """What the policy calls it."""
    rule: GateRule
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
    waiver: WaiverPart | None
    """What accepts the failure; null: nothing does, or there is none."""
    expired: tuple[WaiverPart, ...]
    """Waivers of it that do not count any more."""


class GateReceiptPart(Document):
    """One receipt, held to the policy."""

    bundle: str
    """Its bundle, as it was named."""
    receipt_digest: Digest | None
    """The receipt's digest; null: it cannot be read."""
    keyid: str | None
    """The trusted key that signed the receipt; null: none did."""
    verdict: GateVerdict
    """What follows."""
    verification: VerificationVerdict
    """What verification says at level consistent, or bound with artifacts."""
    level: CheckLevel
    """The level that verification reached."""
    failed: tuple[CheckPart, ...]
    """Checks of verification that failed: no rule was decided then."""
    rules: tuple[GateRulePart, ...]
    """The rules, in the order of the policy, implied ones first."""


class GatePolicyPart(Document):
    """The policy."""

    file: str
    """Its file."""
    digest: Digest
    """SHA-256 of the file."""
    name: str | None
    """What it is called; null: it has no name."""


class GateDocument(Document):
    """Whether receipts are what a release policy asks for."""

    document: Annotated[Literal["cli-gate/1"], SCHEMA] = "cli-gate/1"
    admitted: bool
    """Whether every receipt is admitted."""
    at: Timestamp
    """The moment of the decision (UTC)."""
    policy: GatePolicyPart
    """The policy."""
    receipts: tuple[GateReceiptPart, ...]
    """Every receipt, in the order in which their bundles were named."""
    attestation: str | None = None
    """File of the signed statement that the checkpoint met the policy; null: none was asked for,
    or none was signed, as a rule does not hold or is waived."""


def gate_document(
    results: Sequence[GateResult],
    loaded: LoadedPolicy,
    at: datetime,
    attestation: Path | None = None,
) -> GateDocument:
    """Return what a gate found.

    Args:
        results: What became of each receipt.
        loaded: The policy.
        at: The moment of the decision.
        attestation: File of the signed statement; None: none was signed.
    """
    return GateDocument(
        admitted=all(one.verdict is GateVerdict.ADMITTED for one in results),
        at=spell(at),
        policy=GatePolicyPart(file=str(loaded.path), digest=loaded.digest, name=loaded.policy.name),
        receipts=tuple(map(_receipt, results)),
        attestation=None if attestation is None else str(attestation),
    )


def _receipt(result: GateResult) -> GateReceiptPart:
    found = result.verification
    return GateReceiptPart(
        bundle=str(result.bundle),
        receipt_digest=found.receipt_digest,
        keyid=found.keyid,
        verdict=result.verdict,
        verification=found.verdict,
        level=found.level,
        failed=tuple(map(check_part, found.failed)),
        rules=tuple(map(_rule, result.rules)),
    )


def _rule(result: RuleResult) -> GateRulePart:
    return GateRulePart(
        id=result.name,
        rule=result.kind,
        implied=result.implied,
        status=result.status,
        asked=result.asked,
        found=result.found,
        source=result.source,
        waiver=None if result.waiver is None else _waiver(result.waiver),
        expired=tuple(map(_waiver, result.expired)),
    )


def _waiver(waiver: Waiver) -> WaiverPart:
    return WaiverPart(rule=waiver.rule, reason=waiver.reason, who=waiver.who, until=waiver.until)
