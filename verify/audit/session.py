"""What an audit needs before its first draw: a bundle that holds, artifacts, an announcement."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from fractions import Fraction
from pathlib import Path
from typing import Final

from safety_receipts.receipts.bundle import MAX_AUDIT_BYTES, Bundle, parse_signed
from safety_receipts.receipts.canonical import Sha256, decimal_string
from safety_receipts.receipts.dsse import Envelope
from safety_receipts.receipts.errors import IncompleteError, IntegrityError, UsageError
from safety_receipts.receipts.events.grid import seed_of
from safety_receipts.receipts.io.files import read_own_file
from safety_receipts.receipts.keys import Signer, TrustSet
from safety_receipts.receipts.model.audit import (
    MAX_RATES,
    AuditedRate,
    AuditMethod,
    AuditStartPredicate,
    Budget,
    Challenge,
    ChallengeKind,
    Direction,
    IdentityTest,
)
from safety_receipts.receipts.model.base import ConditionId
from safety_receipts.receipts.model.calibration import CalibrationPredicate
from safety_receipts.receipts.model.checkpoint import Dtype
from safety_receipts.receipts.model.plan import BeaconRound, PlanPredicate
from safety_receipts.receipts.model.receipt import DigestReference, EvaluationPredicate
from safety_receipts.receipts.model.statement import CalibrationStatement
from safety_receipts.runner.engines.engine import Engine
from safety_receipts.runner.judges.registry import kind_of_judge
from safety_receipts.runner.plan.resolved import NOT_RUN, ResolvedPlan, UnrunPlan
from safety_receipts.runner.prompts.rendering import Renderer
from safety_receipts.runner.run.event import LoadedStack
from safety_receipts.runner.run.seal import TOOL
from safety_receipts.verify.audit.replay import ReplayCriteria, Replayer
from safety_receipts.verify.audit.run import AnnouncedAudit, Audit, announce, unfinished_audits
from safety_receipts.verify.audit.statistics.model_identity import (
    default_identity_test,
    identity_test,
)
from safety_receipts.verify.audit.statistics.plausibility import (
    LEAST_RESPONSES,
    PHI,
    CalibratedPlausibility,
    DefaultPlausibility,
)
from safety_receipts.verify.audit.statistics.risk_limit import DEFAULT_FLIP_RATE
from safety_receipts.verify.audit.statistics.scope import (
    directions_of,
    name_of,
    recorded_of,
    recorded_rates,
)
from safety_receipts.verify.challenge import new_nonce
from safety_receipts.verify.checks import CheckList
from safety_receipts.verify.levels.artifacts import check_artifacts
from safety_receipts.verify.levels.rederive import ResponseDecoder

IDENTITY_POINTS: Final = 200
"""Points of any outcome that are replayed for the model's identity, unless told otherwise."""


@dataclass(frozen=True)
class AuditOptions:
    """What an auditor asks for."""

    epsilon: str = "0.05"
    """Tolerated error of a rate, an exact decimal."""
    alpha: str = "0.05"
    """Risk of confirming a rate that is off by that or more, an exact decimal."""
    conditions: tuple[str, ...] = ("*",)
    """Patterns of the conditions whose rates are audited."""
    directions: tuple[Direction, ...] = (Direction.NOT_UNDERSTATED,)
    """Which errors are looked for."""
    max_points: int | None = None
    """Most points to replay; None: no limit."""
    nonce: str | None = None
    """A nonce given by hand; None: a fresh one."""
    beacon: BeaconRound | None = None
    """A beacon round instead of a nonce."""
    auditor: str | None = None
    """Name of the auditor, as free text."""
    pooled: bool = False
    """Whether only the rates over all harmful-role queries are audited, and not those of sources
    and of benign controls."""
    identity_points: int = IDENTITY_POINTS
    """Points of any outcome that are replayed for the model's identity."""
    regenerate: bool = False
    """Ask for new responses instead of replaying the recorded ones."""
    new: bool = False
    """Announce another audit although this key announced one on these terms, or left one
    unfinished."""


@dataclass(frozen=True)
class AuditorCalibration:
    """An auditor's calibration."""

    digest: Sha256
    """Its digest."""
    says: CalibrationPredicate
    """What it says."""

    @property
    def flip_rate(self) -> Fraction:
        """q: share of honest points expected to look contradicted."""
        return min(
            Fraction(1, 2),
            PHI + Fraction(self.says.branch_flip_rate) + Fraction(self.says.ambiguity_rate),
        )


