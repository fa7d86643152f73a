"""The stacks that a calibration compares, one after the other, here or in workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from safety_receipts.receipts.model.checkpoint import Dtype
from safety_receipts.runner.engines.batches import default_memory
from safety_receipts.runner.engines.engine import Decoding, EngineIdentity, Request
from safety_receipts.runner.engines.identity import read_kernels, set_threads
from safety_receipts.runner.engines.load import LoadedModel, load_model
from safety_receipts.runner.engines.prefix.attention import Kernel
from safety_receipts.runner.engines.rounding import round_weights
from safety_receipts.runner.engines.transformers_engine import TransformersEngine
from safety_receipts.runner.judges.judge import ResponseJudge
from safety_receipts.runner.judges.make import load_judge
from safety_receipts.runner.plan.resolved import ResolvedPlan
from safety_receipts.runner.pool.messages import Job, Opened, Work
from safety_receipts.runner.pool.pool import WorkerPool
from safety_receipts.runner.prompts.responses import reader_of
from safety_receipts.runner.run.execute import RunStack
from safety_receipts.runner.run.judging import UnitStack
from safety_receipts.runner.run.pooled.packed import PackedRequests
from safety_receipts.runner.run.pooled.recipe import HeldPlan, StackFacts, device_of
from safety_receipts.runner.run.pooled.stack import GenerationJob, PooledAnswers
from safety_receipts.runner.run.seal import environment_of, stack_of
from safety_receipts.verify.audit.pooled import ReplayJob, pooled_replays
from safety_receipts.verify.audit.replay import Replays, one_by_one

_FEW_ROWS = 32

VARIANTS: Final = ("shared prefixes", "few rows", "written-out attention", "plain batches")
"""Ways to compute that are compared in every place."""


@dataclass(frozen=True)
class DeviceFormat:
    """One number format on one device."""

    dtype: Dtype
    """Number format."""
    device: str | None
    """``cpu``, ``cuda``, …; None: an accelerator if there is one."""


@dataclass(frozen=True)
class Stand:
    """One stack of a calibration."""

    name: str
    """How it computes."""
    identity: EngineIdentity
    """What its engine is made of."""
    stack: UnitStack
    """Answers points."""
    replays: Callable[[ReplayJob], Replays]
    """Returns what replays points."""


class Bench(Protocol):
    """Gives the stacks of a calibration, one after the other."""

    def reference(self) -> Stand:
        """Return the stack that generates."""

    def alternative(self, bits: int) -> Stand:
        """Return the reference with its weights rounded to so many bits."""

    def stands(self, place: int) -> Iterator[Stand]:
        """Yield the stacks of one number format on one device, by its place in their list."""


def variants(model: LoadedModel, memory: int | None) -> Iterator[tuple[str, TransformersEngine]]:
    """Yield the engines to compare, by name; where a model allows one way only, all are it."""
    yield VARIANTS[0], TransformersEngine(model, memory=memory)
    yield VARIANTS[1], TransformersEngine(model, memory=memory, max_rows=_FEW_ROWS)
    yield VARIANTS[2], TransformersEngine(model, memory=memory, kernels=(Kernel.MATH,))
    yield VARIANTS[3], TransformersEngine(model, memory=memory, shared=False)


@dataclass(frozen=True)
class StageHand:
    """What one stage works with."""

    resolved: ResolvedPlan
    """The plan."""
    stack: RunStack
    """Engine and judge."""


class OwnBench:
    """Stacks in this process; at most two models are loaded at a time.

    Args:
        resolved: The plan.
        places: Number formats and devices; the first is the reference.
        memory: Bound on memory in bytes; None: a share of what is free.
        sharing: Processes that share it.
    """

    def __init__(
        self,
        resolved: ResolvedPlan,
        places: Sequence[DeviceFormat],
        memory: int | None,
        sharing: int = 1,
    ) -> None:
        self.memory = memory
        """Bound on memory in bytes; None: a share of what is free."""
        self._resolved, self._places, self._sharing = resolved, places, sharing
        self._judge: ResponseJudge | None = None
        self._at: int | None = None
        self._engines: dict[str, TransformersEngine] = {}
        self._rounded: tuple[int, TransformersEngine] | None = None

    def reference(self) -> Stand:
        """Return the stack that generates."""
        return next(self.stands(0))

    def alternative(self, bits: int) -> Stand:
        """Return the reference with its weights rounded to so many bits."""
        if self._rounded is None or self._rounded[0] != bits:
            self._rounded = None  # before the next one is loaded
            other = self._model(0)
            round_weights(other, bits)
            self._rounded = bits, TransformersEngine(other, memory=self._memory(other))
        return self._stand(f"{bits} bits", self._rounded[1])

    def stands(self, place: int) -> Iterator[Stand]:
        """Yield the stacks of one number format on one device."""
        if place != self._at:
            self._engines.clear()
            if self._at is not None:
                self._rounded = None  # its turn is over
            model = self._model(place)
            self._engines.update(variants(model, self._memory(model)))
            self._at = place
        for name, engine in self._engines.items():
            yield self._stand(name, engine)

    def _model(self, place: int) -> LoadedModel:
        where = self._places[place]
        folder = self._resolved.artifacts.checkpoint.folder
        return load_model(folder, dtype=where.dtype, device=where.device or "auto")

    def _memory(self, model: LoadedModel) -> int | None:
        if self.memory is None and self._sharing > 1:
            return default_memory(model.device) // self._sharing
        return self.memory

    def _stand(self, name: str, engine: TransformersEngine) -> Stand:
        plan = self._resolved.predicate
        if self._judge is None:
            self._judge = load_judge(
                plan.judge,
                self._resolved.artifacts.judge_folder,
                device=self._places[0].device,
                memory=self.memory,
            )
        reader = reader_of(self._resolved.artifacts.texts.chat, plan)
        stack = RunStack(engine, self._judge, None, reader)
        hand = StageHand(self._resolved, stack)
        return Stand(name, engine.identity, stack, lambda job: one_by_one(job.begin(hand).do))


@dataclass(frozen=True)
class CalibrationStage:
    """Names a stack of a calibration, for workers."""

    place: int
    """Which number format on which device."""
    name: str
    """How it computes."""
    bits: int | None = None
    """To how many bits its weights are rounded; None: to none."""


@dataclass(frozen=True)
class CalibrationHand:
    """What a worker calibrates with."""

    resolved: ResolvedPlan
    """The plan."""
    bench: OwnBench
    """Its stacks."""

    def at(self, stage: CalibrationStage) -> StageHand:
        """Return what a stage works with."""
        if stage.bits is not None:
            stand = self.bench.alternative(stage.bits)
        else:
            stand = next(s for s in self.bench.stands(stage.place) if s.name == stage.name)
        assert isinstance(stand.stack, RunStack)
        return StageHand(self.resolved, stand.stack)


@dataclass(frozen=True)
class CalibrationRecipe:
    """Loads the reference of a calibration."""

    plan: HeldPlan
    """The plan."""
    places: tuple[DeviceFormat, ...]
    """Number formats and kinds of devices."""
    threads: int
    """Threads of each worker."""
    memory: int | None
    """Bound on memory in bytes; None: the first worker's share of what is free."""
    sharing: int
    """Workers that share it."""

    @property
    def settled(self) -> bool:
        """Whether all workers can start at once: the memory bound is known."""
        return self.memory is not None

    def after(self, facts: StackFacts) -> CalibrationRecipe:
        """Return what further workers load: batches are cut to the first one's bound."""
        return replace(self, memory=facts.memory)

    def open(self, place: int) -> Opened:
        """Load it, in a worker.

        Raises:
            ReceiptsError: It cannot be loaded, or is not the plan's.
        """
        resolved = self.plan.resolve()
        set_threads(self.threads)
        places = [replace(one, device=device_of(one.device or "cpu", place)) for one in self.places]
        bench = OwnBench(resolved, places, self.memory, self.sharing)
        stack = bench.reference().stack
        assert isinstance(stack, RunStack)
        assert isinstance(stack.engine, TransformersEngine)
        bench.memory = stack.engine.memory
        environment = environment_of(stack.identity, resolved.predicate, bench.memory)
        return Opened(
            CalibrationHand(resolved, bench),
            {**stack_of(environment), **read_kernels()},
            StackFacts(stack.identity, bench.memory, ()),
        )


