"""The whole of a plan file."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from safety_receipts.receipts.model.base import Name
from safety_receipts.receipts.model.checkpoint import ContextOverflow
from safety_receipts.receipts.model.plan import EvidenceAccess, Hypothesis
from safety_receipts.runner.plan.entries.base import DecimalNumber, PlanModel
from safety_receipts.runner.plan.entries.corpora import QueryEntry
from safety_receipts.runner.plan.entries.demonstrations import DemonstrationsEntry
from safety_receipts.runner.plan.entries.experiments import ExperimentEntry
from safety_receipts.runner.plan.entries.judge import JudgeEntry
from safety_receipts.runner.plan.entries.model import CheckpointEntry, EngineEntry
from safety_receipts.runner.plan.entries.prompt import PromptEntry
from safety_receipts.runner.plan.entries.sampling import SamplingEntry


def _version(value: Any) -> Any:
    if type(value) is not int or value != 1:
        raise ValueError("should be 1, the only version there is")
    return value


class PlanFile(PlanModel):
    """A plan as written."""

    version: Annotated[Literal[1], BeforeValidator(_version)]
    """Version of the plan file's form."""
    name: Name
    """What people call the plan."""
    primary: Hypothesis
    """The hypothesis named before the run."""
    evidence_access: EvidenceAccess = EvidenceAccess.AUDITORS
    checkpoint: CheckpointEntry
    engine: EngineEntry = EngineEntry()
    prompt: PromptEntry = PromptEntry()
    sampling: SamplingEntry
    queries: Annotated[tuple[QueryEntry, ...], Field(min_length=1, max_length=64)]
    """Corpora of evaluation queries, pooled in this order."""
    queries_repeated: Literal["keep", "first"] = "keep"
    """A request that several of them ask: keep, each does, and it counts once for intervals and
    tests; first, only the first of them asks it."""
    demonstrations: DemonstrationsEntry
    judge: JudgeEntry
    experiments: Annotated[tuple[ExperimentEntry, ...], Field(min_length=1, max_length=256)]
    """What is varied; the baseline without demonstrations is always added."""
    effect_margin: DecimalNumber = "0.05"
    """An effect |β2| that lies below this, with confidence, is called none."""
    context_overflow: ContextOverflow = ContextOverflow.ABORT
