"""One audit from a bundle to its result: verified first, announced, conducted, told."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from safety_receipts.receipts.bundle import AUDITS, Bundle
from safety_receipts.receipts.dsse import Envelope
from safety_receipts.receipts.errors import ExitCode, IntegrityError
from safety_receipts.receipts.io.text import printable
from safety_receipts.receipts.keys import Signer, TrustSet
from safety_receipts.receipts.model.audit import (
    AuditStartPredicate,
    AuditVerdict,
    SlopeTest,
    audit_traits,
)
from safety_receipts.receipts.model.check import CheckLevel
from safety_receipts.receipts.model.statement import AuditStatement
from safety_receipts.receipts.present.output import Output
from safety_receipts.receipts.trust.load import load_trust
from safety_receipts.receipts.trust.trust_set import KeyRole
from safety_receipts.runner.commands.options import terminated_like_interrupted
from safety_receipts.runner.plan.resolve import resolve_against
from safety_receipts.runner.plan.resolved import ResolvedPlan, UnrunPlan
from safety_receipts.runner.run.pooled.opening import refuse_served_file
from safety_receipts.verify.audit.claims import Claim, claims_of
from safety_receipts.verify.audit.conduct import Auditor, challenge_of, conduct
from safety_receipts.verify.audit.finished import (
    FinishedAudit,
    finished_before,
    publish_finished,
    refuse_finished,
)
from safety_receipts.verify.audit.lock import announcement_lock, audit_lock
from safety_receipts.verify.audit.run import own_statements
from safety_receipts.verify.audit.sealed.problems import draws_of, points_replayed
from safety_receipts.verify.audit.session import (
    AuditSubject,
    open_case,
    read_auditor_calibration,
    refuse_unfitting,
)
from safety_receipts.verify.audit.statistics.agreement import agreement_forecast
from safety_receipts.verify.audit.statistics.feasibility import Feasibility, expected_draws
from safety_receipts.verify.audit.statistics.scope import scope_of
from safety_receipts.verify.audit.terms import AuditOptions, begin, terms_of
from safety_receipts.verify.checks import VerificationCheck
from safety_receipts.verify.commands.auditing.asked import AuditAsked, AuditMachine
from safety_receipts.verify.commands.auditing.loading import (
    asks_own_server,
    load_models,
    refuse_workers,
)
from safety_receipts.verify.integrity import verify_bundle
from safety_receipts.verify.levels.authentic import readable_plan
from safety_receipts.verify.levels.bound import HeldArtifacts
from safety_receipts.verify.present.audit import show_audit, show_feasibility
from safety_receipts.verify.present.verification import show_verification
from safety_receipts.verify.subject import is_instrument
from safety_receipts.verify.verification import Verification, VerificationVerdict
from safety_receipts.verify.view.audit import Forecast
from safety_receipts.verify.view.documents.audit import audit_document, forecast_document
from safety_receipts.verify.view.documents.verify import verify_document


def perform_audit(
    asked: AuditAsked, options: AuditOptions, machine: AuditMachine, signer: Signer, output: Output
) -> ExitCode:
    """Verify a bundle, say what an audit of it would take, and bring one to its result.

    Args:
        asked: What is audited, with which files.
        options: The terms that the auditor asks for.
        machine: What points are replayed with.
        signer: The auditor.
        output: Where it is told.

    Raises:
        ReceiptsError: With file, place and remedy.
    """
    refuse_workers(machine, options.method)
    if machine.workers is not None:
        refuse_served_file(asked.artifacts, judges=False)
    trusted = load_trust(asked.trust, KeyRole.EVALUATOR)
    # What is small is read before anything is hashed.
    calibration = None
    if asked.calibration is not None:
        calibration = read_auditor_calibration(asked.calibration, signer)
    with terminated_like_interrupted(), machine.pools:
        forged = _unsigned(asked, trusted, output)
        if forged is not None:
            return _refuse(forged, output)
        resolved = _resolved(
            asked.bundle, asked.artifacts, allow_pickle=machine.allow_pickle, output=output
        )
        found = _verify(asked, resolved, trusted, output)
        if found.verdict is VerificationVerdict.FAILED:
            return _refuse(found, output)
        subject = open_case(asked.bundle, resolved)
        if calibration is not None and asked.calibration is not None:
            refuse_unfitting(calibration, subject, asked.calibration)
            subject.calibration = calibration
            served = asks_own_server(subject, options.method)
            subject.check_stack(machine.dtype or subject.dtype(served=served))
        terms = terms_of(subject, options, "0" * 64)
        told = _feasibility(subject, terms)
        agreement = agreement_forecast(subject.receipt, terms)
        forecast = Forecast(
            told,
            agreement,
            authentic=bool(len(trusted)),
            instrument=is_instrument(subject.receipt),
            epsilon=terms.epsilon,
            alpha=terms.alpha,
            findings=terms.findings or (),
            slopes=_slope_forecasts(terms),
            scope=scope_of(
                subject.receipt,
                [claim.rate for claim, _ in told],
                draws=0,
                replayed=None,
                looked=audit_traits(options.method).looked,
                slopes=[test.finding for test in terms.slope_tests or ()],
            ),
        )
        if asked.dry_run:
            output.result(
                forecast_document(forecast), lambda console: show_feasibility(console, forecast)
            )
            return ExitCode.DONE
        done = _finished(
            subject,
            options,
            signer,
            asked=asked,
            machine=machine,
            checked=found.checks,
            forecast=forecast,
            output=output,
        )
    _report(subject, done.statement, done.envelope, signer, output)
    if asked.folder != asked.bundle.folder:
        output.note(
            f"it lies in {printable(str(asked.folder))}; others see it with: receipts verify "
            f"{printable(str(asked.bundle.folder))} --audits {printable(str(asked.folder))} "
            "--trust EVALUATOR.pub --trust-auditor AUDITOR.pub"
        )
    return _EXITS[done.statement.predicate.verdict]


def _unsigned(asked: AuditAsked, trusted: TrustSet, output: Output) -> Verification | None:
    """Return what verification says where no trusted key signed; None: one did, or none is given.

    It comes before the artifacts are hashed, which takes long and tells nothing then.
    """
    if not len(trusted):
        return None
    found = verify_bundle(
        asked.bundle,
        evaluators=trusted,
        wanted=CheckLevel.AUTHENTIC,
        tsa_roots=asked.terms.tsa_roots,
        log=asked.terms.log,
    )
    return _verify(asked, None, trusted, output) if found.failed else None


def _refuse(found: Verification, output: Output) -> ExitCode:
    """Say what verification says of a bundle that is not audited."""
    output.result(
        verify_document(found),
        lambda console: show_verification(console, found, quiet=output.quiet),
    )
    return found.exit_code


def _finished(
    subject: AuditSubject,
    options: AuditOptions,
    signer: Signer,
    *,
    asked: AuditAsked,
    machine: AuditMachine,
    checked: Sequence[VerificationCheck],
    forecast: Forecast,
    output: Output,
) -> FinishedAudit:
    """Return the audit's result: the one that was finished before, or that of an audit now."""
    folder, value = asked.folder, asked.beacon_value
    with audit_lock(folder, subject.digest, signer):
        done = finished_before(subject, options, signer, folder, beacon_value=value)
        if done is None:
            if not output.quiet and not output.as_json:
                show_feasibility(output.side, forecast)
            return _conducted(
                subject,
                options,
                signer,
                asked=asked,
                machine=machine,
                checked=checked,
                output=output,
            )
        named = done.envelope.digest
        output.note(f"finished before, as audit {named}; --new announces another")
        publish_finished(done, subject, signer, folder)
        _log_audits(asked, subject, signer, output)
        done.refuse_broken(asked.bundle.folder)
    return done


