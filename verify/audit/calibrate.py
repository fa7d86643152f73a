"""Measuring how honest responses look when they are replayed.

Responses are generated once, on a reference stack, to points spread over a plan, and replayed
on others: further number formats and devices, other batches, another attention kernel.  What
differs then is numerical noise and nothing else.  Each response counts with the largest value
that any stack gave it, so that an audit on any one of them sees no larger ones than these.

What was generated and replayed is kept (:mod:`verify.audit.journals.calibrations`): a calibration
that is stopped goes on where it was.

Demonstrations and sampling noise come from a seed of the calibration's own: it answers none of
the sealed event's points, and what it measures is not what an evaluator could have fitted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from fractions import Fraction
from importlib.metadata import version
from typing import Any, Final

from safety_receipts.receipts.canonical import Sha256, decimal_string, tagged_digest
from safety_receipts.receipts.errors import (
    IncompleteError,
    InterruptedByUserError,
    UsageError,
)
from safety_receipts.receipts.model.calibration import (
    Alternative,
    CalibratedStack,
    CalibrationPredicate,
    LengthBin,
)
from safety_receipts.receipts.model.checkpoint import Dtype
from safety_receipts.receipts.model.point import Outcome
from safety_receipts.receipts.model.statement import (
    CALIBRATION_TYPE,
    STATEMENT_TYPE,
    CalibrationStatement,
    subject,
)
from safety_receipts.runner.engines.engine import EngineIdentity
from safety_receipts.runner.judges.registry import LOG_ODDS_BAND
from safety_receipts.runner.plan.resolved import ResolvedPlan
from safety_receipts.runner.plan.sealed import digest_of
from safety_receipts.runner.prompts.rendering import Renderer
from safety_receipts.runner.run.counting import render_points
from safety_receipts.runner.run.execute import run_of
from safety_receipts.runner.run.judging import UnitStack
from safety_receipts.runner.run.seal import TOOL
from safety_receipts.verify.audit.journals.calibrations import CalibrationJournal
from safety_receipts.verify.audit.journals.signed_lines import SignedLines
from safety_receipts.verify.audit.pooled import ReplayJob
from safety_receipts.verify.audit.replay import Entry
from safety_receipts.verify.audit.stages import VARIANTS, Bench, DeviceFormat, OwnBench
from safety_receipts.verify.audit.statistics.plausibility import (
    CLIP,
    LARGEST,
    LEAST_RESPONSES,
    DefaultPlausibility,
    MarginStatistics,
)
from safety_receipts.verify.audit.statistics.replayed import ReplayedPoint

CALIBRATION_SEED_TAG: Final = "safety-receipts/calibration/1"
CALIBRATION_RESPONSES: Final = 4_000
"""Honest responses, where the plan has as many points."""
ALTERNATIVE_RESPONSES: Final = 500
"""Responses of each alternative."""
ALTERNATIVES: Final = {"weights rounded to 8 bits": 8, "weights rounded to 4 bits": 4}
"""Other models that the identity test is tried on, and their bits."""
_BAND = 2
"""A judge's verdict is ambiguous within so many times the noise seen in its margin."""

CalibrationWatch = Callable[[int, int], None]
"""Told how many responses are generated or replayed, and of how many, all stacks together."""


