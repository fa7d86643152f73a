"""One audit from its announcement to its signed statement."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from safety_receipts.receipts.audit_forms import write_audit
from safety_receipts.receipts.beacon.rounds import check_round
from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.dsse import Envelope
from safety_receipts.receipts.errors import (
    FileAccessError,
    IncompleteError,
    IntegrityError,
    InterruptedByUserError,
)
from safety_receipts.receipts.keys import Signer
from safety_receipts.receipts.model.audit import Challenge, SecondJudgeVerdict, audit_traits
from safety_receipts.receipts.model.check import Check, CheckStatus
from safety_receipts.receipts.model.checkpoint import Dtype
from safety_receipts.receipts.model.plan import BeaconRound
from safety_receipts.receipts.model.receipt import Environment
from safety_receipts.receipts.model.statement import AuditStatement
from safety_receipts.runner.engines.engine import (
    Engine,
    ServedEngine,
    Tried,
    UnbelievableServerError,
)
from safety_receipts.runner.run.execute import RunStack
from safety_receipts.runner.run.loaded import LoadedStack
from safety_receipts.runner.run.pooled.stack import PooledStack
from safety_receipts.runner.run.seal import MEMORY_CLASS, environment_of, stack_of
from safety_receipts.runner.run.served import ServerCounts
from safety_receipts.verify.audit.journals.replays import AuditJournal, audit_journal_path
from safety_receipts.verify.audit.pooled import (
    PooledSecondOpinion,
    RegenerateJob,
    ReplayJob,
    SecondOpinionJob,
    pooled_replays,
)
from safety_receipts.verify.audit.regenerate import Regenerator
from safety_receipts.verify.audit.replay import Replays, one_by_one
from safety_receipts.verify.audit.report import AuditDetails, audit_statement, replay_checks
from safety_receipts.verify.audit.run import (
    AnnouncedAudit,
    Audit,
    AuditEvidence,
    AuditWatch,
    own_audits,
)
from safety_receipts.verify.audit.second_opinion import SecondOpinion, ask_again
from safety_receipts.verify.audit.session import AuditSubject
from safety_receipts.verify.check_names import CheckName
from safety_receipts.verify.checks import VerificationCheck


@dataclass(frozen=True)
class Auditor:
    """Who audits, and with what."""

    signer: Signer
    """Signs announcement and audit."""
    loaded: LoadedStack[RunStack] | LoadedStack[PooledStack]
    """Engine and judge, here or in workers."""
    reference: Callable[[], Engine] | None
    """Gives an engine in fp32, by which hard margins are reproduced; None: the stack's own
    engine runs in fp32."""
    out: Path
    """The folder whose ``audits`` it writes to."""
    tried: Tried | None = None
    """What trying the server showed; None: there is none."""


def conduct(
    subject: AuditSubject,
    announced: AnnouncedAudit,
    auditor: Auditor,
    checked: Sequence[VerificationCheck],
    *,
    beacon_value: str | None = None,
    beacon_signature: str | None = None,
    watch: AuditWatch = lambda _, __: None,
) -> tuple[AuditStatement, Envelope]:
    """Replay what an announcement draws, and sign what follows.

    Args:
        subject: The receipt and the auditor's artifacts.
        announced: The announcement.
        auditor: Who audits, and with what.
        checked: What was checked before, for the statement.
        beacon_value: What the announced beacon round said, 64 hex digits.
        beacon_signature: The signature of that round, 96 hex digits; None: it is not at hand.
        watch: Told how many points are replayed.

    Raises:
        IncompleteError: The announced beacon round's value is missing.
        InterruptedByUserError: The user stopped it; what was replayed stays.
        IntegrityError: A drawn point does not follow from the plan and the artifacts.  That is
            signed, too: an evaluator who spoils a few records must not silence an audit.
        UsageError: The audit was begun with another stack.
        FileAccessError: The folder cannot be written.
    """
    nonce = challenge_of(announced, beacon_value)
    identity = auditor.loaded.stack.identity
    subject.check_stack(identity.dtype)
    environment = environment_of(identity, subject.plan, auditor.loaded.memory)
    digest = announced.envelope.digest
    journal = _open_journal(auditor, digest, environment)
    audit = Audit(announced, subject.receipt, AuditEvidence(subject.bundle, subject.receipt))
    replays = _replays(subject, announced, auditor, nonce)
    broken: IntegrityError | None = None
    if auditor.tried is not None:
        journal.count(ServerCounts(auditor.tried.repeated, auditor.tried.differed))
    try:
        audit.run(nonce, journal, replays, watch)
        _confirm(auditor.loaded.stack)
    except KeyboardInterrupt:
        raise InterruptedByUserError(
            f"interrupted; {len(journal.replayed):,} replayed points are kept",
            hint="run the same command again to go on",
        ) from None
    except UnbelievableServerError as error:
        # That is the auditor's server, and says nothing of the record: nothing is signed of it.
        raise IncompleteError(
            f"{error.message}; {len(journal.replayed):,} replayed points are kept",
            hint="run the same command again when it can be believed; unfinished audits count",
        ) from None
    except IntegrityError as error:
        broken = error
    finally:
        journal.count(ServerCounts(resent=_resent(auditor.loaded.stack)))
    environment = journal.counts.of(environment)
    statement = audit_statement(
        announced,
        audit,
        subject.receipt,
        AuditDetails(
            identity=subject.identity(audit, Dtype(environment.dtype), nonce),
            second_judge=_asked_again(subject, audit, auditor.loaded.stack),
            checks=[
                *_checks(announced, audit, checked, broken),
                *_challenge_checks(announced.terms.challenge, beacon_value, beacon_signature),
            ],
            environment=environment,
            known_starts=len(
                own_audits(subject.digest, auditor.signer, [subject.bundle.folder, auditor.out])
            ),
            beacon_value=beacon_value,
            beacon_signature=beacon_signature,
        ),
    )
    access = subject.plan.evidence_access
    envelope, _ = write_audit(statement, auditor.signer, auditor.out, access=access)
    journal.remove()
    if broken is not None:
        raise IntegrityError(
            broken.message, file=broken.file, hint=f"signed as audit {envelope.digest}"
        )
    return statement, envelope


def _replays(
    subject: AuditSubject, announced: AnnouncedAudit, auditor: Auditor, nonce: str
) -> Replays:
    """Return what replays points, or asks for them anew, here or in workers."""
    traits = audit_traits(announced.terms.method)
    stack, plan = auditor.loaded.stack, subject.plan
    if isinstance(stack, RunStack):
        if not traits.scores:
            return one_by_one(Regenerator(plan, subject.renderer, stack, nonce).replay)
        replayer = subject.replayer(stack, auditor.reference, by_weights=traits.by_weights)
        return one_by_one(replayer.replay)
    if not traits.scores:
        return pooled_replays(stack.pool, RegenerateJob(plan, subject.seed, nonce))
    dtype = stack.identity.dtype
    exact = dtype is Dtype.FLOAT32
    job = ReplayJob(
        plan, subject.seed, subject.plausibility(dtype), subject.judge_band, reference=not exact
    )
    return pooled_replays(stack.pool, job)


def _confirm(stack: RunStack | PooledStack) -> None:
    """Make sure of a server that the tool started that it was this one that answered.

    Raises:
        ReceiptsError: It has ended, or another process answers in its place.
    """
    if isinstance(stack, RunStack) and isinstance(stack.engine, ServedEngine):
        stack.engine.confirm()


def _resent(stack: RunStack | PooledStack) -> int:
    """Return how many requests a server was sent again; 0: there is none."""
    if isinstance(stack, RunStack) and isinstance(stack.engine, ServedEngine):
        return stack.engine.take_resent()
    return 0


def _checks(
    announced: AnnouncedAudit,
    audit: Audit,
    checked: Sequence[VerificationCheck],
    broken: IntegrityError | None,
) -> list[Check]:
    """Return the checks that the statement holds: those made before, and those of replaying."""
    before = (check.sealed() for check in checked)
    return [check for check in before if check is not None] + replay_checks(audit, broken)


def _challenge_checks(
    challenge: Challenge, value: str | None, signature: str | None
) -> list[Check]:
    """Return the check of the beacon's round, where one draws the points."""
    if challenge.beacon is None or value is None:
        return []
    found = check_round(challenge.beacon.chain, challenge.beacon.round, value, signature)
    return [
        Check(
            name=CheckName.CHALLENGE_BEACON.value,
            level=CheckName.CHALLENGE_BEACON.level(sealed=True),
            status=found.status,
            detail=found.detail,
        )
    ]


