"""What a run is made with, as it is loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from safety_receipts.runner.plan.resolved import ResolvedPlan
from safety_receipts.runner.run.judging import UnitStack

StackT_co = TypeVar("StackT_co", bound=UnitStack, covariant=True)

MakeStack = Callable[[ResolvedPlan, int | None], "LoadedStack[UnitStack]"]
"""Loads models, given the bound on their memory in bytes (None: a share of what is free)."""


@dataclass(frozen=True)
class LoadedStack(Generic[StackT_co]):
    """What a run is made with, and its memory bound."""

    stack: StackT_co
    """Engine, judges, reader."""
    memory: int | None
    """Bound on the memory of the engine, and of each judge, in bytes; None: there is none."""
    notes: tuple[str, ...] = ()
    """What a user should know of it, a line each."""
    close: Callable[[], None] = lambda: None
    """Ends what was started for it: a server."""
    judge_bounds: Mapping[str, str] = field(default_factory=dict)
    """The bounds on the memory of judges that generate here, by name: they cut batches, too, and a
    resumed run is held to them."""