def _conducted(
    subject: AuditSubject,
    options: AuditOptions,
    signer: Signer,
    *,
    asked: AuditAsked,
    machine: AuditMachine,
    checked: Sequence[VerificationCheck],
    output: Output,
) -> FinishedAudit:
    """Announce an audit, or go on with one, and bring it to its result."""
    folder, value = asked.folder, asked.beacon_value
    # Loading comes before the announcement, which counts: a device that is not there must
    # cost nothing.  Only where a beacon's round is not out is there nothing to load for.
    waits = options.beacon is not None and value is None
    models = None if waits else load_models(subject, machine, options.method, output)
    announced, before = begin(subject, options, signer, folder, beacon_value=value)
    with announcement_lock(announced, [subject.bundle.folder, folder]):
        if before:
            refuse_finished(subject, announced, signer, folder)
        digest = announced.envelope.digest
        output.note(f"{'going on with' if before else 'announced'} audit {digest}")
        _log_audits(asked, subject, signer, output)  # before anything is drawn
        challenge_of(announced, value)
        models = models or load_models(subject, machine, options.method, output)
        who = Auditor(signer, models.loaded, models.reference, folder, models.tried)
        try:
            with output.progress("replaying points") as progress:
                statement, envelope = conduct(
                    subject,
                    announced,
                    who,
                    checked,
                    beacon_value=value,
                    beacon_signature=asked.beacon_signature,
                    watch=progress,
                )
        except IntegrityError:  # that is signed, too
            _log_audits(asked, subject, signer, output)
            raise
        _log_audits(asked, subject, signer, output)
    return FinishedAudit(envelope, statement)


