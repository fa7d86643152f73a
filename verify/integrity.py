"""Offline verification: the checks of levels *authentic*, *consistent* and *bound*."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from safety_receipts.receipts.bundle import RESPONSES_FILE, Bundle
from safety_receipts.receipts.errors import UsageError
from safety_receipts.receipts.keys import TrustSet
from safety_receipts.receipts.model.check import CheckLevel
from safety_receipts.receipts.model.plan import PlanPredicate
from safety_receipts.receipts.model.receipt import EvaluationPredicate
from safety_receipts.receipts.trust.trust_set import joined_trust
from safety_receipts.receipts.view.inputs import filtered_words
from safety_receipts.verify.audit.sealed.audits import check_audits
from safety_receipts.verify.check_names import CheckName
from safety_receipts.verify.checks import CheckList
from safety_receipts.verify.levels.authentic import Authenticated, check_authentic
from safety_receipts.verify.levels.consistent import check_consistent
from safety_receipts.verify.levels.evidence import PointProgress, no_progress
from safety_receipts.verify.levels.expected import Expectations, check_expected
from safety_receipts.verify.levels.inclusion import check_proof
from safety_receipts.verify.levels.original import check_rejudged
from safety_receipts.verify.levels.times.beacon import check_beacon
from safety_receipts.verify.levels.times.held import SignatureTimes, TimeTerms
from safety_receipts.verify.subject import subject_of
from safety_receipts.verify.verification import Verification

if TYPE_CHECKING:
    from cryptography import x509

    from safety_receipts.receipts.dsse import Envelope
    from safety_receipts.verify.levels.bound import HeldArtifacts
    from safety_receipts.verify.levels.times.logged import LogFacts, LogTerms


def verify_bundle(
    bundle: Bundle,
    *,
    evaluators: TrustSet,
    auditors: TrustSet | None = None,
    required: TrustSet | None = None,
    wanted: CheckLevel = CheckLevel.CONSISTENT,
    proof: Path | None = None,
    held_artifacts: HeldArtifacts | None = None,
    original: Bundle | None = None,
    expected: Expectations | None = None,
    tsa_roots: Sequence[x509.Certificate] = (),
    log: LogTerms | None = None,
    at: datetime | None = None,
    progress: PointProgress = no_progress,
) -> Verification:
    """Verify a bundle as far as ``wanted``, or as far as can be with ``held_artifacts``.

    Args:
        bundle: The bundle.
        evaluators: Keys trusted to sign plans and receipts; empty: nothing is authentic.
        auditors: Keys trusted to sign audits.
        required: Keys each of which must have signed plan and receipt, and which are trusted so;
            None or empty: none.
        wanted: The level to reach; lower levels are always checked.
        proof: An inclusion proof to check against the receipt.
        held_artifacts: The auditor's artifacts, to be held against the bundle; None: none.
        original: The bundle whose responses this one judges again; None: it is not at hand.
        expected: What a reader asks of it besides; None: nothing, and a test instrument will do.
        tsa_roots: Roots of timestamp authorities that timestamps are held to; empty: none are
            looked at.
        log: What proofs of transparency logs are held to; None: nobody asks for them.
        at: The moment, with its time zone, at which signatures are seen that nothing shows
            earlier, for keys that a trust file limits; None: now.
        progress: Told how many points of the current pass are done.

    Raises:
        UsageError: An original is given, and nothing was judged again.
        FileAccessError: A file that must be there cannot be read.
        MalformedError: A file is not what its name says.
    """
    checks = CheckList()
    if required:
        evaluators = joined_trust(evaluators, required)
    terms = TimeTerms(at or datetime.now(UTC), tsa_roots, None if log is None else log.policy)
    times = SignatureTimes(bundle, terms)
    found = check_authentic(bundle, evaluators, checks, times, required=required)
    digest = found.receipt_envelope.digest
    plan = None if found.plan is None else found.plan.statement.predicate
    receipt = None if found.receipt is None else found.receipt.statement.predicate
    if proof is not None:
        check_proof(proof, digest, plan, receipt, checks)
    depth = wanted if held_artifacts is None else CheckLevel.BOUND
    if depth is not CheckLevel.AUTHENTIC:
        if found.plan is not None and receipt is not None:
            check_consistent(bundle, found.plan, receipt, checks, progress)
        else:
            checks.skip(CheckName.EVIDENCE, _UNFIT)
    if plan is not None and plan.rejudges is not None and receipt is not None:
        check_rejudged(bundle, original, evaluators, checks, terms)
    elif original is not None:
        raise UsageError(
            "does not judge the responses of another event again",
            file=bundle.folder,
            hint="leave out --original",
        )
    if depth is CheckLevel.BOUND:
        _check_bound(bundle, found, held_artifacts, checks, progress)
    unopened = depth is CheckLevel.CONSISTENT and bundle.has(RESPONSES_FILE)
    if unopened:
        why = f"{RESPONSES_FILE} lies beside and was not opened: --level bound opens it"
        checks.skip(CheckName.COMMITMENTS, why)
    audits = check_audits(
        bundle, found.receipt, evaluators, auditors or TrustSet(), checks, times=times
    )
    _check_timestamps(bundle, plan, receipt, tsa_roots, checks)
    logged = None
    if log is not None:
        sealed = None if plan is None or receipt is None else (plan, receipt)
        trusted = (evaluators, auditors or TrustSet())
        logged = _check_log(bundle, sealed, audits.envelopes, log, checks, trusted, progress)
    decided = log is not None and log.source is not None
    _inform(plan, receipt, checks, named=_names_plan(found), counted=decided)
    if expected is not None:
        check_expected(expected, receipt, checks)
    return Verification(
        checks=tuple(checks.checks),
        wanted=wanted,
        receipt_digest=digest,
        keyid=found.signer.keyid if found.signer else None,
        evaluator_keys=found.keys,
        audits=audits.results,
        trusted_audits=frozenset(envelope.digest for envelope in audits.envelopes),
        unfinished_audits=audits.unfinished,
        subject=(
            None if receipt is None else subject_of(receipt, plan if _names_plan(found) else None)
        ),
        responses_unopened=unopened,
        logged=logged,
    )


def _names_plan(found: Authenticated) -> bool:
    """Say whether the plan at hand is the one that the receipt names."""
    if found.plan is None or found.receipt is None:
        return False
    return found.receipt.statement.predicate.plan.digest == found.plan.envelope.digest


def _inform(
    plan: PlanPredicate | None,
    receipt: EvaluationPredicate | None,
    checks: CheckList,
    *,
    named: bool,
    counted: bool,
) -> None:
    """Say what no offline verification can show.

    Args:
        plan: The plan, where it is at hand and has its form.
        receipt: The receipt, where it has its form.
        checks: Receives the checks.
        named: Whether the receipt names that plan.
        counted: Whether a copy of a log said how many plans there are.
    """
    if receipt is not None and receipt.event.beacon is not None:
        check_beacon(receipt.event, receipt.event.beacon, checks)
    elif plan is not None and plan.beacon is None:
        checks.spare(CheckName.BEACON_VALUE, "the plan names no beacon round")
    if plan is not None and (filtered := filtered_words(plan)) is not None:
        why = f"nothing shows that rows were chosen before outcomes were seen: {filtered}"
        checks.skip(CheckName.ROW_SELECTION, why)
    if counted:
        return
    begin = "the receipt names this plan, but nothing shows that it" if named else _NO_PLAN_NAMED
    why = (
        f"{begin} was sealed before the run, nor how many plans were: times are the evaluator's "
        "word, and a receipt can be the best of several"
    )
    checks.skip(CheckName.BEST_OF_N, why)


def _check_timestamps(
    bundle: Bundle,
    plan: PlanPredicate | None,
    receipt: EvaluationPredicate | None,
    tsa_roots: Sequence[x509.Certificate],
    checks: CheckList,
) -> None:
    if not tsa_roots:
        return
    from safety_receipts.verify.levels.times.timestamped import check_timestamps  # noqa: PLC0415  # few ask

    check_timestamps(bundle, plan, receipt, tsa_roots, checks)


def _check_log(  # noqa: PLR0917  # what check_logged takes
    bundle: Bundle,
    sealed: tuple[PlanPredicate, EvaluationPredicate] | None,
    audits: Sequence[Envelope],
    log: LogTerms,
    checks: CheckList,
    trusted: tuple[TrustSet, TrustSet],
    progress: PointProgress,
) -> LogFacts:
    # Few ask for it.
    from safety_receipts.verify.levels.times.log_copy import TrustedIds  # noqa: PLC0415
    from safety_receipts.verify.levels.times.logged import check_logged  # noqa: PLC0415

    signers = () if sealed is None else bundle.plan_envelope.signed_by(trusted[0])
    ids = TrustedIds(*(frozenset(key.keyid for key in one) for one in (signers, *trusted)))
    return check_logged(bundle, sealed, audits, log, checks, ids=ids, progress=progress)


_NO_PLAN_NAMED = "nothing shows that a plan"
_UNFIT = "needs a plan and a receipt that fit their schemas"


def _check_bound(
    bundle: Bundle,
    found: Authenticated,
    held_artifacts: HeldArtifacts | None,
    checks: CheckList,
    progress: PointProgress,
) -> None:
    if found.receipt is None:
        checks.skip(CheckName.ARTIFACTS, _UNFIT)
        return
    if held_artifacts is None or found.plan is None:
        from safety_receipts.verify.levels.opening import check_commitments  # noqa: PLC0415  # judges

        receipt = found.receipt.statement.predicate
        check_commitments(bundle, receipt, checks, progress)
        why = _UNFIT if found.plan is None else "give --artifacts PLAN"
        checks.skip(CheckName.ARTIFACTS, why)
        return
    # It loads transformers, which a reader without artifacts may not have.
    from safety_receipts.verify.levels.bound import SealedEvent, check_binding  # noqa: PLC0415

    check_binding(bundle, SealedEvent(found.plan, found.receipt), held_artifacts, checks, progress)
