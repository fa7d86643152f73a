"""A plan file, resolved: what is sealed, and what it stands for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from safety_receipts.receipts.model.plan import PlanPredicate
from safety_receipts.runner.plan.artifacts import Artifacts
from safety_receipts.runner.vocabulary.refusal import NONE_REWRITES, RewritingFolders
from safety_receipts.runner.warnings import PlanWarning


@dataclass(frozen=True)
class ResolvedPlan:
    """A plan ready to be sealed, with what it stands for."""

    predicate: PlanPredicate
    """What is sealed."""
    artifacts: Artifacts
    """What it stands for on this machine."""
    file: Path
    """The plan file."""
    warnings: tuple[PlanWarning, ...] = ()
    """What its inputs leave in doubt."""
    rewriting: RewritingFolders = NONE_REWRITES
    """Which judges' tokenizers are refused, although the folders are those that a sealed plan
    names."""


@dataclass(frozen=True)
class UnrunPlan:
    """A plan file whose checkpoint is another than a sealed plan's: nothing of it was run."""

    predicate: PlanPredicate
    """What follows from files that were read; what would follow from running the checkpoint's
    template, tokenizer or configuration is the sealed plan's."""
    folder: Path
    """The checkpoint."""
    file: Path
    """The plan file."""
    rewriting: RewritingFolders = NONE_REWRITES
    """Whose tokenizers are refused, although the folders are those that a sealed plan names."""

    @property
    def why(self) -> str:
        """Why nothing of the checkpoint was run."""
        return NOT_RUN if self.rewriting.model is None else REWRITES


NOT_RUN = "the checkpoint is not the plan's, so nothing of it is run"
REWRITES = "the checkpoint's tokenizer may rewrite texts, so nothing of it is run"
"""What is said of everything that would follow from running it."""