def _log_audits(asked: AuditAsked, subject: AuditSubject, signer: Signer, output: Output) -> None:
    """Log what this auditor signed of a receipt, unless it is logged."""
    if asked.log is None:
        return
    folder = asked.folder
    for envelope in own_statements(subject.digest, signer, [subject.bundle.folder, folder]):
        file = folder / AUDITS / f"{envelope.digest}.dsse.json"
        found = asked.log.record(envelope, file, folder)
        if not found.before:
            output.note(found.told())


_EXITS = {
    AuditVerdict.CONFIRMED: ExitCode.DONE,
    AuditVerdict.CONSISTENT_WITH: ExitCode.DONE,
    AuditVerdict.REFUTED: ExitCode.REPLAY,
    AuditVerdict.INCONCLUSIVE: ExitCode.INCOMPLETE,
}


def _resolved(
    bundle: Bundle, artifacts: Path, *, allow_pickle: bool, output: Output
) -> ResolvedPlan | UnrunPlan | None:
    """Return the auditor's plan file, held to the sealed one; None: that cannot be read."""
    sealed = readable_plan(bundle)
    if sealed is None:
        return None
    with output.progress("hashing (bytes)") as progress:
        return resolve_against(artifacts, sealed, allow_pickle=allow_pickle, progress=progress)


def _verify(
    asked: AuditAsked, resolved: ResolvedPlan | UnrunPlan | None, trusted: TrustSet, output: Output
) -> Verification:
    held_artifacts = None if resolved is None else HeldArtifacts(resolved)
    with output.progress("verifying") as progress:
        return verify_bundle(
            asked.bundle,
            evaluators=trusted,
            held_artifacts=held_artifacts,
            tsa_roots=asked.terms.tsa_roots,
            log=asked.terms.log,
            progress=progress,
        )


def _feasibility(
    subject: AuditSubject, terms: AuditStartPredicate
) -> list[tuple[Claim, Feasibility]]:
    claims = claims_of(subject.receipt, terms.rates, terms)
    budget = _budget(terms)
    return [
        (
            claim,
            expected_draws(
                claim.hypothesis.recorded,
                claim.hypothesis.hidden,
                alpha=Fraction(terms.alpha),
                expected_flip_rate=claim.hypothesis.expected,
                budget=budget,
            ),
        )
        for claim in claims
    ]


def _budget(terms: AuditStartPredicate) -> int | None:
    """Return the most draws of one claim; None: there is no limit."""
    most = terms.budget.max_points
    claims = len(terms.rates) + len(terms.slope_tests or ())
    return None if most is None else most // claims


def _slope_forecasts(terms: AuditStartPredicate) -> list[tuple[SlopeTest, Feasibility]]:
    """Return what confirming each slope as a whole would take."""
    return [
        (
            test,
            expected_draws(
                test.recorded,
                test.hidden,
                alpha=Fraction(terms.alpha),
                expected_flip_rate=Fraction(terms.expected_flip_rate),
                budget=_budget(terms),
            ),
        )
        for test in terms.slope_tests or ()
    ]


def _report(
    subject: AuditSubject,
    statement: AuditStatement,
    envelope: Envelope,
    signer: Signer,
    output: Output,
) -> None:
    audit = statement.predicate
    scope = scope_of(
        subject.receipt,
        audit.conditions,
        draws=draws_of(audit),
        replayed=points_replayed(audit),
        looked=audit_traits(audit.method).looked,
        slopes=[one.finding for one in audit.slope_results or ()],
    )
    own = bool(subject.bundle.receipt_envelope.signed_by(signer.trust))
    instrument = is_instrument(subject.receipt)
    document = audit_document(audit, scope, envelope.digest, self_audit=own, instrument=instrument)
    output.result(
        document,
        lambda console: show_audit(
            console, audit, scope, envelope.digest, self_audit=own, instrument=instrument
        ),
    )
