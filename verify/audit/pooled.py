"""Replays in workers: each holds the auditor's artifacts to the sealed plan by itself.

What is replayed together is cut by the driver, and so is the same for any number of workers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.model.checkpoint import Dtype
from safety_receipts.receipts.model.plan import PlanPredicate
from safety_receipts.runner.engines.engine import Engine
from safety_receipts.runner.plan.resolved import ResolvedPlan
from safety_receipts.runner.pool.messages import Job
from safety_receipts.runner.pool.parts import answers
from safety_receipts.runner.pool.pool import WorkerPool
from safety_receipts.runner.prompts.rendering import Renderer
from safety_receipts.runner.run.execute import RunStack
from safety_receipts.runner.run.pooled.recipe import StackHand
from safety_receipts.verify.audit.regenerate import Regenerator
from safety_receipts.verify.audit.replay import Entry, Replay, ReplayCriteria, Replayer, Replays
from safety_receipts.verify.audit.second_opinion import SecondOpinion
from safety_receipts.verify.audit.session import replayable
from safety_receipts.verify.audit.statistics.plausibility import Plausibility
from safety_receipts.verify.audit.statistics.replayed import ReplayedPoint
from safety_receipts.verify.levels.rederive import ResponseDecoder

_REFERENCE = "engine in fp32"


class ReplayHand(Protocol):
    """What a worker replays with."""

    @property
    def resolved(self) -> ResolvedPlan:
        """The auditor's plan file, resolved there."""

    @property
    def stack(self) -> RunStack:
        """Engine and judges."""


@dataclass(frozen=True)
class ReplayJob:
    """Replays points; a part is some of them, with their records."""

    plan: PlanPredicate
    """The sealed plan."""
    seed: Sha256
    """What demonstrations and noise come from."""
    plausibility: Plausibility
    """What is plausible."""
    judge_band: float
    """A model judge's margin within this of 0 is ambiguous."""
    reference: bool = False
    """Whether hard margins are reproduced by an engine in fp32."""

    def begin(self, hand: ReplayHand) -> ReplayWork:
        """Get ready to replay, in a worker."""
        resolved = replayable(self.plan, hand.resolved)
        load = None
        if self.reference:
            assert isinstance(hand, StackHand)
            load = _reference_of(hand)
        replayer = Replayer(
            self.plan,
            self.seed,
            Renderer(self.plan, resolved.artifacts.texts, self.seed),
            ResponseDecoder(self.plan, resolved.artifacts),
            hand.stack,
            ReplayCriteria(self.plausibility, self.judge_band, load),
        )
        return ReplayWork(replayer.replay)


@dataclass(frozen=True)
class RegenerateJob:
    """Asks for points anew; a part is some of them, with their records."""

    plan: PlanPredicate
    """The sealed plan."""
    seed: Sha256
    """The event's."""
    nonce: str
    """The challenge's."""

    def begin(self, hand: ReplayHand) -> ReplayWork:
        """Get ready to ask, in a worker."""
        resolved = replayable(self.plan, hand.resolved)
        renderer = Renderer(self.plan, resolved.artifacts.texts, self.seed)
        return ReplayWork(Regenerator(self.plan, renderer, hand.stack, self.nonce).replay)


@dataclass(frozen=True)
class ReplayWork:
    """Replays points, in a worker."""

    replay: Replay
    """Replays them."""
    facts: Any = None
    """Nothing is cut here."""

    def do(self, part: Sequence[Entry]) -> list[ReplayedPoint]:
        """Return what the replay says of each point, in order.

        Raises:
            ReceiptsError: As :meth:`verify.audit.replay.Replayer.replay`.
        """
        return self.replay(part)


@dataclass(frozen=True)
class SecondOpinionJob:
    """Asks the second judge again; the only part is all points, with their records."""

    plan: PlanPredicate
    """The sealed plan."""
    seed: Sha256
    """The event's."""

    def begin(self, hand: ReplayHand) -> SecondOpinionWork:
        """Get ready to ask, in a worker."""
        judge = hand.stack.second_judge
        assert judge is not None  # the plan names one
        resolved = replayable(self.plan, hand.resolved)
        renderer = Renderer(self.plan, resolved.artifacts.texts, self.seed)
        return SecondOpinionWork(SecondOpinion(judge, renderer))


@dataclass(frozen=True)
class SecondOpinionWork:
    """Asks it, in a worker."""

    opinion: SecondOpinion
    """Asks it."""
    facts: Any = None
    """Nothing is cut here."""

    def do(self, part: Sequence[Entry]) -> list[int]:
        """Return the numbers of those whose recorded label it does not give again."""
        return self.opinion.contradicted(part)


@dataclass(frozen=True)
class PooledSecondOpinion:
    """Asks the auditor's second judge, in a worker."""

    pool: WorkerPool
    """The workers."""
    job: SecondOpinionJob
    """What one of them is told."""

    def contradicted(self, entries: Sequence[Entry]) -> list[int]:
        """Return the numbers, from 1, of those whose recorded label it does not give again."""
        (found,) = answers(self.pool, self.job, [entries])
        numbers: list[int] = found
        return numbers


def pooled_replays(pool: WorkerPool, job: Job) -> Replays:
    """Return what replays parts in workers."""

    def replays(parts: Iterable[Sequence[Entry]]) -> Iterator[list[ReplayedPoint]]:
        return answers(pool, job, parts)

    return replays


def _reference_of(hand: StackHand) -> Any:
    """Return what gives a worker's engine in fp32: loaded once, when it is asked for."""

    def load() -> Engine:
        from safety_receipts.runner.run.stack import load_stack  # noqa: PLC0415  # loads torch

        if _REFERENCE not in hand.kept:
            recipe = hand.recipe
            loaded = load_stack(
                hand.resolved,
                device=hand.device,
                memory=recipe.memory,
                allow_pickle=recipe.plan.allow_pickle,
                dtype=Dtype.FLOAT32,
                own_judges=True,
                sharing=recipe.sharing,
            )
            hand.kept[_REFERENCE] = loaded.stack.engine
        engine: Engine = hand.kept[_REFERENCE]
        return engine

    return load
