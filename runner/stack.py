"""Loading what a run is made with: the judges, the checkpoint."""

from __future__ import annotations

from pathlib import Path

from receipts.model.judge import JudgeIdentity
from runner.engines.transformers_engine import TransformersEngine
from runner.event import LoadedStack
from runner.execute import Stack
from runner.judges.judge import Judge
from runner.judges.make import load_judge
from runner.plan import ResolvedPlan
from runner.responses import ResponseReader


def load_stack(
    resolved: ResolvedPlan,
    *,
    device: str | None = None,
    memory: int | None = None,
    allow_pickle: bool = False,
) -> LoadedStack:
    """Load the judges and the checkpoint of a plan.

    Args:
        resolved: The plan.
        device: ``cpu``, ``cuda``, ``cuda:1``, ``mps``; None: an accelerator if there is one.
        memory: Bound on the engine's memory in bytes; None: the engine's own choice.
        allow_pickle: Whether weights may be pickles.

    Raises:
        ReceiptsError: A model cannot be loaded.
    """
    plan, artifacts = resolved.predicate, resolved.artifacts

    def judge_of(identity: JudgeIdentity, folder: Path | None) -> Judge:
        return load_judge(identity, folder, device=device, memory=memory, allow_pickle=allow_pickle)

    judge = judge_of(plan.judge, artifacts.judge_folder)
    second = None
    if plan.judge.second is not None:
        second = judge_of(plan.judge.second, artifacts.second_judge_folder)
    # Last, so that the engine's own choice is a share of what the judges leave.
    engine = TransformersEngine.from_folder(
        artifacts.folder,
        dtype=plan.checkpoint.dtype,
        device=device or "auto",
        memory=memory,
        allow_pickle=allow_pickle,
    )
    reader = ResponseReader(artifacts.chat, frozenset(plan.sampling.end_tokens))
    return LoadedStack(Stack(engine, judge, second, reader), engine.memory)