@dataclass(frozen=True)
class StageJob:
    """A job of one stage."""

    stage: CalibrationStage
    """The stage."""
    job: Job
    """What is done with its stack."""

    def begin(self, hand: CalibrationHand) -> Work:
        """Get ready, in a worker."""
        return self.job.begin(hand.at(self.stage))


@dataclass(frozen=True)
class IdentityJob:
    """Asks what a stage's engine is made of; it has no parts."""

    def begin(self, hand: StageHand) -> IdentityWork:
        """Find out, in a worker."""
        return IdentityWork(hand.stack.identity)


@dataclass(frozen=True)
class IdentityWork:
    """What a stage's engine is made of."""

    facts: EngineIdentity
    """That."""

    def do(self, part: Any) -> Any:
        """Do nothing: there are no parts."""
        return part


class PooledBench:
    """Stacks in workers.

    Args:
        pool: The workers.
    """

    def __init__(self, pool: WorkerPool) -> None:
        self._pool = pool

    def reference(self) -> Stand:
        """Return the stack that generates."""
        return self._stand(CalibrationStage(0, VARIANTS[0]))

    def alternative(self, bits: int) -> Stand:
        """Return the reference with its weights rounded to so many bits."""
        return self._stand(CalibrationStage(0, f"{bits} bits", bits))

    def stands(self, place: int) -> Iterator[Stand]:
        """Yield the stacks of one number format on one device."""
        for name in VARIANTS:
            yield self._stand(CalibrationStage(place, name))

    def _stand(self, stage: CalibrationStage) -> Stand:
        identity: EngineIdentity = self._pool.begin(StageJob(stage, IdentityJob()))
        return Stand(
            stage.name,
            identity,
            _PooledStage(self._pool, stage, identity),
            lambda job: pooled_replays(self._pool, StageJob(stage, job)),
        )


@dataclass(frozen=True)
class _PooledStage:
    """A stage's stack, in workers."""

    pool: WorkerPool
    stage: CalibrationStage
    identity: EngineIdentity
    replaced: int = 0

    def start(
        self, requests: Sequence[Request], queries: Sequence[str], decoding: Decoding
    ) -> PooledAnswers:
        job = GenerationJob(PackedRequests.pack(requests), tuple(queries), decoding)
        return PooledAnswers(self.pool, self.pool.begin(StageJob(self.stage, job)))
