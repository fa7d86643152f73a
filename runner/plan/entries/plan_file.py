"""The whole of a plan file."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from safety_receipts.receipts.documents.written import DecimalNumber
from safety_receipts.receipts.model.base import Name
from safety_receipts.receipts.model.checkpoint import ContextOverflow
from safety_receipts.receipts.model.plan import EvidenceAccess, Hypothesis
from safety_receipts.runner.plan.entries.base import PlanModel
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
    """A plan file, as a person writes it."""

    version: Annotated[Literal[1], BeforeValidator(_version)]
    """Version of the plan file's format."""
    name: Name
    """Title of the evaluation."""
    primary: Hypothesis
    """The hypothesis that is named before the run; all others are corrected for multiple
    testing."""
    evidence_access: EvidenceAccess = EvidenceAccess.AUDITORS
    checkpoint: CheckpointEntry
    engine: EngineEntry = EngineEntry()
    prompt: PromptEntry = PromptEntry()
    sampling: SamplingEntry
    queries: Annotated[tuple[QueryEntry, ...], Field(min_length=1, max_length=64)]
    """Corpora of evaluation queries, pooled in this order."""
    queries_repeated: Literal["keep", "first"] = "keep"
    """What happens to a request that several corpora ask.  ``keep``: each of them asks it, and it
    counts once for intervals and tests; ``first``: only the first of them asks it."""
    demonstrations: DemonstrationsEntry
    judge: JudgeEntry
    experiments: Annotated[tuple[ExperimentEntry, ...], Field(min_length=1, max_length=256)]
    """The experiments, which say what is varied; the baseline without demonstrations is always
    added."""
    effect_margin: DecimalNumber = "0.05"
    """Equivalence margin: an effect is called ``none`` where β2 is shown to lie within ± this
    value."""
    context_overflow: ContextOverflow = ContextOverflow.ABORT