@dataclass(frozen=True)
class Calibrator:
    """Calibrates the replay of one plan's points.

    Args:
        resolved: The plan.
        places: Number formats and devices to compare; the first is the reference, which
            generates.
        memory: Bound on the engine's memory in bytes; None: a share of what is free.
        responses: Honest responses wanted.
        bench: Gives the stacks to compare; None: they are in this process.
    """

    resolved: ResolvedPlan
    places: Sequence[DeviceFormat]
    memory: int | None = None
    responses: int = CALIBRATION_RESPONSES
    bench: Bench | None = None

    def calibrate(
        self, auditor: str | None, watch: CalibrationWatch, lines: SignedLines | None = None
    ) -> CalibrationStatement:
        """Generate, replay, and return the unsigned calibration.

        Args:
            auditor: Name of the auditor, as free text.
            watch: Told how it goes.
            lines: Where what is done is kept, and what was done before stands; None: nowhere.

        Raises:
            UsageError: The plan has too few points, or what was kept is of other terms.
            IncompleteError: Too many of them failed.
            InterruptedByUserError: The user stopped it; what was done stays.
            ReceiptsError: A model cannot be loaded, or what was kept not read or written.
        """
        number = self._number()
        progress = _Progress(watch, self._total(number))
        try:
            journal = CalibrationJournal(lines, self._terms(number))
            return self._calibrated(auditor, number, journal, progress)
        except KeyboardInterrupt:
            if lines is None:
                raise
            raise InterruptedByUserError(
                f"interrupted; {progress.done:,} of {progress.total:,} generated and replayed "
                "responses are kept",
                hint="run the same command again to go on",
            ) from None

    def _number(self) -> int:
        number = min(self.responses, self.resolved.predicate.points)
        if number < LEAST_RESPONSES:
            raise UsageError(
                f"{number:,} points are too few to calibrate on: at least {LEAST_RESPONSES:,}",
                file=self.resolved.file,
                hint="calibrate on a larger plan of the same checkpoint, sampling and judge",
            )
        return number

    def _terms(self, number: int) -> dict[str, Any]:
        """Return what a calibration that goes on must have been begun with."""
        return {
            "plan": digest_of(self.resolved.predicate),
            "formats and devices": [[one.dtype.value, one.device] for one in self.places],
            "responses": number,
            "memory": self.memory,
            "versions": [TOOL, version("torch"), version("transformers")],
        }

    def _total(self, number: int) -> int:
        others = min(ALTERNATIVE_RESPONSES, self.resolved.predicate.points)
        return number * (1 + len(list(self._names()))) + 2 * others * len(ALTERNATIVES)

    def _calibrated(
        self, auditor: str | None, number: int, journal: CalibrationJournal, progress: _Progress
    ) -> CalibrationStatement:
        plan = self.resolved.predicate
        seed = Sha256(tagged_digest(CALIBRATION_SEED_TAG, digest_of(plan), journal.nonce).hex())
        renderer = Renderer(plan, self.resolved.artifacts.texts, seed)
        bench = self.bench or OwnBench(self.resolved, self.places, self.memory)
        reference = bench.reference()
        chosen = [place * plan.points // number for place in range(number)]
        work = _Work(renderer, seed, journal, progress)
        entries = self._generate(reference.stack, work, chosen, "reference")
        if len(entries) < LEAST_RESPONSES:
            raise IncompleteError(
                f"{len(entries):,} of {number:,} points were generated, and "
                f"{LEAST_RESPONSES:,} are needed"
            )
        # Before further models are loaded: two at a time are enough.
        alternatives = [self._alternative(name, work, bench) for name in ALTERNATIVES]
        replays: list[tuple[CalibratedStack, list[ReplayedPoint]]] = []
        for place in range(len(self.places)):
            for stand in bench.stands(place):
                stage = f"{place}: {stand.name}"
                replay = stand.replays(self._replay_job(work))
                found = journal.replay(stage, entries, replay, progress.add)
                replays.append((_stack_of(stand.name, stand.identity, found), found))
        predicate = self._predicate(auditor, reference.identity, entries, replays, alternatives)
        return CalibrationStatement(
            type=STATEMENT_TYPE,
            subject=subject(plan.checkpoint.name, plan.checkpoint.root),
            predicate_type=CALIBRATION_TYPE,
            predicate=predicate,
        )

    def _names(self) -> Iterator[str]:
        for _ in self.places:
            yield from VARIANTS

    def _replay_job(self, work: _Work) -> ReplayJob:
        plausibility = DefaultPlausibility.between(Dtype.BFLOAT16, Dtype.BFLOAT16)
        return ReplayJob(self._judged_once.predicate, work.seed, plausibility, LOG_ODDS_BAND)

    @property
    def _judged_once(self) -> ResolvedPlan:
        """The plan without its second judge, which says nothing of how responses are replayed."""
        plan = self.resolved.predicate
        judge = plan.judge.model_copy(update={"second": None})
        return replace(self.resolved, predicate=plan.model_copy(update={"judge": judge}))

    def _generate(
        self, stack: UnitStack, work: _Work, chosen: Sequence[int], stage: str
    ) -> list[Entry]:
        """Return generated points with their records; none is made again."""
        run = run_of(self._judged_once, stack, work.journal.secret, work.seed)
        points = render_points(work.renderer, chosen)
        done = {point.index for point, _ in work.journal.generated(stage)}
        work.progress.add(len(done))
        for unit in run.finished(points, done):
            work.journal.keep_generated(stage, unit)
            work.progress.add(len(unit))
        return [
            (point, record)
            for point, record in work.journal.generated(stage)
            if point.outcome is not Outcome.FAILED and record.response_tokens
        ]

    def _alternative(self, name: str, work: _Work, bench: Bench) -> Alternative:
        plan = self.resolved.predicate
        number = min(ALTERNATIVE_RESPONSES, plan.points)
        chosen = [place * plan.points // number for place in range(number)]
        other = bench.alternative(ALTERNATIVES[name]).stack
        entries = self._generate(other, work, chosen, name)
        replays = bench.reference().replays(self._replay_job(work))
        found = work.journal.replay(name, entries, replays, work.progress.add)
        scored = [one.statistics for one in found if one.statistics is not None]
        return Alternative(
            name=name,
            clipped=tuple(_score(one.clipped) for one in scored),
            tokens=tuple(one.tokens for one in scored),
        )

    def _predicate(
        self,
        auditor: str | None,
        reference: EngineIdentity,
        entries: Sequence[Entry],
        replays: Sequence[tuple[CalibratedStack, Sequence[ReplayedPoint]]],
        alternatives: Sequence[Alternative],
    ) -> CalibrationPredicate:
        plan = self.resolved.predicate
        worst = worst_of([found for _, found in replays])
        if len(worst) < LEAST_RESPONSES:
            raise IncompleteError(
                f"{len(worst):,} responses were scored on every stack, and {LEAST_RESPONSES:,} "
                "are needed",
                hint="lower the memory bound, or compare fewer stacks",
            )
        band = judge_band(entries, [found for _, found in replays])
        return CalibrationPredicate(
            auditor=auditor,
            made_at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            tool=TOOL,
            checkpoint=plan.checkpoint.root,
            chat_template=plan.prompt.chat_template,
            sampling=plan.sampling,
            judge=plan.judge.digest,
            responses=len(worst),
            clip=decimal_string(CLIP, 6),
            reference=_stack_of("reference", reference, []),
            stacks=tuple(stack for stack, _ in replays),
            bins=length_bins(worst),
            clipped=tuple(_score(one.clipped) for one in worst),
            tokens=tuple(one.tokens for one in worst),
            branch_flip_rate=decimal_string(
                max(Fraction(stack.flipped, len(entries)) for stack, _ in replays), 6
            ),
            ambiguity_rate=decimal_string(_ambiguous(entries, band), 6),
            judge_band=None if band is None else decimal_string(band, 6),
            alternatives=tuple(alternatives),
        )


class _Progress:
    """Counts responses, generated and replayed, all stacks together."""

    def __init__(self, watch: CalibrationWatch, total: int) -> None:
        self.done, self.total = 0, total
        self._watch = watch

    def add(self, responses: int) -> None:
        self.done = min(self.done + responses, self.total)
        self._watch(self.done, self.total)


@dataclass(frozen=True)
class _Work:
    """What all stages share."""

    renderer: Renderer
    seed: Sha256
    journal: CalibrationJournal
    progress: _Progress


def worst_of(replays: Sequence[Sequence[ReplayedPoint]]) -> list[MarginStatistics]:
    """Return for each response the largest statistics that any stack gave it.

    A response that a stack could not score is left out.
    """
    worst = []
    for found in zip(*replays, strict=True):
        scored = [one.statistics for one in found if one.statistics is not None]
        if len(scored) == len(found):
            worst.append(
                MarginStatistics(
                    max(one.largest for one in scored),
                    max(one.clipped for one in scored),
                    scored[0].tokens,
                )
            )
    return worst


def length_bins(worst: Sequence[MarginStatistics]) -> tuple[LengthBin, ...]:
    """Cut responses by length into as many bins as have enough of them.

    Responses of one length share a bin.
    """
    ordered = sorted(worst, key=lambda one: one.tokens)
    bins: list[list[MarginStatistics]] = [[]]
    for place, one in enumerate(ordered):
        full = len(bins[-1]) >= LEAST_RESPONSES and one.tokens > bins[-1][-1].tokens
        if full and len(ordered) - place >= LEAST_RESPONSES:
            bins.append([])
        bins[-1].append(one)
    return tuple(
        LengthBin(
            upto=None if number == len(bins) else members[-1].tokens,
            largest=tuple(map(_score, sorted(one.largest for one in members))),
            clipped=tuple(map(_score, sorted(one.clipped for one in members))),
        )
        for number, members in enumerate(bins, start=1)
    )


def judge_band(
    entries: Sequence[Entry], replays: Sequence[Sequence[ReplayedPoint]]
) -> Fraction | None:
    """Return the noise of a model judge's margin, doubled; None: a rule.

    The same responses are judged again in every replay, in other batches.
    """
    noise = [
        abs(Fraction(record.judge.margin) - Fraction(one.judge_margin))
        for found in replays
        for (_, record), one in zip(entries, found, strict=True)
        if record.judge is not None
        and record.judge.margin is not None
        and one.judge_margin is not None
    ]
    return _BAND * max(noise) if noise else None


def _ambiguous(entries: Sequence[Entry], band: Fraction | None) -> Fraction:
    if band is None:
        return Fraction(0)
    margins = [
        Fraction(record.judge.margin)
        for _, record in entries
        if record.judge is not None and record.judge.margin is not None
    ]
    return Fraction(sum(abs(one) <= band for one in margins), max(1, len(margins)))


def _stack_of(
    name: str, identity: EngineIdentity, found: Sequence[ReplayedPoint]
) -> CalibratedStack:
    largest = max((one.statistics.largest for one in found if one.statistics), default=0.0)
    return CalibratedStack(
        name=name,
        dtype=identity.dtype,
        device=identity.device,
        attention=identity.attention,
        torch=identity.torch,
        transformers=identity.transformers,
        branched=sum(one.branched is not None for one in found),
        flipped=sum(one.label is not one.recorded for one in found if one.missing is None),
        largest=_score(largest),
    )


def _score(value: float) -> str:
    return decimal_string(Fraction(min(value, LARGEST)), 6)
