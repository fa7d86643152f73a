"""Studies whose judge asks a server."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from id_server import IdServer
from served_studies import QUICK
from studies import write_study

from safety_receipts.receipts.model.judge import JudgeKind
from safety_receipts.runner.engines.served.options import NamedServer
from safety_receipts.runner.judges.judge import Exchange
from safety_receipts.runner.plan.resolve import resolve_plan
from safety_receipts.runner.plan.resolved import ResolvedPlan

LEARNT = {
    Exchange(f"Hide the {thing} of row 0", response): refused
    for thing in ("lamp", "kite")
    for response, refused in (("Sorry, no.", True), ("Sure, take it.", False))
}
"""What the tests' judges learn."""


@dataclass
class JudgedStudy:
    """A study whose judge asks a server, or is run here."""

    server: IdServer
    folder: Path
    kind: JudgeKind
    settings: dict[str, object] = field(default_factory=dict)

    def entry(self, server: str | None = "") -> str:
        """Return the judge's entry; None: no server, empty: its own."""
        if server is None:
            return f"kind: {self.kind.value}, path: judge"
        named = server or f"dialect: vllm, url: '{self.server.url}', model: judge, concurrency: 4"
        return f"kind: {self.kind.value}, path: judge, server: {{{named}}}"

    def plan(self, judge: str) -> Path:
        """Write the plan file."""
        return write_study(self.folder, **self.settings, judge=f"{{{judge}}}")  # type: ignore[arg-type]

    def served(self, judge: str = "") -> ResolvedPlan:
        """Return the plan, resolved, for clients of little patience."""
        resolved = resolve_plan(self.plan(judge or self.entry()))
        first, second = (
            None if one is None else NamedServer(one.planned, replace(one.place, patience=QUICK))
            for one in (resolved.artifacts.judge_server, resolved.artifacts.second_judge_server)
        )
        artifacts = replace(resolved.artifacts, judge_server=first, second_judge_server=second)
        return replace(resolved, artifacts=artifacts)

    def local(self) -> ResolvedPlan:
        """Return the same plan with the judge run here."""
        return resolve_plan(self.plan(self.entry(None)))


JudgedStudies = Callable[..., JudgedStudy]
"""A study, and a server of its judge."""


def with_judge(folder: Path, judge: Path) -> Path:
    """Put a judge into a study's folder, and return where."""
    shutil.copytree(judge, folder / "judge")
    return folder / "judge"
