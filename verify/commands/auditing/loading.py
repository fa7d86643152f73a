"""What an audit is conducted with: engine and judge, here, in workers or behind a server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import assert_never

from safety_receipts.receipts.errors import UsageError
from safety_receipts.receipts.model.audit import AuditMethod, audit_traits
from safety_receipts.receipts.model.checkpoint import Dtype
from safety_receipts.receipts.model.plan import asked_of
from safety_receipts.receipts.present.output import Output
from safety_receipts.runner.commands.options import tell_crowded
from safety_receipts.runner.engines.engine import Engine, ServedEngine, Tried
from safety_receipts.runner.plan.resolved import ResolvedPlan
from safety_receipts.runner.run.execute import RunStack
from safety_receipts.runner.run.loaded import LoadedStack
from safety_receipts.runner.run.pooled.opening import WorkerOptions, WorkersAsked, load_pooled
from safety_receipts.runner.run.pooled.stack import PooledStack
from safety_receipts.verify.audit.session import AuditSubject
from safety_receipts.verify.commands.auditing.asked import AuditMachine


@dataclass(frozen=True)
class AuditModels:
    """Engine and judge of an audit."""

    loaded: LoadedStack[RunStack] | LoadedStack[PooledStack]
    """Both, here or in workers."""
    reference: Callable[[], Engine] | None = None
    """Loads the engine in fp32; None: it runs so, workers do that, or nothing can be reproduced."""
    tried: Tried | None = None
    """What trying the server showed; None: there is none."""


def load_models(
    subject: AuditSubject, machine: AuditMachine, method: AuditMethod, output: Output
) -> AuditModels:
    """Load engine and judge; try the server, where one is asked.

    Whatever engine wrote the responses, they are replayed with the weights of the auditor's
    folder.  A server that is started is ended with the machine's pools.

    Raises:
        ReceiptsError: A model cannot be loaded, or the server cannot be used.
    """
    if machine.workers is not None:
        return AuditModels(_load_pooled(subject, machine, machine.workers, output))
    served = asks_own_server(subject, method)
    resolved = _on_server(subject, machine.dtype) if served else subject.resolved
    from safety_receipts.runner.run.stack import load_stack  # noqa: PLC0415  # torch takes seconds to load

    def load(dtype: Dtype | None) -> LoadedStack[RunStack]:
        loaded = load_stack(
            resolved,
            device=machine.device,
            memory=machine.memory,
            allow_pickle=machine.allow_pickle,
            dtype=dtype,
            local=not served,
            own_judges=True,
        )
        machine.pools.callback(loaded.close)
        return loaded

    loaded = load(machine.dtype)
    engine, traits = loaded.stack.engine, audit_traits(method)
    exact = engine.identity.dtype is Dtype.FLOAT32
    if exact or not traits.by_weights:
        return AuditModels(loaded, None, _tried(subject, engine, scores=traits.scores))
    return AuditModels(loaded, lambda: load(Dtype.FLOAT32).stack.engine)


def asks_own_server(subject: AuditSubject, method: AuditMethod) -> bool:
    """Say whether the server of the auditor's plan file is asked."""
    match method:
        case AuditMethod.REPLAY:
            return False
        case AuditMethod.SERVER_SCORES:
            return True
        case AuditMethod.REGENERATE:
            return subject.server is not None
        case _:
            assert_never(method)


def refuse_workers(machine: AuditMachine, method: AuditMethod) -> None:
    """Refuse workers where a server scores.

    Raises:
        UsageError: Some are asked for.
    """
    if machine.workers is not None and method is AuditMethod.SERVER_SCORES:
        raise UsageError(
            "--score-by-server asks one server, which takes many requests at once by itself, and "
            "no --workers",
            hint="give the plan's engine a higher concurrency",
        )


def _on_server(subject: AuditSubject, dtype: Dtype | None) -> ResolvedPlan:
    """Return the sealed plan as the auditor's server runs it, whatever engine it names."""
    assert subject.server is not None  # or its terms were refused
    runs = asked_of(subject.plan, subject.server, dtype or subject.dtype(served=True))
    return replace(subject.resolved, predicate=runs)


def _tried(subject: AuditSubject, engine: Engine, *, scores: bool) -> Tried | None:
    """Try a server for what the audit relies on, before anything is announced.

    Raises:
        ReceiptsError: It cannot be used.
    """
    if not isinstance(engine, ServedEngine):
        return None
    prompt, whole = subject.longest()
    if scores:
        engine.preflight_scores(whole)
    return engine.preflight(prompt, subject.plan.sampling.max_new_tokens)


def _load_pooled(
    subject: AuditSubject, machine: AuditMachine, asked: WorkersAsked, output: Output
) -> LoadedStack[PooledStack]:
    """Start workers that load engine and judge."""
    found = subject.found
    assert found is not None  # the subject is of a plan file
    options = WorkerOptions(
        asked, device=machine.device, allow_pickle=machine.allow_pickle, dtype=machine.dtype
    )
    resolved = replace(subject.resolved, predicate=found)
    recipe = options.recipe(resolved, machine.memory, subject.plan)
    tell_crowded(asked, recipe.device, recipe.threads, output)
    return load_pooled(recipe, asked, machine.pools.enter_context, output.note)
