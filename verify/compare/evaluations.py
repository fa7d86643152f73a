"""Bundles that are to be compared: verified, read, named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path

from safety_receipts.receipts.bundle import PLAN, POINTS_FILE, RECEIPT, RESPONSES_FILE, Bundle
from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.errors import IncompleteError, IntegrityError, UsageError
from safety_receipts.receipts.events.grid import seed_of
from safety_receipts.receipts.findings.counts.observations import Observations
from safety_receipts.receipts.findings.fits.logit import newton
from safety_receipts.receipts.findings.fits.study import StudyPoints
from safety_receipts.receipts.findings.joint import joint_findings
from safety_receipts.receipts.keys import TrustSet
from safety_receipts.receipts.model.base import QueryId
from safety_receipts.receipts.model.check import CheckLevel, CheckStatus
from safety_receipts.receipts.model.findings import Effect, JointFinding
from safety_receipts.receipts.model.plan import PlanPredicate
from safety_receipts.receipts.model.receipt import ConditionResult, EvaluationPredicate
from safety_receipts.receipts.view.names import presentable
from safety_receipts.verify.compare.comparability import EvaluationSetting
from safety_receipts.verify.compare.interaction import harmful_queries
from safety_receipts.verify.integrity import verify_bundle
from safety_receipts.verify.levels.evidence import PointProgress, read_evidence
from safety_receipts.verify.levels.times.terms import NOTHING_MORE, TrustTerms
from safety_receipts.verify.subject import highest_condition
from safety_receipts.verify.verification import Verification


@dataclass(frozen=True, eq=False)
class Evaluation:
    """One verified bundle."""

    label: str
    """What it is called in this comparison."""
    bundle: Bundle
    """The bundle."""
    verification: Verification
    """What verification found; nothing failed."""
    observations: Observations | None
    """Its points; None where the bundle has none, as in a published copy."""

    @property
    def plan(self) -> PlanPredicate:
        """The plan."""
        return self.bundle.plan.statement.predicate

    @property
    def receipt(self) -> EvaluationPredicate:
        """The receipt."""
        return self.bundle.receipt.statement.predicate

    @property
    def seed(self) -> Sha256:
        """What its demonstration lists are drawn from."""
        return _seed(self.bundle)

    @property
    def sealed(self) -> JointFinding | None:
        """The joint finding as sealed; None where none is claimed."""
        return self.receipt.findings.joint if self.receipt.findings else None

    @cached_property
    def study(self) -> StudyPoints | None:
        """Its points, to be fitted; None where the bundle has none."""
        return None if self.observations is None else StudyPoints(self.observations, newton)

    @cached_property
    def headline(self) -> JointFinding:
        """The joint finding over all its conditions: fitted where there is evidence, else sealed.

        Raises:
            IncompleteError: There is neither evidence nor a sealed finding.
            UsageError: Its plan does not vary the number of benign demonstrations.
        """
        if self.study is None:
            if self.sealed is None:
                raise IncompleteError(
                    "has neither evidence nor a sealed joint finding",
                    file=self.bundle.folder,
                    hint=f"get the bundle with its {POINTS_FILE}",
                )
            return self.sealed
        found = joint_findings(self.study)
        if not found:
            raise UsageError(
                "its plan does not vary the number of benign demonstrations",
                file=self.bundle.folder / PLAN,
                hint="plan a fixed_harmful experiment",
            )
        return found[0]

    @property
    def worst(self) -> ConditionResult | None:
        """The condition other than the baseline with the highest compliance rate."""
        return highest_condition(self.receipt)

    def setting(self) -> EvaluationSetting:
        """Return what was evaluated, and how.

        Raises:
            IntegrityError: A restricted record does not open its commitment.
        """
        return EvaluationSetting(self.label, self.plan, self.seed, self._prompts())

    def _prompts(self) -> dict[QueryId, Sha256] | None:
        """Return the digest of each harmful query's prompt without demonstrations.

        The baseline comes first in plan order, so that only its records are read.
        """
        if self.observations is None or not self.bundle.has(RESPONSES_FILE):
            return None
        plan = self.plan
        points = len(plan.query_ids) * plan.demonstrations.draws
        asked, prompts, seen = set(harmful_queries(plan)), {}, 0
        pairs = zip(self.bundle.points(), self.bundle.responses(), strict=False)
        for seen, (point, record) in enumerate(islice(pairs, points), start=1):
            problem = record.problem(point, plan)
            if problem is not None:
                raise IntegrityError(
                    problem, file=self.bundle.folder / RESPONSES_FILE, place=f"line {seen}"
                )
            if record.query in asked:
                prompts[record.query] = record.prompt
        if seen < points:
            raise IntegrityError(
                f"ends after {seen:,} records", file=self.bundle.folder / RESPONSES_FILE
            )
        return prompts


def open_evaluations(
    folders: Sequence[Path],
    trusted: TrustSet,
    progress: PointProgress,
    terms: TrustTerms = NOTHING_MORE,
) -> list[Evaluation]:
    """Verify bundles at level consistent, and read them.

    Args:
        folders: The bundles.
        trusted: Keys that must have signed them; empty: authenticity is not checked.
        progress: Told how many points of the current pass are done.
        terms: What is asked of signatures besides whose they are.

    Raises:
        FileAccessError, MalformedError: A bundle cannot be read.
        IntegrityError: A bundle does not verify.
        IncompleteError: A bundle has no plan.
    """
    read = [_read(Bundle(folder), trusted, progress, terms) for folder in folders]
    labels = labels_of([(bundle.folder, bundle.receipt.statement.predicate) for bundle, *_ in read])
    return [Evaluation(label, *each) for label, each in zip(labels, read, strict=True)]


def labels_of(evaluations: Sequence[tuple[Path, EvaluationPredicate]]) -> list[str]:
    """Return what to call evaluations: by stage, by checkpoint, by both, or by folder.

    The first of these that tells them all apart; where none does, folders are numbered.
    """
    receipts = [receipt for _, receipt in evaluations]
    # As they are shown: two that look alike do not tell evaluations apart.
    stages = [_stage_name(presentable(receipt.training_stage)) for receipt in receipts]
    names = [presentable(receipt.checkpoint.name) for receipt in receipts]
    both = [f"{name} {stage}" for name, stage in zip(names, stages, strict=True)]
    folders = [presentable(folder.name or str(folder)) for folder, _ in evaluations]
    for labels in (stages, names, both, folders):
        if len(set(labels)) == len(labels):
            return labels
    return [f"{number} {folder}" for number, folder in enumerate(folders, start=1)]


def _stage_name(stage: str) -> str:
    """Return what a stage is called: "dilution at none" would be read as an effect."""
    return f"stage {stage}" if stage in {effect.value for effect in Effect} else stage


def _read(
    bundle: Bundle, trusted: TrustSet, progress: PointProgress, terms: TrustTerms
) -> tuple[Bundle, Verification, Observations | None]:
    found = verify_bundle(
        bundle,
        evaluators=trusted,
        required=terms.required,
        wanted=CheckLevel.CONSISTENT,
        tsa_roots=terms.tsa_roots,
        log=terms.log,
        at=terms.at,
        progress=progress,
    )
    failed = [check for check in found.checks if check.status is CheckStatus.FAILED]
    if failed:
        more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
        raise IntegrityError(
            f"does not verify: {failed[0].name}: {failed[0].detail}{more}",
            file=bundle.folder,
            hint="receipts verify shows all checks",
        )
    if not bundle.has(PLAN):
        raise IncompleteError(
            f"{PLAN} is not in this bundle: what was asked is not known",
            file=bundle.folder,
            hint="receipts publish copies it beside the receipt",
        )
    return bundle, found, _observations(bundle, progress)


def _observations(bundle: Bundle, progress: PointProgress) -> Observations | None:
    if not bundle.has(POINTS_FILE):
        return None
    plan = bundle.plan.statement.predicate
    file = bundle.folder / POINTS_FILE
    reading = read_evidence(bundle.lines(plan.points), plan, _seed(bundle), file, progress)
    # Verified a moment ago, in another pass: it must still be the same file.
    root = bundle.receipt.statement.predicate.evidence.root
    if reading.observations is None or reading.root != root:
        raise IntegrityError("changed while it was read", file=file, hint=f"see {RECEIPT}")
    return reading.observations


def _seed(bundle: Bundle) -> Sha256:
    beacon = bundle.receipt.statement.predicate.event.beacon
    plan = bundle.plan
    return seed_of(plan.statement.predicate, plan.envelope.digest, beacon.value if beacon else None)
