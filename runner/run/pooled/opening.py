"""Starting workers for a plan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from safety_receipts.receipts.errors import UsageError
from safety_receipts.receipts.model.checkpoint import Dtype
from safety_receipts.receipts.model.plan import EngineKind, PlanPredicate, is_served
from safety_receipts.runner.plan.file import load_plan_file
from safety_receipts.runner.plan.resolved import ResolvedPlan
from safety_receipts.runner.pool.places import WorkerPlaces
from safety_receipts.runner.pool.pool import WorkerPool, unlike
from safety_receipts.runner.pool.processes import Processes
from safety_receipts.runner.run.loaded import LoadedStack
from safety_receipts.runner.run.pooled.recipe import HeldPlan, StackFacts, StackRecipe, own_identity
from safety_receipts.runner.run.pooled.stack import PooledStack


@dataclass(frozen=True)
class WorkersAsked:
    """Which workers a user asks for."""

    workers: int
    """How many, at least one."""
    ray: str | None = None
    """Address of the Ray cluster that they are to run on; None: processes of this host."""

    def places(self, device: str, threads: int) -> WorkerPlaces:
        """Return where workers are started.

        Args:
            device: Kind of device that each takes.
            threads: Threads of each.

        Raises:
            IncompleteError: Ray is not installed.
            UsageError: There is no such cluster.
        """
        if self.ray is None:
            return Processes()
        from safety_receipts.runner.pool.cluster import Cluster  # noqa: PLC0415  # loads ray

        return Cluster(self.ray, self.workers, threads=threads, gpu=device == "cuda")


@dataclass(frozen=True)
class WorkerOptions:
    """What a user decides about the engines in workers."""

    asked: WorkersAsked
    """Which workers."""
    device: str | None = None
    """``cpu``, ``cuda``, ``mps``; None: an accelerator if there is one here."""
    allow_pickle: bool = False
    """Whether weights may be pickles."""
    max_rows: int | None = None
    """Most rows of a batch of the checkpoint's; None: the engine's own choice."""
    dtype: Dtype | None = None
    """Number format of the checkpoint; None: the plan's."""

    def recipe(
        self, resolved: ResolvedPlan, memory: int | None, sealed: PlanPredicate | None = None
    ) -> StackRecipe:
        """Return what each worker loads.

        Args:
            resolved: The plan, resolved here; what workers find is held to it.
            memory: Bound on memory in bytes; None: a share of what is free.
            sealed: The sealed plan that folders are held to before anything of them is run; None:
                there is none yet.

        Raises:
            UsageError: The plan's engine takes no workers, or there are too few devices.
        """
        device = worker_device(self.device, self.asked)
        refuse_served(resolved.predicate)
        return StackRecipe(
            HeldPlan(Path(resolved.file).absolute(), resolved.predicate, sealed, self.allow_pickle),
            device,
            own_threads(),
            memory,
            sharing=1 if device == "cuda" else self.asked.workers,
            max_rows=self.max_rows,
            dtype=self.dtype,
        )


def own_threads() -> int:
    """Return with how many threads torch computes in this process, and so in its workers."""
    from safety_receipts.runner.engines.identity import read_threads  # noqa: PLC0415  # loads torch

    return read_threads()


def refuse_served(plan: PlanPredicate) -> None:
    """Refuse workers for an engine that is a server.

    Raises:
        UsageError: It is one.
    """
    _refuse_engine(plan.engine)


def _refuse_engine(engine: EngineKind) -> None:
    if is_served(engine):
        raise UsageError(
            f"the engine {engine.value} is a server, which takes many requests at once by "
            "itself, and no --workers",
            hint="leave --workers out; the plan's engine.concurrency says how many requests the "
            "server is asked at a time",
        )


def refuse_served_file(file: Path, *, judges: bool) -> None:
    """Refuse workers for a plan file that names a server, before anything is hashed.

    Args:
        file: The plan file.
        judges: Whether the judges' servers are asked as well.

    Raises:
        UsageError: It names one.
        ReceiptsError: As :func:`runner.plan.file.load_plan_file`.
    """
    entries, _ = load_plan_file(file)
    _refuse_engine(entries.engine.kind)
    if judges:
        second = entries.judge.second
        _refuse_judges(entries.judge.server, None if second is None else second.server)


def refuse_served_judges(plan: PlanPredicate) -> None:
    """Refuse workers for a run whose judge asks a server.

    Raises:
        UsageError: One does.
    """
    _refuse_judges(plan.judge_server, plan.second_judge_server)


def _refuse_judges(first: object | None, second: object | None) -> None:
    for whose, server in (("judge", first), ("second judge", second)):
        if server is not None:
            raise UsageError(
                f"the {whose} asks a server, which takes many requests at once by itself, and no "
                "--workers",
                hint="leave --workers out, or the judge's server out of the plan",
            )


def worker_device(name: str | None, asked: WorkersAsked) -> str:
    """Return the kind of device that workers take, one each where it is an accelerator.

    Args:
        name: What the user named; None: nothing.
        asked: Which workers.

    Raises:
        UsageError: It is a single device, or there are fewer of its kind than workers.
    """
    from safety_receipts.runner.engines.load import device_count, resolve_device  # noqa: PLC0415  # loads torch

    kind, _, index = (name or "").partition(":")
    if asked.ray is None or name is None:
        kind = resolve_device(name or "auto").type
    if index and asked.workers > 1:
        raise UsageError(
            f"--device {name} is one device, and each worker takes its own",
            hint=f"--device {kind}, or one worker",
        )
    if asked.ray is None and kind != "cpu" and asked.workers > device_count(kind):
        raise UsageError(
            f"{asked.workers} workers take a device each, and there are {device_count(kind)} of "
            f"{kind} here",
            hint="ask for fewer --workers",
        )
    return kind


def load_pooled(
    recipe: StackRecipe,
    asked: WorkersAsked,
    pool: Callable[[WorkerPool], WorkerPool],
    told: Callable[[str], None] = lambda _: None,
) -> LoadedStack[PooledStack]:
    """Start workers for a plan and wait until the first one has loaded.

    Args:
        recipe: What each loads.
        asked: Which workers.
        pool: Given the pool before anything is started: whoever calls closes it.
        told: Told of every worker that is replaced, or seems to hang.

    Raises:
        UsageError: A worker is not like the first one, or this process not like the workers.
        ReceiptsError: It cannot be loaded.
    """
    places = asked.places(recipe.device, recipe.threads)
    workers = pool(WorkerPool(places, recipe, asked.workers, told))
    facts: StackFacts = workers.open()
    refuse_unlike(workers, facts, recipe.plan.predicate)
    stack = PooledStack(workers, facts.identity)
    return LoadedStack(stack, facts.memory, facts.notes, judge_bounds=facts.judge_bounds)


def refuse_unlike(pool: WorkerPool, facts: StackFacts, plan: PlanPredicate) -> None:
    """Refuse workers of which the receipt would state what is not so.

    Raises:
        UsageError: This program, Python or system is another there.
    """
    own = own_identity(facts, plan)
    theirs = {key: value for key, value in pool.identity.items() if key in own}
    difference = unlike(own, theirs)
    if difference is not None:
        raise UsageError(
            f"a worker has {difference.replace('the first', 'this process')}",
            hint="install the same versions where workers run",
        )
