"""Level *bound*: the artifacts, and prompts and texts made of them again.

Commitments are opened for every point.  Draws, prompts and texts are made again for all points
or for a sample that nobody could foresee when the receipt was sealed.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field
from heapq import nsmallest
from pathlib import Path

from safety_receipts.receipts.bundle import Bundle, SignedStatement
from safety_receipts.receipts.canonical import Sha256, is_hex32, point_id, tagged_digest
from safety_receipts.receipts.errors import UsageError
from safety_receipts.receipts.events.coherence import plan_problems
from safety_receipts.receipts.events.grid import planned_points, seed_of
from safety_receipts.receipts.model.plan import PlanPredicate
from safety_receipts.receipts.model.point import Point, RestrictedRecord
from safety_receipts.receipts.model.statement import EvaluationStatement, PlanStatement
from safety_receipts.runner.plan.resolve import resolve_against
from safety_receipts.runner.plan.resolved import ResolvedPlan, UnrunPlan
from safety_receipts.runner.prompts.rendering import Renderer
from safety_receipts.verify.challenge import new_nonce
from safety_receipts.verify.check_names import CheckName
from safety_receipts.verify.checks import CheckList
from safety_receipts.verify.levels.artifacts import UsableArtifacts, check_artifacts
from safety_receipts.verify.levels.authentic import readable_plan
from safety_receipts.verify.levels.evidence import PointProgress, no_progress
from safety_receipts.verify.levels.opening import check_commitments
from safety_receipts.verify.levels.rederive import ResponseDecoder, prompt_problem

SAMPLE = 1000
"""Points of which prompts and texts are made again, unless all are asked for."""

SAMPLE_TAG = "safety-receipts/bound-sample/1"


@dataclass(frozen=True)
class HeldArtifacts:
    """What an auditor holds, and how much of a bundle it is held against."""

    resolved: ResolvedPlan | UnrunPlan
    """The auditor's plan file, resolved: its paths are theirs."""
    points: int | None = SAMPLE
    """Points of which prompts and texts are made again, at most; None: all."""
    nonce: str = field(default_factory=new_nonce)
    """What draws them, 64 hex digits; whoever sealed must not have known it."""


def resolve_artifacts(
    bundle: Bundle,
    plan: Path,
    *,
    all_points: bool = False,
    nonce: str | None = None,
    allow_pickle: bool = False,
    progress: PointProgress = no_progress,
) -> HeldArtifacts | None:
    """Resolve and hash the artifacts that a plan file names.

    Args:
        bundle: What they will be held against.
        plan: A plan file whose paths are the auditor's.
        all_points: Make prompts and texts again for all points, not for a sample.
        nonce: Draws the sample, 64 hex digits; None: a new one.
        allow_pickle: Accept weights that are pickles; they are hashed only.
        progress: Told how many bytes are hashed.

    Returns:
        None: the bundle has no plan that can be read, and the level *authentic* says why.

    Raises:
        UsageError: The nonce is none, or the plan file cannot be resolved.
        IncompleteError, MalformedError, FileAccessError: As
            :func:`runner.plan.resolve.resolve_against`.
    """
    if nonce is not None and not is_hex32(nonce):
        raise UsageError(
            "the sample's nonce should be 64 lower-case hex digits",
            hint="give the one that an earlier verification printed",
        )
    sealed = readable_plan(bundle)
    if sealed is None:
        return None
    resolved = resolve_against(plan, sealed, allow_pickle=allow_pickle, progress=progress)
    return HeldArtifacts(resolved, None if all_points else SAMPLE, nonce or new_nonce())


@dataclass(frozen=True)
class SealedEvent:
    """The signed documents of a bundle."""

    plan: SignedStatement[PlanStatement]
    receipt: SignedStatement[EvaluationStatement]


