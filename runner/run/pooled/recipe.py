"""What a worker loads: the plan's engine and judges, from the plan file, which it hashes itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from safety_receipts.receipts.errors import IncompleteError, IntegrityError
from safety_receipts.receipts.model.checkpoint import Dtype
from safety_receipts.receipts.model.plan import PlanPredicate
from safety_receipts.runner.engines.engine import EngineIdentity
from safety_receipts.runner.plan.resolve import resolve_against, resolve_plan
from safety_receipts.runner.plan.resolved import ResolvedPlan
from safety_receipts.runner.plan.sealed import first_difference
from safety_receipts.runner.pool.messages import Opened
from safety_receipts.runner.run.execute import RunStack
from safety_receipts.runner.run.loaded import LoadedStack
from safety_receipts.runner.run.seal import environment_of, stack_of


@dataclass(frozen=True)
class HeldPlan:
    """A plan file, and what it must resolve to wherever it is read."""

    file: Path
    """The plan file, at the same place on every host."""
    predicate: PlanPredicate
    """What it resolves to where the workers' driver is."""
    sealed: PlanPredicate | None
    """The sealed plan that its folders are held to before anything of them is run; None: there is
    none yet."""
    allow_pickle: bool = False
    """Whether weights may be pickles."""

    def resolve(self) -> ResolvedPlan:
        """Resolve it here, hashing everything that it names.

        Raises:
            IntegrityError: Something is not what the driver found.
            ReceiptsError: It cannot be resolved here.
        """
        if self.sealed is None:
            found = resolve_plan(self.file, allow_pickle=self.allow_pickle)
        else:
            given = resolve_against(self.file, self.sealed, allow_pickle=self.allow_pickle)
            if not isinstance(given, ResolvedPlan):
                raise IntegrityError(f"a worker finds another: {given.why}", file=self.file)
            found = given
        if found.predicate.checkpoint.root != self.predicate.checkpoint.root:
            raise IntegrityError(
                "a worker finds another checkpoint there than the plan's",
                file=found.artifacts.checkpoint.folder,
                hint="the same files must lie at the same place on every host, and stay as they "
                "are while the plan is run",
            )
        place = first_difference(self.predicate.to_wire(), found.predicate.to_wire())
        if place is not None:
            raise IntegrityError(
                f"resolves to another plan where a worker runs: {place} differs",
                file=self.file,
                hint="what it names must lie at the same place on every host, and stay as it is",
            )
        return found


@dataclass(frozen=True)
class StackFacts:
    """What a worker tells of its engine."""

    identity: EngineIdentity
    """What it is made of."""
    memory: int | None
    """Bound on the memory of the engine, and of each judge, in bytes; None: there is none."""
    notes: tuple[str, ...]
    """What a user should know of it."""
    judge_bounds: Mapping[str, str] = field(default_factory=dict)
    """The bounds on the memory of judges that generate there, by name."""


@dataclass(frozen=True)
class StackHand:
    """What a worker works with."""

    resolved: ResolvedPlan
    """The plan."""
    loaded: LoadedStack[RunStack]
    """Engine and judges."""
    recipe: StackRecipe
    """What it was loaded by."""
    device: str
    """What it was loaded to."""
    kept: dict[str, Any] = field(default_factory=dict)
    """What jobs have loaded besides, by name."""

    @property
    def stack(self) -> RunStack:
        """Engine and judges."""
        return self.loaded.stack


@dataclass(frozen=True)
class StackRecipe:
    """Loads the engine and the judges of a plan."""

    plan: HeldPlan
    """The plan."""
    device: str
    """Kind of device: ``cpu``, ``cuda``, ``mps``."""
    threads: int
    """Threads of each worker."""
    memory: int | None = None
    """Bound on memory in bytes; None: the first worker's share of what is free."""
    sharing: int = 1
    """Workers that share a device's memory."""
    max_rows: int | None = None
    """Most rows of a batch of the checkpoint's; None: the engine's own choice."""
    dtype: Dtype | None = None
    """Number format of the checkpoint; None: the plan's."""

    @property
    def settled(self) -> bool:
        """Whether all workers can start at once: the memory bound is known."""
        return self.memory is not None

    def after(self, facts: StackFacts) -> StackRecipe:
        """Return what further workers load: batches are cut to the first one's bound."""
        return replace(self, memory=facts.memory)

    def open(self, place: int) -> Opened:
        """Load them, in a worker.

        Raises:
            IncompleteError: torch or transformers is not installed there.
            ReceiptsError: They cannot be loaded, or are not the plan's.
        """
        resolved = self.plan.resolve()
        try:
            from safety_receipts.runner.engines.identity import read_kernels, set_threads  # noqa: PLC0415  # loads torch
            from safety_receipts.runner.run.stack import load_stack  # noqa: PLC0415  # loads torch
        except ImportError as error:
            raise IncompleteError(f"a worker cannot import what it needs: {error}") from None
        set_threads(self.threads)
        device = device_of(self.device, place)
        loaded = load_stack(
            resolved,
            device=device,
            memory=self.memory,
            allow_pickle=self.plan.allow_pickle,
            max_rows=self.max_rows,
            dtype=self.dtype,
            own_judges=True,  # a run whose judge asks a server takes no workers
            sharing=self.sharing,
        )
        found = loaded.stack.identity
        environment = environment_of(found, resolved.predicate, loaded.memory)
        return Opened(
            StackHand(resolved, loaded, self, device),
            {**stack_of(environment), **read_kernels()},
            StackFacts(found, loaded.memory, loaded.notes, loaded.judge_bounds),
        )


def device_of(kind: str, place: int) -> str:
    """Return the name of a worker's device."""
    return f"{kind}:{place}" if kind == "cuda" else kind


def own_identity(facts: Any, plan: PlanPredicate) -> Mapping[str, str]:
    """Return what this process would state of a worker's engine."""
    return stack_of(environment_of(facts.identity, plan, facts.memory))