@dataclass
class AuditSubject:
    """A receipt that is to be audited, with the auditor's artifacts."""

    bundle: Bundle
    """The bundle."""
    digest: Sha256
    """The receipt's digest."""
    receipt: EvaluationPredicate
    """What it says."""
    plan: PlanPredicate
    """The sealed plan."""
    seed: Sha256
    """The event's seed."""
    resolved: ResolvedPlan
    """The sealed plan with the auditor's artifacts."""
    calibration: AuditorCalibration | None
    """The auditor's calibration; None: stated limits."""
    renderer: Renderer = field(init=False)
    """Renders its prompts."""

    def __post_init__(self) -> None:
        self.renderer = Renderer(self.plan, self.resolved.artifacts.texts, self.seed)

    def plausibility(self, dtype: Dtype) -> CalibratedPlausibility | DefaultPlausibility:
        """Return what is plausible of responses replayed in a number format."""
        if self.calibration is not None:
            return CalibratedPlausibility(self.calibration.says)
        return DefaultPlausibility.between(self.receipt.environment.dtype, dtype)

    def replayer(self, loaded: LoadedStack, reference: Callable[[], Engine] | None) -> Replayer:
        """Return what replays its points.

        Args:
            loaded: The auditor's engine and judge.
            reference: Gives an engine in fp32, where the stack's own is not.
        """
        band = kind_of_judge(self.plan.judge.kind).band
        if self.calibration is not None and self.calibration.says.judge_band is not None:
            band = float(self.calibration.says.judge_band)
        dtype = loaded.stack.engine.identity.dtype
        criteria = ReplayCriteria(self.plausibility(dtype), band, reference)
        texts = ResponseDecoder(self.plan, self.resolved.artifacts)
        return Replayer(self.plan, self.seed, self.renderer, texts, loaded.stack, criteria)

    def identity(self, audit: Audit, dtype: Dtype, nonce: str) -> IdentityTest | None:
        """Return the model-identity test of what an audit replayed; None: nothing was."""
        replayed = audit.statistics()
        if not replayed:
            return None
        plausibility = self.plausibility(dtype)
        if isinstance(plausibility, DefaultPlausibility):
            return default_identity_test(replayed, plausibility)
        assert self.calibration is not None
        return identity_test(replayed, self.calibration.says, int(nonce[:16], 16))

    def check_stack(self, dtype: Dtype) -> None:
        """Hold the audit's stack to what was calibrated.

        Raises:
            UsageError: The calibration knows nothing of a number format at work.
        """
        if self.calibration is None:
            return
        says = self.calibration.says
        known = {says.reference.dtype, *(stack.dtype for stack in says.stacks)}
        for which, one in (("the receipt", self.receipt.environment.dtype), ("this audit", dtype)):
            if one not in known:
                raise UsageError(
                    f"the calibration has no {one.value}, which {which} was made in",
                    hint="calibrate with --dtype for each, or audit without --calibration",
                )


def open_case(bundle: Bundle, resolved: ResolvedPlan | UnrunPlan | None) -> AuditSubject:
    """Return what an audit needs of a bundle.

    Args:
        bundle: A bundle of which no check failed.
        resolved: The auditor's plan file; None: the sealed one cannot be read.

    Raises:
        IncompleteError: It lacks the plan, the evidence or the restricted records, or the
            artifacts are not at hand.
    """
    for name, why in _NEEDED:
        if not bundle.has(name):
            raise IncompleteError(
                f"{why} not in this bundle",
                file=bundle.folder / name,
                hint="ask the evaluator for the bundle with everything that auditors may see",
            )
    plan, receipt = bundle.plan.statement.predicate, bundle.receipt.statement.predicate
    if not isinstance(resolved, ResolvedPlan):
        file = None if resolved is None else resolved.file
        why = NOT_RUN if resolved is None else resolved.why
        raise IncompleteError(f"points cannot be replayed: {why}", file=file)
    usable = check_artifacts(plan, resolved, CheckList())
    if usable.prompts is None or usable.texts is None:
        why = usable.no_prompts if usable.prompts is None else usable.no_texts
        raise IncompleteError(f"points cannot be replayed: {why}", file=resolved.file)
    beacon = receipt.event.beacon
    seed = seed_of(plan, bundle.plan_envelope.digest, None if beacon is None else beacon.value)
    artifacts = replace(resolved.artifacts, texts=usable.prompts)
    mine = replace(resolved, predicate=plan, artifacts=artifacts)
    return AuditSubject(bundle, bundle.receipt_envelope.digest, receipt, plan, seed, mine, None)