def check_binding(
    bundle: Bundle,
    sealed: SealedEvent,
    held_artifacts: HeldArtifacts,
    checks: CheckList,
    progress: PointProgress = no_progress,
) -> None:
    """Make the checks of level *bound*.

    The sealed plan rules, whatever else the auditor's plan file asks for; the file says where
    the artifacts are.  Where one is another than the plan names, what is made of it is not
    checked.

    Args:
        bundle: The bundle.
        sealed: Its plan and receipt.
        held_artifacts: The auditor's artifacts.
        checks: Receives the checks.
        progress: Told how many points are done.
    """
    plan, receipt = sealed.plan.statement.predicate, sealed.receipt.statement.predicate
    if next(iter(plan_problems(plan)), None) is not None:
        check_commitments(bundle, receipt, checks, progress)
        checks.skip(CheckName.ARTIFACTS, "the plan is not coherent")
        return
    usable = check_artifacts(plan, held_artifacts.resolved, checks)
    digest = sealed.receipt.envelope.digest
    chosen, how = None, f"all {plan.points:,} points"
    if held_artifacts.points is not None and held_artifacts.points < plan.points:
        chosen = drawn_points(plan, digest, held_artifacts.nonce, held_artifacts.points)
        how = f"{len(chosen):,} of {plan.points:,} points, drawn with nonce {held_artifacts.nonce}"
    beacon = receipt.event.beacon
    seed = seed_of(plan, sealed.plan.envelope.digest, beacon.value if beacon else None)
    examiner = _Examiner(plan, seed, usable, chosen)
    opened = check_commitments(bundle, receipt, checks, progress, examiner.examine)
    expected = plan.points if chosen is None else len(chosen)
    for name, finding, why in (
        (CheckName.PROMPTS_RENDERED, examiner.prompts, usable.no_prompts),
        (CheckName.TEXTS_DECODED, examiner.texts, usable.no_texts),
    ):
        if finding is None:
            checks.skip(name, why)
        elif finding.wrong:
            checks.decide(name, f"{finding.wrong:,} wrong of {how}: {finding.first}")
        elif not opened or len(examiner.seen) != expected:
            checks.skip(name, "needs a record for every point, and each must open its commitment")
        else:
            checks.decide(name, None, how)


def drawn_points(
    plan: PlanPredicate, receipt_digest: Sha256, nonce: str, count: int
) -> frozenset[int]:
    """Return the indices of a sample of points.

    They are those with the smallest SHA-256 over JCS ``["safety-receipts/bound-sample/1",
    receipt digest, nonce, point id]``, so that anyone can draw them again.

    Args:
        plan: The plan.
        receipt_digest: Digest of the receipt.
        nonce: 64 hex digits.
        count: How many to draw; all points where there are fewer.
    """
    keyed = (
        (
            tagged_digest(SAMPLE_TAG, receipt_digest, nonce, point_id(condition.id, query, draw)),
            index,
        )
        for index, (condition, _, query, draw) in enumerate(planned_points(plan))
    )
    return frozenset(index for _, index in nsmallest(count, keyed))


@dataclass
class _Finding:
    """Points whose prompt, or whose text, is another."""

    wrong: int = 0
    first: str = ""

    def add(self, point: Point, problem: str | None) -> None:
        if problem is not None:
            self.first = self.first or f"point {point.index} ({point.condition}): {problem}"
            self.wrong += 1


class _Examiner:
    """Makes prompts and texts again, of records that open."""

    def __init__(
        self,
        plan: PlanPredicate,
        seed: Sha256,
        usable: UsableArtifacts,
        chosen: Set[int] | None,
    ) -> None:
        texts = usable.prompts
        self._renderer = None if texts is None else Renderer(plan, texts, seed)
        self._texts = None if usable.texts is None else ResponseDecoder(plan, usable.texts)
        self._points = range(plan.points) if chosen is None else chosen
        self.prompts = None if texts is None else _Finding()
        """None: they cannot be made."""
        self.texts = None if usable.texts is None else _Finding()
        """None: they cannot be made."""
        self.seen: set[int] = set()
        """Indices of the points examined."""

    def examine(self, point: Point, record: RestrictedRecord) -> None:
        """Take the next point, whose record opens its commitment."""
        if point.index not in self._points:
            return
        self.seen.add(point.index)
        if self.prompts is not None and self._renderer is not None:
            self.prompts.add(point, _prompt_problem(self._renderer, record))
        if self.texts is not None and self._texts is not None:
            self.texts.add(point, self._texts.problem(point, record))


def _prompt_problem(renderer: Renderer, record: RestrictedRecord) -> str | None:
    """Return in what a point's prompt differs from the one made again."""
    try:
        rendered = renderer.render(record.index)
    except UsageError as error:
        return f"the prompt cannot be made: {error.message}"
    return prompt_problem(rendered, record)
