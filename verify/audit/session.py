"""What an audit needs before its first draw: a bundle that holds, artifacts, an announcement."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

from safety_receipts.receipts.bundle import MAX_AUDIT_BYTES, Bundle, parse_signed
from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.dsse import Envelope
from safety_receipts.receipts.errors import IncompleteError, IntegrityError, UsageError
from safety_receipts.receipts.events.grid import seed_of
from safety_receipts.receipts.io.files import read_own_file
from safety_receipts.receipts.keys import Signer
from safety_receipts.receipts.model.audit import (
    IdentityTest,
)
from safety_receipts.receipts.model.calibration import CalibrationPredicate
from safety_receipts.receipts.model.checkpoint import Dtype
from safety_receipts.receipts.model.plan import PlannedServer, PlanPredicate
from safety_receipts.receipts.model.receipt import EvaluationPredicate
from safety_receipts.receipts.model.statement import CalibrationStatement
from safety_receipts.runner.engines.engine import Engine
from safety_receipts.runner.judges.registry import kind_of_judge
from safety_receipts.runner.plan.resolved import NOT_RUN, ResolvedPlan, UnrunPlan
from safety_receipts.runner.prompts.rendering import Renderer
from safety_receipts.runner.run.execute import RunStack
from safety_receipts.verify.audit.replay import ReplayCriteria, Replayer
from safety_receipts.verify.audit.run import Audit
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
from safety_receipts.verify.checks import CheckList
from safety_receipts.verify.levels.artifacts import check_artifacts
from safety_receipts.verify.levels.rederive import ResponseDecoder


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
    found: PlanPredicate | None = None
    """What the auditor's plan file resolves to, wherever it is read."""
    renderer: Renderer = field(init=False)
    """Renders its prompts."""

    def __post_init__(self) -> None:
        self.renderer = Renderer(self.plan, self.resolved.artifacts.texts, self.seed)

    def plausibility(self, dtype: Dtype) -> CalibratedPlausibility | DefaultPlausibility:
        """Return what is plausible of responses replayed in a number format."""
        if self.calibration is not None:
            return CalibratedPlausibility(self.calibration.says)
        return DefaultPlausibility.between(self.receipt.environment.dtype, dtype)

    @property
    def judge_band(self) -> float:
        """A model judge's margin within this of 0 is ambiguous."""
        if self.calibration is not None and self.calibration.says.judge_band is not None:
            return float(self.calibration.says.judge_band)
        return kind_of_judge(self.plan.judge.kind).band

    @property
    def server(self) -> PlannedServer | None:
        """The server that the auditor's plan file names; None: it names none."""
        return None if self.found is None else self.found.server

    def dtype(self, *, served: bool) -> Dtype:
        """Return the number format to replay in, unless the auditor names one.

        Args:
            served: Whether the auditor's server scores: it runs in what the auditor's file says.
        """
        plan = self.found if served and self.found is not None else self.plan
        return plan.checkpoint.dtype

    def longest(self) -> tuple[int, int]:
        """Return the tokens of the longest prompt, and of the longest prompt and response."""
        prompt = whole = 1
        for point in self.bundle.points():
            prompt = max(prompt, point.prompt_tokens)
            whole = max(whole, point.prompt_tokens + point.response_tokens)
        return prompt, whole

    def replayer(
        self,
        stack: RunStack,
        reference: Callable[[], Engine] | None,
        *,
        by_weights: bool = True,
    ) -> Replayer:
        """Return what replays its points.

        Args:
            stack: The auditor's engine and judge.
            reference: Gives an engine in fp32, where the stack's own is not.
            by_weights: Whether that engine computes with the named weights, and is no server.
        """
        dtype = stack.identity.dtype
        criteria = ReplayCriteria(self.plausibility(dtype), self.judge_band, reference, by_weights)
        texts = ResponseDecoder(self.plan, self.resolved.artifacts)
        return Replayer(self.plan, self.seed, self.renderer, texts, stack, criteria)

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
    beacon = receipt.event.beacon
    seed = seed_of(plan, bundle.plan_envelope.digest, None if beacon is None else beacon.value)
    mine = replayable(plan, resolved)
    digest = bundle.receipt_envelope.digest
    return AuditSubject(bundle, digest, receipt, plan, seed, mine, None, resolved.predicate)


def replayable(plan: PlanPredicate, resolved: ResolvedPlan) -> ResolvedPlan:
    """Return a sealed plan with an auditor's artifacts, in its order and under its names.

    Raises:
        IncompleteError: Its prompts cannot be made from them, or its responses not be read.
    """
    usable = check_artifacts(plan, resolved, CheckList())
    if usable.prompts is None or usable.texts is None:
        why = usable.no_prompts if usable.prompts is None else usable.no_texts
        raise IncompleteError(f"points cannot be replayed: {why}", file=resolved.file)
    artifacts = replace(resolved.artifacts, texts=usable.prompts)
    return replace(resolved, predicate=plan, artifacts=artifacts)


_NEEDED = (
    ("plan.dsse.json", "the plan is"),
    ("points.jsonl.zst", "the evidence is"),
    ("responses.jsonl.zst", "the restricted records are"),
)


def read_auditor_calibration(path: Path, signer: Signer) -> AuditorCalibration:
    """Read a calibration of the auditor's own, of whatever receipts.

    Raises:
        FileAccessError: It cannot be read.
        IntegrityError: Another key signed it.
        MalformedError: It is no calibration.
    """
    envelope = Envelope.from_json(read_own_file(path, MAX_AUDIT_BYTES), file=path)
    if not envelope.signed_by(signer.trust):
        raise IntegrityError(
            "is not signed with the auditor's key",
            file=path,
            hint="calibrate with the key that audits",
        )
    says = parse_signed(envelope, CalibrationStatement, file=path).statement.predicate
    return AuditorCalibration(envelope.digest, says)


def refuse_unfitting(calibration: AuditorCalibration, subject: AuditSubject, path: Path) -> None:
    """Refuse a calibration that does not fit a receipt.

    Args:
        calibration: The auditor's.
        subject: The receipt.
        path: The calibration's file, for messages.

    Raises:
        UsageError: It is of another checkpoint, template, sampling or judge, or too small.
    """
    says, plan = calibration.says, subject.plan
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