_NEEDED = (
    ("plan.dsse.json", "the plan is"),
    ("points.jsonl.zst", "the evidence is"),
    ("responses.jsonl.zst", "the restricted records are"),
)


def read_auditor_calibration(
    path: Path, subject: AuditSubject, signer: Signer
) -> AuditorCalibration:
    """Read a calibration of the auditor's own that fits a receipt.

    Raises:
        IntegrityError: Another key signed it.
        UsageError: It is of another checkpoint, template, sampling or judge.
        MalformedError: It is no calibration.
    """
    envelope = Envelope.from_json(read_own_file(path, MAX_AUDIT_BYTES), file=path)
    if not envelope.signed_by(TrustSet([signer.public])):
        raise IntegrityError(
            "is not signed with the auditor's key",
            file=path,
            hint="calibrate with the key that audits",
        )
    says = parse_signed(envelope, CalibrationStatement, file=path).statement.predicate
    plan = subject.plan
    for what, theirs, ours in (
        ("checkpoint", says.checkpoint, plan.checkpoint.root),
        ("chat template", says.chat_template, plan.prompt.chat_template),
        ("sampling", says.sampling.applied(), plan.sampling.applied()),
        ("judge", says.judge, plan.judge.digest),
    ):
        if theirs != ours:
            raise UsageError(f"is of another {what} than the receipt's", file=path)
    least = min(min(len(each.largest), len(each.clipped)) for each in says.bins)
    if least < LEAST_RESPONSES or len(says.clipped) != len(says.tokens):
        raise UsageError(
            f"a length bin of {least:,} responses calls nothing implausible: at least "
            f"{LEAST_RESPONSES:,} are needed",
            file=path,
        )
    return AuditorCalibration(envelope.digest, says)


def terms_of(subject: AuditSubject, options: AuditOptions, nonce: str) -> AuditStartPredicate:
    """Return the announcement that these options make.

    Raises:
        UsageError: A number out of its range, or no condition of such a name.
        IncompleteError: A replay, and the plan pins no weights.
    """
    if not (options.regenerate or subject.plan.checkpoint.files):
        raise IncompleteError(
            "the plan lists no files of the model: there is nothing to compare weights with",
            file=subject.bundle.folder,
            hint="compare rates with --regenerate",
        )
    for name, text in (("--epsilon", options.epsilon), ("--alpha", options.alpha)):
        if not 0 < Fraction(text) < 1:
            raise UsageError(f"{name} {text}: should lie between 0 and 1")
    ids = [condition.id for condition in subject.receipt.conditions]
    for pattern in options.conditions:
        if not any(fnmatchcase(id_, pattern) for id_ in ids):
            raise UsageError(f"no condition is called {pattern}", hint=f"such as {ids[0]}")
    chosen = [id_ for id_ in ids if any(fnmatchcase(id_, each) for each in options.conditions)]
    rates = _rates(subject, chosen, options)
    _check_size(subject, rates, options)
    if options.beacon is not None:
        challenge = Challenge(kind=ChallengeKind.BEACON, nonce=None, beacon=options.beacon)
    else:
        kind = ChallengeKind.NONCE if options.nonce is None else ChallengeKind.SELF
        challenge = Challenge(kind=kind, nonce=nonce, beacon=None)
    q = DEFAULT_FLIP_RATE if subject.calibration is None else subject.calibration.flip_rate
    return AuditStartPredicate(
        receipt=DigestReference(digest=subject.digest),
        challenge=challenge,
        epsilon=options.epsilon,
        alpha=options.alpha,
        expected_flip_rate=decimal_string(q, 6),
        calibration=None if subject.calibration is None else subject.calibration.digest,
        budget=Budget(max_points=options.max_points),
        method=AuditMethod.REGENERATE if options.regenerate else AuditMethod.REPLAY,
        identity_points=0 if options.regenerate else options.identity_points,
        auditor=options.auditor,
        started_at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        rates=rates,
        tool=TOOL,
    )


MAX_DRAWN: Final = 400_000
"""Most points that an audit may come to draw: a statement of more is longer than readers accept."""


