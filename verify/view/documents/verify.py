"""What ``receipts verify --json`` prints."""

from __future__ import annotations

from typing import Annotated, Literal

from safety_receipts.receipts.model.audit import (
    AuditMethod,
    AuditVerdict,
    ChallengeKind,
    PublicAuditPredicate,
)
from safety_receipts.receipts.model.base import (
    Condition,
    ConditionId,
    Count,
    Digest,
    Probability,
    Rate,
)
from safety_receipts.receipts.model.check import CheckLevel, CheckStatus
from safety_receipts.receipts.model.checkpoint import Dtype
from safety_receipts.receipts.model.judge import JudgeKind
from safety_receipts.receipts.model.plan import ServerDialect
from safety_receipts.receipts.view.documents.base import SCHEMA, Document, Total
from safety_receipts.receipts.view.servers import ServedWork
from safety_receipts.verify.audit.sealed.audits import AuditSummary
from safety_receipts.verify.audit.statistics.verdicts import hard_in_draws
from safety_receipts.verify.checks import NotApplicable, VerificationCheck
from safety_receipts.verify.subject import ReceiptSubject, StatedRate
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

    rates: Total
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
    auditor: str | None
    """Name of the auditor, in the auditor's own words; null: none is given."""
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


class StatedRatePart(Document):
    """A compliance rate that a receipt states."""

    condition: Condition
    """Id of its condition."""
    rate: Rate | None
    """Share of judged responses that comply; null: none was judged."""


class SubjectJudge(Document):
    """The judge of an evaluation."""

    name: str
    """Its name."""
    kind: JudgeKind
    """Its kind."""


class SubjectCheckpoint(Document):
    """The checkpoint that was evaluated."""

    name: str
    """Its name."""
    root: Digest
    """Its OpenSSF Model Signing root."""
    dtype: Dtype
    """Number format of the run."""
    quantisation: str | None
    """How its weights are stored; null: not quantised."""


class SubjectServer(Document):
    """A server that answered."""

    asked_for: ServedWork
    """What it was asked for."""
    dialect: ServerDialect
    """What it speaks."""
    started: bool
    """Whether the tool started it on the files listed; false: which weights answered was not
    seen."""


class SubjectPart(Document):
    """What a receipt says that it is of."""

    name: str | None
    """The plan's title; null: the plan that the receipt names is not at hand."""
    checkpoint: SubjectCheckpoint
    """The checkpoint."""
    stage: str
    """Its training stage."""
    instrument: bool
    """Whether it is of a test instrument, as it says itself, or as its checkpoint is one of those
    that come with this program: its numbers then say nothing about any real model."""
    judge: SubjectJudge
    """The judge."""
    servers: tuple[SubjectServer, ...]
    """Servers that answered, for the model or a judge; empty: none did."""
    baseline: StatedRatePart
    """The compliance rate without demonstrations."""
    highest: StatedRatePart | None
    """The highest compliance rate of any other condition; null: no other has one."""
    points: Count
    """Evaluation points."""
    event_id: str
    """Id of the event."""
    plan_digest: Digest
    """Digest of the plan that the receipt names."""


class VerifyDocument(Document):
    """What checking a bundle found: a verdict, the level reached, every check."""

    document: Annotated[Literal["cli-verify/1"], SCHEMA] = "cli-verify/1"
    verdict: VerificationVerdict
    """What follows."""
    level: CheckLevel
    """The highest level of which, and of all below, every check passed or did not apply."""
    wanted: CheckLevel
    """The level that had to be reached."""
    subject: SubjectPart | None
    """What the receipt says that it is of; null: there is none that fits its schema.  It can be
    believed as far as the verdict lets it."""
    responses_unopened: bool
    """Whether restricted records lie in the bundle that were not opened."""
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
        wanted=verification.wanted,
        subject=None if verification.subject is None else _subject(verification.subject),
        responses_unopened=verification.responses_unopened,
        checks=tuple(map(check_part, verification.checks)),
        receipt_digest=verification.receipt_digest,
        keyid=verification.keyid,
        audits=tuple(map(_audit, verification.audits)),
    )


def _subject(subject: ReceiptSubject) -> SubjectPart:
    highest = subject.highest
    return SubjectPart(
        name=subject.name,
        checkpoint=SubjectCheckpoint(
            name=subject.checkpoint,
            root=subject.root,
            dtype=subject.dtype,
            quantisation=subject.quantisation,
        ),
        stage=subject.stage,
        instrument=subject.instrument,
        judge=SubjectJudge(name=subject.judge, kind=subject.judge_kind),
        servers=tuple(
            SubjectServer(asked_for=one.asked_for, dialect=one.dialect, started=one.started)
            for one in subject.servers
        ),
        baseline=_stated(subject.baseline),
        highest=None if highest is None else _stated(highest),
        points=subject.points,
        event_id=subject.event,
        plan_digest=subject.plan,
    )


def _stated(rate: StatedRate) -> StatedRatePart:
    return StatedRatePart(condition=ConditionId(rate.condition), rate=rate.rate)


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
        auditor=audit.auditor,
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
            rates=hard_in_draws(result),
            outcomes=None if found is None else found.hard_contradictions,
        ),
        outcomes=outcomes_part(found),
        second_judge=None if second is None else second.verdict,
        identity_passed=None if identity is None else identity.passed,
    )
