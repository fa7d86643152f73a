"""Loading what a run is made with: the checkpoint, the judges."""

from __future__ import annotations

from pathlib import Path

from safety_receipts.receipts.model.checkpoint import Dtype
from safety_receipts.receipts.model.judge import JudgeIdentity
from safety_receipts.runner.engines.batches import default_memory
from safety_receipts.runner.engines.load import load_model
from safety_receipts.runner.engines.transformers_engine import TransformersEngine
from safety_receipts.runner.judges.judge import Judge
from safety_receipts.runner.judges.make import load_judge
from safety_receipts.runner.plan.resolved import ResolvedPlan
from safety_receipts.runner.prompts.responses import reader_of
from safety_receipts.runner.run.event import LoadedStack
from safety_receipts.runner.run.execute import Stack


def load_stack(
    resolved: ResolvedPlan,
    *,
    device: str | None = None,
    memory: int | None = None,
    allow_pickle: bool = False,
    max_rows: int | None = None,
    dtype: Dtype | None = None,
) -> LoadedStack:
    """Load the checkpoint and the judges of a plan.

    Args:
        resolved: The plan.
        device: ``cpu``, ``cuda``, ``cuda:1``, ``mps``; None: an accelerator if there is one.
        memory: Bound on the memory of the engine, and of each judge, in bytes; None: a share
            of what is free.
        allow_pickle: Whether weights may be pickles.
        max_rows: Most rows of a batch of the checkpoint's; None: the engine's own choice.
        dtype: Number format of the checkpoint; None: the plan's.

    Raises:
        ReceiptsError: A model cannot be loaded.
    """
    plan, artifacts = resolved.predicate, resolved.artifacts
    model = load_model(
        artifacts.checkpoint.folder,
        dtype=dtype or plan.checkpoint.dtype,
        device=device or "auto",
        allow_pickle=allow_pickle,
    )
    if memory is None:
        # Engine and judges work in turn, but what one has taken is not given back: each gets
        # its part of what is free.
        folders = (artifacts.judge_folder, artifacts.second_judge_folder)
        models = 1 + sum(folder is not None for folder in folders)
        memory = default_memory(model.device) // models
    engine = TransformersEngine(model, memory=memory, max_rows=max_rows)

    def judge_of(identity: JudgeIdentity, folder: Path | None) -> Judge:
        return load_judge(identity, folder, device=device, memory=memory, allow_pickle=allow_pickle)

    judge = judge_of(plan.judge, artifacts.judge_folder)
    second = plan.judge.second
    second_judge = None if second is None else judge_of(second, artifacts.second_judge_folder)
    reader = reader_of(artifacts.texts.chat, plan)
    notes = []
    if engine.not_shared is not None:
        notes.append(
            f"every prompt is computed whole, as prefixes cannot be shared: {engine.not_shared}"
        )
    return LoadedStack(Stack(engine, judge, second_judge, reader), memory, tuple(notes))
