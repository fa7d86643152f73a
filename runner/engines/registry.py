"""How every kind of engine is loaded; reading it loads no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import assert_never

from safety_receipts.receipts.model.checkpoint import Dtype
from safety_receipts.receipts.model.plan import EngineKind
from safety_receipts.runner.engines.engine import Engine


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
    has taken is not given back."""
    max_rows: int | None
    """Most rows of a batch; None: the engine's own choice."""


@dataclass(frozen=True)
class LoadedEngine:
    """An engine, and what is to be said of it."""

    engine: Engine
    """The engine."""
    memory: int
    """Bound on its memory in bytes, and on that of each model beside it."""
    not_shared: str | None
    """Why prompts that begin alike are each computed whole; None: they are not."""


LoadEngine = Callable[[EngineOptions], LoadedEngine]
"""Loads an engine; raises :class:`receipts.errors.ReceiptsError` where it cannot."""


def loader_of(kind: EngineKind) -> LoadEngine | None:
    """Return what loads a kind of engine for a plan; None: no plan can be run on it."""
    match kind:
        case EngineKind.TRANSFORMERS:
            return _transformers
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
    memory = (
        default_memory(model.device) // options.models if options.memory is None else options.memory
    )
    engine = TransformersEngine(model, memory=memory, max_rows=options.max_rows)
    return LoadedEngine(engine, memory, engine.not_shared)
