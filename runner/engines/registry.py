"""How every kind of engine is loaded; reading it loads no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, assert_never

from safety_receipts.receipts.errors import UsageError
from safety_receipts.receipts.model.checkpoint import Dtype
from safety_receipts.receipts.model.plan import EngineKind, PlannedServer
from safety_receipts.runner.engines.engine import Engine
from safety_receipts.runner.engines.served.options import ServedModel, ServerPlace


@dataclass(frozen=True)
class ServedOptions:
    """What an engine behind a server needs."""

    server: PlannedServer
    """What the plan says of the server."""
    place: ServerPlace
    """Where it is."""
    model: ServedModel
    """What is known of its model."""


@dataclass(frozen=True)
class EngineOptions:
    """What is to be loaded, and how."""

    folder: Path
    """The checkpoint."""
    dtype: Dtype
    """Number format to run in."""
    device: str | None
    """``cpu``, ``cuda``, ``cuda:1``, ``mps``; None: an accelerator if there is one."""
    allow_pickle: bool
    """Whether weights may be pickles."""
    memory: int | None
    """Bound on the engine's memory in bytes; None: its part of what is free."""
    models: int
    """Models that share what is free, the engine's own among them: they work in turn, but what one
    has taken is not given back.  The engine gets one part in so many at least."""
    max_rows: int | None
    """Most rows of a batch; None: the engine's own choice."""
    served: ServedOptions | None = None
    """What an engine behind a server needs besides; None: it is in this process."""
    beside: int | None = None
    """Bytes that the other models take, weights and room to work in: the engine gets what they
    leave; None: it is not known."""


@dataclass(frozen=True)
class LoadedEngine:
    """An engine, and what is to be said of it."""

    engine: Engine
    """The engine."""
    memory: int | None
    """Bound on its memory in bytes, and on that of each model beside it, which may need less; None:
    it needs none here, and the others choose."""
    not_shared: str | None
    """Why prompts that begin alike are each computed whole; None: they are not."""


LOCAL: Final = EngineKind.TRANSFORMERS
"""What loads any checkpoint's folder into this process."""

LoadEngine = Callable[[EngineOptions], LoadedEngine]
"""Loads an engine; raises :class:`receipts.errors.ReceiptsError` where it cannot."""


def loader_of(kind: EngineKind) -> LoadEngine | None:
    """Return what loads a kind of engine for a plan; None: no plan can be run on it."""
    match kind:
        case EngineKind.TRANSFORMERS:
            return _transformers
        case EngineKind.HTTP:
            return _http
        case EngineKind.OPENAI | EngineKind.MOCK:
            return None
        case _:
            assert_never(kind)


def _transformers(options: EngineOptions) -> LoadedEngine:
    from safety_receipts.runner.engines.batches import default_memory  # noqa: PLC0415 (torch)
    from safety_receipts.runner.engines.load import load_model  # noqa: PLC0415 (torch)
    from safety_receipts.runner.engines.transformers_engine import (  # noqa: PLC0415 (torch)
        TransformersEngine,
    )

    model = load_model(
        options.folder,
        dtype=options.dtype,
        device=options.device or "auto",
        allow_pickle=options.allow_pickle,
    )
    memory = options.memory
    if memory is None:
        free = default_memory(model.device)
        left = 0 if options.beside is None else free - options.beside
        memory = max(free // options.models, left)
    engine = TransformersEngine(model, memory=memory, max_rows=options.max_rows)
    return LoadedEngine(engine, memory, engine.not_shared)


def _http(options: EngineOptions) -> LoadedEngine:
    from safety_receipts.runner.engines.served.load import load_server  # noqa: PLC0415  # starts programs

    if options.served is None:
        raise UsageError("the plan names no server, or not where it is")
    served = options.served
    engine = load_server(served.server, served.place, served.model, options.folder)
    return LoadedEngine(engine, options.memory, None)
