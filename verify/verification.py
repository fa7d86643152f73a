"""The result of verifying a bundle: the level its checks reach, and a verdict."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from html import escape
from typing import TYPE_CHECKING

from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.errors import ExitCode, IncompleteError, IntegrityError, PolicyError
from safety_receipts.receipts.keys import PublicKey
from safety_receipts.receipts.model.check import CheckLevel, CheckStatus
from safety_receipts.verify.audit.sealed.audits import AuditSummary, UnfinishedAudit
from safety_receipts.verify.checks import VerificationCheck
from safety_receipts.verify.subject import ReceiptSubject

if TYPE_CHECKING:
    from safety_receipts.verify.levels.times.logged import LogFacts

LADDER = (CheckLevel.AUTHENTIC, CheckLevel.CONSISTENT, CheckLevel.BOUND)
"""Levels that offline verification can reach, lowest first."""


class VerificationVerdict(StrEnum):
    """What verification says."""

    PASSED = "passed"
    """Nothing failed, and the level asked for was reached."""
    FAILED = "failed"
    """A check failed; where only such of what was asked for did, the receipt may be true of another
    model."""
    INCOMPLETE = "incomplete"
    """Nothing failed, but the level asked for could not be reached."""


@dataclass(frozen=True)
class Verification:
    """The result of verifying one bundle."""

    checks: tuple[VerificationCheck, ...]
    wanted: CheckLevel
    """The level that had to be reached."""
    receipt_digest: Sha256 | None
    keyid: str | None
    """Id of the trusted key that signed the receipt."""
    evaluator_keys: tuple[PublicKey, ...] = ()
    """Trusted keys whose signatures on receipt or plan count."""
    audits: tuple[AuditSummary, ...] = ()
    """Trusted auditors' results about the receipt."""
    unfinished_audits: tuple[UnfinishedAudit, ...] = ()
    """What trusted auditors announced, and no result of it is here."""
    trusted_audits: frozenset[Sha256] = frozenset()
    """Digests of all that trusted auditors signed about the receipt."""
    subject: ReceiptSubject | None = None
    """What the receipt says that it is of; None: there is none that fits its schema."""
    logged: LogFacts | None = None
    """What proofs of transparency logs show; None: nobody asked for them."""
    responses_unopened: bool = False
    """Whether restricted records lie in the bundle that were not opened."""

    def __bool__(self) -> bool:
        """Whether it passed: nothing failed, and the level asked for was reached."""
        return self.verdict is VerificationVerdict.PASSED

    @property
    def failed(self) -> tuple[VerificationCheck, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if check.status is CheckStatus.FAILED)

    @property
    def broken(self) -> tuple[VerificationCheck, ...]:
        """The checks that failed, but for those of what was asked for."""
        return tuple(check for check in self.failed if not check.is_expectation)

    @property
    def unmet(self) -> tuple[VerificationCheck, ...]:
        """The checks of what was asked for that failed: checkpoint, stage, no test instrument."""
        return tuple(check for check in self.failed if check.is_expectation)

    def raise_for_failure(self) -> None:
        """Raise unless it passed.

        Raises:
            IntegrityError: A check failed.
            PolicyError: Only such failed as are of what was asked for.
            IncompleteError: Nothing failed, and the level asked for was not reached.
        """
        if self.failed:
            first = (self.broken or self.unmet)[0]
            more = f"; {len(self.failed) - 1} more failed" if len(self.failed) > 1 else ""
            kind = IntegrityError if self.broken else PolicyError
            raise kind(f"{first.name}: {first.detail}{more}")
        if not self:
            missing = next((check for check in self.checks if self._holds_back(check)), None)
            why = "" if missing is None else f": {missing.name}: {missing.detail}"
            raise IncompleteError(f"level {self.wanted} was not reached{why}")

    def _holds_back(self, check: VerificationCheck) -> bool:
        """Say whether a check is one that the level asked for needs, and did not pass."""
        needed = LADDER[: LADDER.index(self.wanted) + 1]
        return check.level in needed and not check.holds

    def __repr__(self) -> str:
        """Return the verdict and how the checks ended, in one line."""
        return f"<Verification {self.verdict}: {self._told()}>"

    def _told(self) -> str:
        ended = Counter(check.status for check in self.checks)
        parts = [f"level {self.level}"] if self.level is not CheckLevel.NONE else ["no level"]
        parts.append(f"{ended[CheckStatus.PASSED]} checks passed")
        if self.failed:
            parts.append(f"failed: {', '.join(check.name for check in self.failed)}")
        elif not self:
            parts.append(f"{self.wanted} was asked for")
        return "; ".join(parts)

    def _repr_html_(self) -> str:
        """Return the checks as a table, for notebooks."""
        rows = "".join(
            "<tr>"
            + "".join(
                f"<td>{escape(cell)}</td>"
                for cell in (check.status, check.level, check.name, check.detail)
            )
            + "</tr>"
            for check in self.checks
        )
        head = "<tr><th>status</th><th>level</th><th>check</th><th>detail</th></tr>"
        told = escape(f"{self.verdict}: {self._told()}")
        return f"<p>{told}</p><table>{head}{rows}</table>"

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
    def verdict(self) -> VerificationVerdict:
        """What follows."""
        if any(check.status is CheckStatus.FAILED for check in self.checks):
            return VerificationVerdict.FAILED
        return VerificationVerdict.PASSED if self.reached else VerificationVerdict.INCOMPLETE

    @property
    def reached(self) -> bool:
        """Whether the level asked for was reached, whatever failed besides."""
        order = (CheckLevel.NONE, *LADDER)
        return order.index(self.level) >= order.index(self.wanted)

    @property
    def exit_code(self) -> ExitCode:
        """0, 1, 3 or 5."""
        if self.unmet and not self.broken:
            return ExitCode.POLICY
        return {
            VerificationVerdict.PASSED: ExitCode.DONE,
            VerificationVerdict.FAILED: ExitCode.INTEGRITY,
            VerificationVerdict.INCOMPLETE: ExitCode.INCOMPLETE,
        }[self.verdict]
