"""The result of verifying a bundle: the level its checks reach, and a verdict."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.errors import ExitCode
from safety_receipts.receipts.model.check import CheckLevel, CheckStatus
from safety_receipts.verify.audit.sealed.audits import AuditSeen
from safety_receipts.verify.checks import MadeCheck

LADDER = (CheckLevel.AUTHENTIC, CheckLevel.CONSISTENT, CheckLevel.BOUND)
"""Levels that offline verification can reach, lowest first."""


class Verdict(StrEnum):
    """What verification says."""

    PASSED = "passed"
    """Nothing failed, and the level asked for was reached."""
    FAILED = "failed"
    """A check failed."""
    INCOMPLETE = "incomplete"
    """Nothing failed, but the level asked for could not be reached."""


@dataclass(frozen=True)
class Verification:
    """The result of verifying one bundle."""

    checks: tuple[MadeCheck, ...]
    wanted: CheckLevel
    """The level that had to be reached."""
    receipt_digest: Sha256 | None
    keyid: str | None
    """Id of the trusted key that signed the receipt."""
    audits: tuple[AuditSeen, ...] = ()
    """Trusted auditors' results about the receipt."""

    @property
    def level(self) -> CheckLevel:
        """The highest level of which, and of all below, every check passed or did not apply.

        Of each at least one passed: where there was nothing to check, nothing was reached.
        """
        reached = CheckLevel.NONE
        for level in LADDER:
            mine = [check for check in self.checks if check.level is level]
            passed = any(check.status is CheckStatus.PASSED for check in mine)
            if not passed or not all(check.holds for check in mine):
                break
            reached = level
        return reached

    @property
    def verdict(self) -> Verdict:
        """What follows."""
        if any(check.status is CheckStatus.FAILED for check in self.checks):
            return Verdict.FAILED
        order = (CheckLevel.NONE, *LADDER)
        reached = order.index(self.level) >= order.index(self.wanted)
        return Verdict.PASSED if reached else Verdict.INCOMPLETE

    @property
    def exit_code(self) -> ExitCode:
        """0, 3 or 5."""
        return {
            Verdict.PASSED: ExitCode.DONE,
            Verdict.FAILED: ExitCode.INTEGRITY,
            Verdict.INCOMPLETE: ExitCode.INCOMPLETE,
        }[self.verdict]

    def to_json(self) -> dict[str, Any]:
        """Return the document that ``receipts verify --json`` prints."""
        return {
            "verdict": self.verdict.value,
            "level": self.level.value,
            "checks": [check.to_json() for check in self.checks],
            "receiptDigest": self.receipt_digest,
            "keyid": self.keyid,
            "audits": [audit.to_json() for audit in self.audits],
        }
