"""Loading the judges of a plan, here or behind its servers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from safety_receipts.receipts.model.judge import JudgeIdentity
from safety_receipts.runner.engines.served.options import NamedServer
from safety_receipts.runner.judges.judge import ResponseJudge, served_judge
from safety_receipts.runner.judges.make import load_judge
from safety_receipts.runner.plan.artifacts import Artifacts
from safety_receipts.runner.plan.resolved import ResolvedPlan


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
