"""Loading what a run is made with: the checkpoint, the judges."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from safety_receipts.receipts.errors import UsageError
from safety_receipts.receipts.model.checkpoint import Dtype
from safety_receipts.receipts.model.judge import JudgeIdentity
from safety_receipts.receipts.model.plan import PlanPredicate
from safety_receipts.runner.engines.engine import ServedEngine
from safety_receipts.runner.engines.registry import LOCAL, EngineOptions, ServedOptions, loader_of
from safety_receipts.runner.engines.served.http_engine import ServedModel
from safety_receipts.runner.engines.served.options import NamedServer
from safety_receipts.runner.judges.judge import ResponseJudge, served_judge
from safety_receipts.runner.judges.make import load_judge
from safety_receipts.runner.plan.artifacts import Artifacts
from safety_receipts.runner.plan.resolved import ResolvedPlan
from safety_receipts.runner.prompts.responses import reader_of
from safety_receipts.runner.run.event import LoadedStack
from safety_receipts.runner.run.execute import RunStack
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
    with ExitStack() as started:
        loaded = load(
            EngineOptions(
                folder=artifacts.checkpoint.folder,
                dtype=dtype or plan.checkpoint.dtype,
                device=device,
                allow_pickle=allow_pickle,
                memory=memory,
                models=sharing * (1 + models_here(artifacts, own=own_judges)),
                max_rows=max_rows,
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
    return LoadedStack(stack, loaded.memory, tuple(notes), close)


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


@dataclass(frozen=True)
class JudgeSettings:
    """How judges are loaded."""

    device: str | None = None
    """``cpu``, ``cuda``, ``cuda:1``, ``mps``; None: an accelerator if there is one."""
    memory: int | None = None
    """Bound on the memory of each judge's engine in bytes; None: the engine's own choice."""
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
    with ExitStack() as started:

        def load(
            identity: JudgeIdentity, folder: Path | None, server: NamedServer | None
        ) -> ResponseJudge:
            judge = load_judge(
                identity,
                folder,
                device=settings.device,
                memory=settings.memory,
                allow_pickle=settings.allow_pickle,
                server=None if settings.own else server,
            )
            if (served := served_judge(judge)) is not None:
                started.callback(served.server.close)
            return judge

        first = load(plan.judge, artifacts.judge_folder, artifacts.judge_server)
        second = None
        if plan.judge.second is not None:
            folder, server = artifacts.second_judge_folder, artifacts.second_judge_server
            second = load(plan.judge.second, folder, server)
        yield PlanJudges(first, second)


def models_here(artifacts: Artifacts, *, own: bool) -> int:
    """Return how many judges take memory of this process.

    Args:
        artifacts: The plan's.
        own: Whether weights are loaded here, whatever servers the plan names.
    """
    named = (
        (artifacts.judge_folder, artifacts.judge_server),
        (artifacts.second_judge_folder, artifacts.second_judge_server),
    )
    return sum(folder is not None and (own or server is None) for folder, server in named)
