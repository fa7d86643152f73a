"""``receipts audit``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import click

from safety_receipts.receipts.beacon.chains import QUICKNET
from safety_receipts.receipts.bundle import AUDITS, Bundle
from safety_receipts.receipts.cli import common_options
from safety_receipts.receipts.commands.options import (
    PATH,
    examples,
    key_option,
    log_settings_option,
    passphrase_option,
    read_signer,
    statement_log,
)
from safety_receipts.receipts.dsse import Envelope
from safety_receipts.receipts.errors import ExitCode, IntegrityError, UsageError
from safety_receipts.receipts.io.text import printable
from safety_receipts.receipts.keys import Signer, TrustSet
from safety_receipts.receipts.model.audit import AuditVerdict, Direction
from safety_receipts.receipts.model.check import CheckLevel
from safety_receipts.receipts.model.checkpoint import Dtype
from safety_receipts.receipts.model.plan import BeaconRound
from safety_receipts.receipts.model.statement import AuditStatement
from safety_receipts.receipts.present.output import Output
from safety_receipts.receipts.trust.load import load_trust
from safety_receipts.receipts.trust.trust_set import KeyRole
from safety_receipts.runner.commands.options import (
    byte_size,
    device_option,
    pickle_option,
    tell_crowded,
    terminated_like_interrupted,
    worker_options,
    workers_asked,
)
from safety_receipts.runner.engines.engine import Engine
from safety_receipts.runner.plan.resolve import resolve_against
from safety_receipts.runner.plan.resolved import ResolvedPlan, UnrunPlan
from safety_receipts.runner.run.event import LoadedStack
from safety_receipts.runner.run.execute import RunStack
from safety_receipts.runner.run.pooled.opening import WorkerOptions, WorkersAsked, load_pooled
from safety_receipts.runner.run.pooled.stack import PooledStack
from safety_receipts.verify.audit.claims import Claim, claims_of
from safety_receipts.verify.audit.conduct import Auditor, challenge_of, conduct, refuse_false_round
from safety_receipts.verify.audit.finished import (
    FinishedAudit,
    finished_before,
    publish_finished,
    refuse_finished,
)
from safety_receipts.verify.audit.lock import announcement_lock, audit_lock
from safety_receipts.verify.audit.run import own_statements
from safety_receipts.verify.audit.sealed.problems import draws_of, points_replayed
from safety_receipts.verify.audit.session import AuditSubject, open_case, read_auditor_calibration
from safety_receipts.verify.audit.statistics.agreement import agreement_forecast
from safety_receipts.verify.audit.statistics.feasibility import (
    Feasibility,
    expected_draws,
)
from safety_receipts.verify.audit.statistics.scope import scope_of
from safety_receipts.verify.audit.terms import IDENTITY_POINTS, AuditOptions, begin, terms_of
from safety_receipts.verify.checks import VerificationCheck
from safety_receipts.verify.commands.options import (
    challenge_beacon,
    hex64_option,
    log_policy_option,
    number,
    one_line_option,
    share_option,
    trust_terms,
    tsa_root_option,
)
from safety_receipts.verify.integrity import verify_bundle
from safety_receipts.verify.levels.authentic import readable_plan
from safety_receipts.verify.levels.bound import HeldArtifacts
from safety_receipts.verify.levels.times.terms import TrustTerms
from safety_receipts.verify.present.audit import show_audit, show_feasibility
from safety_receipts.verify.present.verification import show_verification
from safety_receipts.verify.subject import is_instrument
from safety_receipts.verify.verification import Verification, VerificationVerdict
from safety_receipts.verify.view.audit import Forecast
from safety_receipts.verify.view.documents.audit import audit_document, forecast_document
from safety_receipts.verify.view.documents.verify import verify_document

if TYPE_CHECKING:
    from safety_receipts.receipts.log.recording import StatementLog

_Models = tuple[LoadedStack[RunStack] | LoadedStack[PooledStack], Callable[[], Engine] | None]
_DIRECTIONS = {
    "understated": (Direction.NOT_UNDERSTATED,),
    "overstated": (Direction.NOT_OVERSTATED,),
    "both": tuple(Direction),
}
CHAIN = QUICKNET.name
"""The beacon whose rounds ``--beacon-round`` names."""


@dataclass(frozen=True)
class _ReplayStack:
    """What points are replayed with."""

    device: str | None
    dtype: Dtype | None
    memory: int | None
    allow_pickle: bool
    workers: WorkersAsked | None
    """None: this process replays."""
    pools: ExitStack
    """Ends the workers."""


@click.command(
    epilog=examples(
        "receipts audit bundle --key auditor --artifacts study/plan.yaml --dry-run",
        "receipts audit bundle --key auditor --artifacts study/plan.yaml \\",
        "    --trust evaluator.pub --calibration calibration.json",
    )
)
@click.argument("bundle", type=PATH)
@key_option("--key", "Private key that signs the audit.", required=True)
@click.option(
    "--artifacts",
    type=PATH,
    required=True,
    metavar="PLAN",
    help="A plan.yaml whose paths are yours: checkpoint, corpora, judge.",
)
@click.option(
    "--trust",
    type=PATH,
    multiple=True,
    metavar="KEY.pub",
    help="Public key of an evaluator you trust, or a trust file, .yaml (repeatable).  [required, "
    "but for --dry-run]",
)
@click.option("--dry-run", is_flag=True, help="Show what the audit would take; announce nothing.")
@click.option("--calibration", type=PATH, metavar="FILE", help="File from receipts calibrate.")
@click.option(
    "--epsilon",
    default="0.05",
    show_default=True,
    metavar="SHARE",
    help="Tolerated error of a rate: 0.05 is five points.",
)
@click.option(
    "--alpha",
    default="0.05",
    show_default=True,
    metavar="SHARE",
    help="Risk of confirming a rate that is off by epsilon or more.",
)
@click.option(
    "--conditions", multiple=True, metavar="GLOB", help="Conditions to audit; default: all."
)
@click.option(
    "--direction",
    type=click.Choice(list(_DIRECTIONS)),
    default="understated",
    show_default=True,
    help="The error of a recorded rate to test for.",
)
@click.option(
    "--rates",
    type=click.Choice(["all", "conditions"]),
    default="all",
    show_default=True,
    help="All recorded rates, or only those of conditions, without single sources and controls.",
)
@click.option("--max-points", type=number, metavar="N", help="Largest number of points to replay.")
@click.option(
    "--identity-points",
    type=number,
    metavar="N",
    default=IDENTITY_POINTS,
    show_default=True,
    help="Further points, of any outcome, for the model-identity test.",
)
@device_option
@click.option(
    "--dtype",
    type=click.Choice([each.value for each in Dtype]),
    help="Number format to replay in; default: the plan's.",
)
@click.option("--memory", metavar="SIZE", help="Bound on memory, of model and judge: 8GiB.")
@worker_options
@click.option("--out", type=PATH, help="Folder for audits/, where the bundle is read-only.")
@click.option(
    "--auditor", callback=one_line_option, metavar="NAME", help="Name of the auditor, as free text."
)
@passphrase_option
@tsa_root_option
@log_policy_option
@log_settings_option
@click.option("--nonce", metavar="HEX", help="Nonce chosen by hand, marked as such.")
@click.option("--beacon-round", type=number, metavar="N", help=f"Future round of {CHAIN}.")
@click.option("--beacon-value", metavar="HEX", help="Published value of that round.")
@click.option(
    "--beacon-signature",
    metavar="HEX",
    help="Published signature of that round, from which the value follows.",
)
@click.option(
    "--regenerate",
    is_flag=True,
    help="Generate new responses and compare rates; the best verdict is consistent_with.",
)
@click.option("--new", is_flag=True, help="Announce another audit although there is one.")
@pickle_option
@common_options
def audit(  # one parameter an option
    *,
    bundle: Path,
    key: tuple[Path, ...],
    passphrase_env: tuple[str, ...],
    artifacts: Path,
    trust: tuple[Path, ...],
    epsilon: str,
    alpha: str,
    conditions: tuple[str, ...],
    direction: str,
    rates: str,
    max_points: int | None,
    identity_points: int,
    device: str | None,
    dtype: str | None,
    memory: str | None,
    workers: int,
    ray: str | None,
    calibration: Path | None,
    out: Path | None,
    auditor: str | None,
    tsa_root: tuple[Path, ...],
    log_policy: Path | None,
    log_settings: Path | None,
    nonce: str | None,
    beacon_round: int | None,
    beacon_value: str | None,
    beacon_signature: str | None,
    regenerate: bool,
    new: bool,
    dry_run: bool,
    allow_pickle: bool,
    output: Output,
) -> ExitCode:
    """Replay drawn points of BUNDLE and say, at a stated risk, whether its rates stand.

    An announcement is signed before the first draw; run again to go on where it stopped, or to see
    the result again.  Exit code 0: confirmed; 3: the bundle does not hold together, or nobody whom
    you trust signed it; 4: refuted; 5: inconclusive.
    """
    if not (trust or dry_run):
        raise UsageError(
            "no evaluator's key was given, so that anybody could have signed what is audited",
            hint="--trust KEY.pub",
        )
    options = AuditOptions(
        epsilon=share_option("--epsilon", epsilon),
        alpha=share_option("--alpha", alpha),
        conditions=conditions or ("*",),
        directions=_DIRECTIONS[direction],
        pooled=rates == "conditions",
        max_points=max_points,
        identity_points=identity_points,
        nonce=hex64_option("--nonce", nonce),
        beacon=None if beacon_round is None else BeaconRound(chain=CHAIN, round=beacon_round),
        auditor=auditor,
        regenerate=regenerate,
        new=new,
    )
    value, signature = challenge_beacon(nonce, beacon_round, beacon_value, beacon_signature)
    refuse_false_round(options.beacon, value, signature)
    machine = _ReplayStack(
        device,
        None if dtype is None else Dtype(dtype),
        None if memory is None else byte_size(memory),
        allow_pickle,
        workers_asked(workers, ray),
        ExitStack(),
    )
    signer = read_signer(key, passphrase_env, output)
    asked = _Asked(
        Bundle(bundle),
        artifacts,
        trust,
        calibration,
        out or bundle,
        value,
        signature,
        dry_run,
        log=None if dry_run else statement_log(log_settings, output),
        terms=trust_terms((), tsa_root, log_policy),
    )
    return _audit(asked, options, machine, signer, output)


@dataclass(frozen=True)
class _Asked:
    """What is audited, with which files."""

    bundle: Bundle
    artifacts: Path
    trust: tuple[Path, ...]
    calibration: Path | None
    folder: Path
    """Where the audit is written."""
    beacon_value: str | None
    beacon_signature: str | None
    dry_run: bool
    log: StatementLog | None
    """Announcement and result are added to it; None: to none."""
    terms: TrustTerms
    """What shows when the bundle was signed."""


def _audit(
    asked: _Asked, options: AuditOptions, machine: _ReplayStack, signer: Signer, output: Output
) -> ExitCode:
    """Verify a bundle, say what an audit of it would take, and bring one to its result."""
    trusted = load_trust(asked.trust, KeyRole.EVALUATOR)
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
        if asked.calibration is not None:
            subject.calibration = read_auditor_calibration(asked.calibration, subject, signer)
            subject.check_stack(machine.dtype or subject.plan.checkpoint.dtype)
        told = _feasibility(subject, options)
        agreement = agreement_forecast(subject.receipt, terms_of(subject, options, "0" * 64))
        forecast = Forecast(
            told,
            agreement,
            authentic=bool(len(trusted)),
            instrument=is_instrument(subject.receipt),
            epsilon=options.epsilon,
            alpha=options.alpha,
            scope=scope_of(
                subject.receipt, [claim.rate for claim, _ in told], draws=0, replayed=None
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


def _unsigned(asked: _Asked, trusted: TrustSet, output: Output) -> Verification | None:
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
    asked: _Asked,
    machine: _ReplayStack,
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
    asked: _Asked,
    machine: _ReplayStack,
    checked: Sequence[VerificationCheck],
    output: Output,
) -> FinishedAudit:
    """Announce an audit, or go on with one, and bring it to its result."""
    folder, value = asked.folder, asked.beacon_value
    # Loading comes before the announcement, which counts: a device that is not there must
    # cost nothing.  Only where a beacon's round is not out is there nothing to load for.
    waits = options.beacon is not None and value is None
    models = None if waits else _load(subject, machine, output, regenerate=options.regenerate)
    announced, before = begin(subject, options, signer, folder, beacon_value=value)
    with announcement_lock(announced, [subject.bundle.folder, folder]):
        if before:
            refuse_finished(subject, announced, signer, folder)
        digest = announced.envelope.digest
        output.note(f"{'going on with' if before else 'announced'} audit {digest}")
        _log_audits(asked, subject, signer, output)  # before anything is drawn
        challenge_of(announced, value)
        loaded, reference = models or _load(subject, machine, output, regenerate=options.regenerate)
        who = Auditor(signer, loaded, reference, folder)
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
        finally:
            loaded.close()
        _log_audits(asked, subject, signer, output)
    return FinishedAudit(envelope, statement)


def _log_audits(asked: _Asked, subject: AuditSubject, signer: Signer, output: Output) -> None:
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
    asked: _Asked, resolved: ResolvedPlan | UnrunPlan | None, trusted: TrustSet, output: Output
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


def _feasibility(subject: AuditSubject, options: AuditOptions) -> list[tuple[Claim, Feasibility]]:
    terms = terms_of(subject, options, "0" * 64)
    claims = claims_of(subject.receipt, terms.rates, terms)
    budget = None if options.max_points is None else options.max_points // len(claims)
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


def _load(
    subject: AuditSubject, machine: _ReplayStack, output: Output, *, regenerate: bool
) -> _Models:
    """Load engine and judge, and say how to load the engine in fp32 where workers do not.

    Whatever engine wrote the responses, they are replayed with the weights of the auditor's folder;
    new ones come from a server where the auditor's plan file names one.
    """
    if machine.workers is not None:
        return _load_pooled(subject, machine, machine.workers, output), None
    local = not regenerate or subject.resolved.artifacts.server is None
    from safety_receipts.runner.run.stack import load_stack  # noqa: PLC0415  # torch takes seconds to load

    def load(dtype: Dtype | None) -> LoadedStack[RunStack]:
        return load_stack(
            subject.resolved,
            device=machine.device,
            memory=machine.memory,
            allow_pickle=machine.allow_pickle,
            dtype=dtype,
            local=local,
            own_judges=True,
        )

    loaded = load(machine.dtype)
    exact = regenerate or loaded.stack.engine.identity.dtype is Dtype.FLOAT32
    return loaded, None if exact else lambda: load(Dtype.FLOAT32).stack.engine


def _load_pooled(
    subject: AuditSubject, machine: _ReplayStack, asked: WorkersAsked, output: Output
) -> LoadedStack[PooledStack]:
    """Start workers that load engine and judge."""
    found = subject.found
    assert found is not None  # the subject is of a plan file
    options = WorkerOptions(
        asked, device=machine.device, allow_pickle=machine.allow_pickle, dtype=machine.dtype
    )
    resolved = replace(subject.resolved, predicate=found)
    recipe = options.recipe(resolved, machine.memory, subject.plan)
    tell_crowded(asked, recipe.device, recipe.threads, output)
    return load_pooled(recipe, asked, machine.pools.enter_context, output.note)


def _report(
    subject: AuditSubject,
    statement: AuditStatement,
    envelope: Envelope,
    signer: Signer,
    output: Output,
) -> None:
    audit = statement.predicate
    scope = scope_of(
        subject.receipt, audit.conditions, draws=draws_of(audit), replayed=points_replayed(audit)
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
