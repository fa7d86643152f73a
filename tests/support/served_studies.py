"""Studies whose responses a server gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

from id_server import IdServer
from running import Quiet
from studies import write_study

from safety_receipts.receipts.model.plan import ServerDialect
from safety_receipts.runner.engines.served.client import Patience
from safety_receipts.runner.engines.served.generation import UNIT
from safety_receipts.runner.engines.served.options import ServerPlace
from safety_receipts.runner.plan.resolve import resolve_plan
from safety_receipts.runner.plan.resolved import ResolvedPlan

QUICK = Patience(seconds=2.0, token_seconds=0.05, attempts=3, pause=0.01)
"""A test does not wait for minutes."""


@dataclass
class ServedStudy:
    """A study whose responses a server gives."""

    server: IdServer
    folder: Path
    settings: dict[str, object]
    dialect: ServerDialect = ServerDialect.VLLM

    def resolved(self, *, url: str | None = None, model: str = "model") -> ResolvedPlan:
        """Return its plan, resolved, for a client of little patience."""
        entry = (
            f"engine: {{kind: http, dialect: {self.dialect.value}, "
            f"url: '{url or self.server.url}', model: {model}, concurrency: 4}}\n"
        )
        plan = write_study(self.folder, **self.settings, more=entry)  # type: ignore[arg-type]
        resolved = resolve_plan(plan)
        place = resolved.artifacts.server
        assert isinstance(place, ServerPlace)
        artifacts = replace(resolved.artifacts, server=replace(place, patience=QUICK))
        return replace(resolved, artifacts=artifacts)

    def local(self) -> ResolvedPlan:
        """Return the same plan for the engine of this process."""
        return resolve_plan(write_study(self.folder, **self.settings))  # type: ignore[arg-type]


def after_first_unit(watcher: Quiet) -> Callable[[], bool]:
    """Return what says of each of a run's requests, asked in turn, whether a unit was answered.

    What was answered is committed whatever follows it: nobody has to wait for that.
    """
    asked = count()
    # Several are in flight, and any of them may come last.
    return lambda: watcher.begun and next(asked) >= UNIT + UNIT // 2


ServedStudies = Callable[..., ServedStudy]
