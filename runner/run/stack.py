"""Loading what a run is made with: the checkpoint, the judges."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from safety_receipts.receipts.errors import UsageError
from safety_receipts.receipts.model.checkpoint import Dtype
from safety_receipts.receipts.model.judge import JudgeIdentity, traits_of
from safety_receipts.receipts.model.plan import PlanPredicate
from safety_receipts.runner.engines.engine import ServedEngine
from safety_receipts.runner.engines.registry import LOCAL, EngineOptions, ServedOptions, loader_of
from safety_receipts.runner.engines.served.options import NamedServer, ServedModel
from safety_receipts.runner.judges.judge import ResponseJudge, served_judge
from safety_receipts.runner.judges.make import load_judge
from safety_receipts.runner.judges.room import LongestJudged, judge_room
from safety_receipts.runner.plan.artifacts import Artifacts
from safety_receipts.runner.plan.resolved import ResolvedPlan
from safety_receipts.runner.prompts.responses import reader_of
from safety_receipts.runner.run.execute import RunStack
from safety_receipts.runner.run.loaded import LoadedStack
from safety_receipts.runner.run.requests import decoding_of


def load_stack(
    resolved: ResolvedPlan,
    *,
    device: str | None = None,
    memory: int | None = None,
    allow_pickle: bool = False,
    max_rows: int | None = None,
    dtype: Dtype | None = None,
    local: bool = False,
    own_judges: bool = False,
    sharing: int = 1,
) -> LoadedStack[RunStack]:
    """Load the checkpoint and the judges of a plan.

    Args:
        resolved: The plan.
        device: ``cpu``, ``cuda``, ``cuda:1``, ``mps``; None: an accelerator if there is one.
        memory: Bound on the memory of the engine, and of each judge, in bytes; None: a share
            of what is free.
        allow_pickle: Whether weights may be pickles.
        max_rows: Most rows of a batch of the checkpoint's; None: the engine's own choice.
        dtype: Number format of the checkpoint; None: the plan's.
        local: Load the checkpoint's weights here, whatever engine the plan names.
        own_judges: Load the judges' weights here, whatever servers the plan names.
        sharing: Processes that load the same on this device, and share what is free.

    Raises:
        ReceiptsError: A model cannot be loaded.
    """
    plan, artifacts = resolved.predicate, resolved.artifacts
    kind = LOCAL if local else plan.engine
    load = loader_of(kind)
    if load is None:
        raise UsageError(f"no plan can be run on the engine {kind.value} yet")
    here = judges_here(resolved, own=own_judges)
    beside = None
    if memory is None and sharing == 1:  # of other processes it is not known what they load
        beside = sum(judge_room(*judge, longest_judged(resolved), device).all for judge in here)
    with ExitStack() as started:
        loaded = load(
            EngineOptions(
                folder=artifacts.checkpoint.folder,
                dtype=dtype or plan.checkpoint.dtype,
                device=device,
                allow_pickle=allow_pickle,
                memory=memory,
                models=sharing * (1 + len(here)),
                max_rows=max_rows,
                beside=beside,
                served=None if local else _served(plan, artifacts),
            )
        )
        if isinstance(loaded.engine, ServedEngine):
            started.callback(loaded.engine.close)
        settings = JudgeSettings(
            device=device, memory=loaded.memory, allow_pickle=allow_pickle, own=own_judges
        )
        judges = started.enter_context(load_judges(resolved, settings))
        reader = reader_of(artifacts.texts.chat, plan)
        close = started.pop_all().close
    notes = []
    if loaded.not_shared is not None:
        notes.append(
            f"every prompt is computed whole, as prefixes cannot be shared: {loaded.not_shared}"
        )
    stack = RunStack(loaded.engine, judges.first, judges.second, reader)
    return LoadedStack(stack, loaded.memory, tuple(notes), close, judges.bounds)


def _served(plan: PlanPredicate, artifacts: Artifacts) -> ServedOptions | None:
    """Return what an engine behind a server needs; None: the plan names no server."""
    if plan.server is None or artifacts.server is None:
        return None
    facts = artifacts.checkpoint.facts
    model = ServedModel(
        vocabulary=facts.architecture.widths.vocabulary,
        context_limit=facts.context_limit,
        dtype=plan.checkpoint.dtype,
        end_tokens=frozenset(plan.sampling.end_tokens),
        decoding=decoding_of(plan.sampling),
    )
    return ServedOptions(plan.server, artifacts.server, model)


@dataclass(frozen=True)
class PlanJudges:
    """Who judges."""

    first: ResponseJudge
    """The judge."""
    second: ResponseJudge | None
    """Gives a second opinion; None: nobody does."""
    bounds: Mapping[str, str] = field(default_factory=dict)
    """The bounds on their memory, by name, as a resumed run is held to them: they cut batches."""


@dataclass(frozen=True)
class JudgeSettings:
    """How judges are loaded."""

    device: str | None = None
    """``cpu``, ``cuda``, ``cuda:1``, ``mps``; None: an accelerator if there is one."""
    memory: int | None = None
    """Bound on the memory of each judge's engine in bytes, which takes less where it needs less
    (:func:`runner.judges.room.judge_room`); None: the engine's own choice."""
    allow_pickle: bool = False
    """Whether weights may be pickles."""
    own: bool = False
    """Load weights here, whatever servers the plan names."""


