"""What ``receipts verify --json`` prints."""

from __future__ import annotations

from typing import Literal

from safety_receipts.receipts.model.audit import (
    AuditMethod,
    AuditVerdict,
    ChallengeKind,
    PublicAuditPredicate,
)
from safety_receipts.receipts.model.base import Count, Digest, Probability
from safety_receipts.receipts.model.check import CheckLevel, CheckStatus
from safety_receipts.receipts.view.documents.base import Document
from safety_receipts.verify.audit.sealed.audits import AuditSummary
from safety_receipts.verify.checks import NotApplicable, VerificationCheck
from safety_receipts.verify.verification import Verification, VerificationVerdict
from safety_receipts.verify.view.documents.audited import (
    AuditedOutcomesPart,
    AuditedRatePart,
    ScopePart,
    outcomes_part,
    rate_part,
    scope_part,
)


class CheckPart(Document):
    """One named check."""

    name: str
    """What was checked, and of which thing, where there are several."""
    level: CheckLevel
    """The level it belongs to."""
    status: CheckStatus | NotApplicable
    """How it ended."""
    detail: str
    """What was found, why it was not checked, or why there was nothing to check."""


class HardContradictions(Document):
    """Contradictions beyond any numerical noise."""

    rates: Count
    """Among draws for rates."""
    outcomes: Count | None
    """Among points replayed for the model's identity; null: not counted."""


class AuditSeenPart(Document):
    """A trusted auditor's result about the receipt."""

    digest: Digest
    """Its digest."""
    form: Literal["public", "full"]
    """Whether it names the points that were drawn: ``full``; or not: ``public``."""
    status: CheckStatus
    """How its check ended."""
    verdict: AuditVerdict
    """Its verdict."""
    keyids: tuple[str, ...]
    """The trusted keys that signed it."""
    self_audit: bool
    """Whether the evaluator's own key signed it."""
    method: AuditMethod
    """How drawn points were looked at."""
    epsilon: Probability
    """Tolerated error of a rate."""
    alpha: Probability
    """Risk of confirming a wrong rate."""
    known_starts: Count
    """Audits of this receipt that its auditor is known to have announced, this one included."""
    calibrated: bool
    """Whether it names a calibration."""
    challenge: ChallengeKind
    """Where its randomness comes from."""
    scope: ScopePart
    """How much of the receipt it is of."""
    rates: tuple[AuditedRatePart, ...]
    """What it found about each rate."""
    hard_contradictions: HardContradictions
    """What contradicts the record whatever the verdict."""
    outcomes: AuditedOutcomesPart | None
    """What it found about recorded outcomes; null: not counted."""
    second_judge: AuditVerdict | None
    """What it says of the second judge's agreement; null: there is none, or it was not asked."""
    identity_passed: bool | None
    """Whether the model-identity test passed; null: not made."""


class VerifyDocument(Document):
    """What checking a bundle found: a verdict, the level reached, every check."""

    verdict: VerificationVerdict
    """What follows."""
    level: CheckLevel
    """The highest level of which, and of all below, every check passed or did not apply."""
    checks: tuple[CheckPart, ...]
    """All checks, in the order they were made."""
    receipt_digest: Digest | None
    """The receipt's digest; null: it cannot be read."""
    keyid: str | None
    """The trusted key that signed the receipt; null: none did."""
    audits: tuple[AuditSeenPart, ...]
    """Trusted auditors' results about the receipt."""


def verify_document(verification: Verification) -> VerifyDocument:
    """Return what verification found."""
    return VerifyDocument(
        verdict=verification.verdict,
        level=verification.level,
        checks=tuple(map(check_part, verification.checks)),
        receipt_digest=verification.receipt_digest,
        keyid=verification.keyid,
        audits=tuple(map(_audit, verification.audits)),
    )


def check_part(check: VerificationCheck) -> CheckPart:
    """Return one check."""
    return CheckPart(name=check.name, level=check.level, status=check.status, detail=check.detail)


def _audit(audit: AuditSummary) -> AuditSeenPart:
    result, found = audit.result, audit.result.outcomes
    second, identity = result.second_judge, result.identity
    return AuditSeenPart(
        digest=audit.digest,
        form="public" if isinstance(result, PublicAuditPredicate) else "full",
        status=audit.status,
        verdict=result.verdict,
        keyids=tuple(key.keyid for key in audit.keys),
        self_audit=audit.self_audit,
        method=result.method,
        epsilon=result.epsilon,
        alpha=result.alpha,
        known_starts=result.known_starts,
        calibrated=result.calibration is not None,
        challenge=result.challenge.kind,
        scope=scope_part(audit.scope),
        rates=tuple(map(rate_part, result.conditions)),
        hard_contradictions=HardContradictions(
            rates=sum(rate.hard_contradictions for rate in result.conditions),
            outcomes=None if found is None else found.hard_contradictions,
        ),
        outcomes=outcomes_part(found),
        second_judge=None if second is None else second.verdict,
        identity_passed=None if identity is None else identity.passed,
    )