def refuse_false_round(
    beacon: BeaconRound | None, value: str | None, signature: str | None
) -> None:
    """Refuse a signature that is not the round's, before points are replayed by it.

    Raises:
        IntegrityError: It is not.
    """
    if beacon is None or value is None or signature is None:
        return
    found = check_round(beacon.chain, beacon.round, value, signature)
    if found.status is CheckStatus.FAILED:
        raise IntegrityError(found.detail, hint="give the signature of the announced round")


def _asked_again(
    subject: AuditSubject, audit: Audit, stack: RunStack | PooledStack
) -> SecondJudgeVerdict | None:
    """Ask the second judge again where there is one, unless a rate is refuted already."""
    agreement = subject.receipt.judge_agreement
    if agreement is None or not audit.identified:
        return None
    asked: SecondOpinion | PooledSecondOpinion
    if isinstance(stack, PooledStack):
        if subject.plan.judge.second is None:
            return None
        asked = PooledSecondOpinion(stack.pool, SecondOpinionJob(subject.plan, subject.seed))
    elif stack.second_judge is None:
        return None
    else:
        asked = SecondOpinion(stack.second_judge, subject.renderer)
    contradicted = {one.id for one in audit.identified if one.contradicts_record}
    return ask_again(audit.sampled(), agreement, audit.terms, asked, contradicted)


def _open_journal(auditor: Auditor, start: Sha256, environment: Environment) -> AuditJournal:
    path = audit_journal_path(auditor.out, start)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)  # announced elsewhere, perhaps
    except OSError as error:
        raise FileAccessError.from_os(error, "create", path.parent) from None
    stack = stack_of(environment)
    # What memory is free cuts other batches, which makes no other stack: replayed points stand.
    stack.pop(MEMORY_CLASS, None)
    return AuditJournal(path, start, stack, auditor.signer)


def challenge_of(announced: AnnouncedAudit, beacon_value: str | None) -> str:
    """Return what decides which points are drawn.

    Raises:
        IncompleteError: It is the value of a beacon round, which is not given.
    """
    challenge = announced.terms.challenge
    if challenge.nonce is not None:
        return challenge.nonce
    if beacon_value is None:
        named = "" if challenge.beacon is None else f"{challenge.beacon.round:,}"
        raise IncompleteError(
            f"announced; the audit waits for beacon round {named}",
            hint="run the same command again with --beacon-value when it is out; --new announces "
            "another audit, and this one counts as unfinished",
        )
    return beacon_value