@contextmanager
def load_judges(resolved: ResolvedPlan, settings: JudgeSettings) -> Iterator[PlanJudges]:
    """Load the judges of a plan; servers that are started for them end with the context.

    Raises:
        ReceiptsError: One cannot be loaded, or its server does not answer, or cannot be used.
    """
    plan, artifacts = resolved.predicate, resolved.artifacts
    bounds: dict[str, str] = {}
    with ExitStack() as started:

        def load(
            name: str, identity: JudgeIdentity, folder: Path | None, server: NamedServer | None
        ) -> ResponseJudge:
            server = None if settings.own else server
            memory = settings.memory
            if memory is not None and folder is not None and server is None:
                longest = longest_judged(resolved)
                room = judge_room(identity, folder, longest, settings.device)
                memory = min(memory, room.work)
                if traits_of(identity.kind).generates:
                    bounds[f"{name} memory"] = f"{memory} bytes"
            judge = load_judge(
                identity,
                folder,
                device=settings.device,
                memory=memory,
                allow_pickle=settings.allow_pickle,
                server=server,
            )
            if (served := served_judge(judge)) is not None:
                started.callback(served.server.close)
            return judge

        first = load("judge", plan.judge, artifacts.judge_folder, artifacts.judge_server)
        second = None
        if plan.judge.second is not None:
            folder, server = artifacts.second_judge_folder, artifacts.second_judge_server
            second = load("second judge", plan.judge.second, folder, server)
        yield PlanJudges(first, second, bounds)


def longest_judged(resolved: ResolvedPlan) -> LongestJudged:
    """Return the longest that a plan's judges are asked about."""
    queries = resolved.artifacts.texts.queries
    return LongestJudged.of(queries, resolved.predicate.sampling.max_new_tokens)


def judges_here(resolved: ResolvedPlan, *, own: bool) -> list[tuple[JudgeIdentity, Path]]:
    """Return the judges that take memory of this process, with their folders.

    Args:
        resolved: The plan.
        own: Whether weights are loaded here, whatever servers the plan names.
    """
    judge, artifacts = resolved.predicate.judge, resolved.artifacts
    named = (
        (judge, artifacts.judge_folder, artifacts.judge_server),
        (judge.second, artifacts.second_judge_folder, artifacts.second_judge_server),
    )
    return [
        (identity, folder)
        for identity, folder, server in named
        if identity is not None and folder is not None and (own or server is None)
    ]