def _rates(
    subject: AuditSubject, chosen: Sequence[ConditionId], options: AuditOptions
) -> tuple[AuditedRate, ...]:
    """Return every rate to be audited, in each direction, in the order of the receipt.

    Raises:
        UsageError: They are more than an announcement holds.
    """
    results = {each.id: each for each in subject.receipt.conditions if each.id in set(chosen)}
    found = []
    for name in recorded_rates(subject.receipt.queries, subject.receipt.conditions):
        if name.condition not in results or (options.pooled and (name.source or name.control)):
            continue
        recorded = recorded_of(name, results[name.condition])
        assert recorded is not None  # as it is one of the receipt's
        found += [
            AuditedRate(
                condition=name.condition,
                direction=direction,
                source=name.source,
                control=True if name.control else None,
            )
            for direction in directions_of(options.directions, recorded)
        ]
    if len(found) > MAX_RATES:
        raise UsageError(
            f"{len(found):,} rates are more than the {MAX_RATES:,} that one audit takes",
            hint="audit fewer --conditions at a time, or give --rates conditions",
        )
    return tuple(found)


def _check_size(subject: AuditSubject, rates: Sequence[AuditedRate], options: AuditOptions) -> None:
    results = {each.id: each for each in subject.receipt.conditions}
    most = options.max_points
    if most is None:
        found = (recorded_of(name_of(rate), results[rate.condition]) for rate in rates)
        most = sum(one.counts.planned for one in found if one is not None)
    if most + options.identity_points > MAX_DRAWN:
        raise UsageError(
            f"up to {most + options.identity_points:,} points could be drawn; a statement holds "
            f"{MAX_DRAWN:,}",
            hint="give --max-points, or audit fewer --conditions at a time",
        )


@dataclass(frozen=True)
class RequestedTerms:
    """Terms that an announcement has to have, to be the one that an auditor asks for."""

    terms: AuditStartPredicate
    """What a new announcement would say."""
    challenge: bool
    """Whether its challenge was asked for: which nonce was announced need not be said again."""

    def met_by(self, terms: AuditStartPredicate) -> bool:
        """Say whether these are the terms, the time of the announcement aside."""
        fields = (*_FIXED, "challenge") if self.challenge else _FIXED
        return all(getattr(terms, name) == getattr(self.terms, name) for name in fields)


def requested_terms(subject: AuditSubject, options: AuditOptions) -> RequestedTerms:
    """Return the terms that these options ask for.

    Raises:
        UsageError, IncompleteError: As :func:`terms_of`.
    """
    given = options.nonce is not None or options.beacon is not None
    return RequestedTerms(terms_of(subject, options, options.nonce or "0" * 64), challenge=given)


def begin(
    subject: AuditSubject,
    options: AuditOptions,
    signer: Signer,
    out: Path,
    *,
    beacon_value: str | None = None,
) -> tuple[AnnouncedAudit, bool]:
    """Announce an audit, or find the announcement of one that is not finished.

    Args:
        subject: The receipt.
        options: What the auditor asks for.
        signer: Signs it.
        out: The folder whose ``audits`` it lies in.
        beacon_value: What the round of an audit announced before said.

    Returns:
        The announcement, and whether it was there before.

    Raises:
        UsageError: An unfinished one has other terms: it counts, finished or not.  Or the
            round of one to be announced has a value: its draws could have been looked at.
        FileAccessError: The folder cannot be written.
    """
    unfinished = unfinished_audits(subject.digest, signer, [subject.bundle.folder, out])
    if options.new or not unfinished:
        if beacon_value is not None:
            raise UsageError(
                "the round of an audit to be announced must lie ahead",
                hint="announce it without --beacon-value, and give the value when it is out",
            )
        return announce(
            terms_of(subject, options, options.nonce or new_nonce()), signer, out
        ), False
    wanted = requested_terms(subject, options)
    for start in unfinished:
        if wanted.met_by(start.terms):
            return start, True
    raise UsageError(
        f"audit {unfinished[0].envelope.digest[:12]}… of this receipt was announced on other terms "
        "and has no result",
        file=out,
        hint="finish it with its terms, or announce another with --new; unfinished audits count",
    )


_FIXED = (
    "epsilon",
    "alpha",
    "expected_flip_rate",
    "calibration",
    "budget",
    "method",
    "identity_points",
    "rates",
)
"""What decides an audit, beside its challenge."""
