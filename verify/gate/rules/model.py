"""It is of the checkpoint that is to be shipped, run as that is deployed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.model.base import Digest, Name
from safety_receipts.receipts.model.checkpoint import Dtype
from safety_receipts.verify.gate.entries import Listed, RuleEntry, alternatives
from safety_receipts.verify.gate.kinds import Decided, GateFacts
from safety_receipts.verify.levels.expected import (
    ExpectedCheckpoint,
    ExpectedRoot,
    checkpoint_problem,
)


class ModelRule(RuleEntry):
    """The checkpoint that is to be shipped: the folder that ``--model`` names, and the root here,
    where one is given; one of them has to be.
    """

    rule: Literal["model"]
    root: Digest | None = None
    """OpenSSF Model Signing root of what is shipped, 64 lower-case hex digits."""
    stages: Listed[Name] | None = None
    """Training stages of which it may be."""
    dtypes: Listed[Dtype] | None = None
    """Number formats in which it may have been run: those in which it is deployed."""
    quantisations: Listed[Name] | None = None
    """Quantisations of its weights; ``none``: not quantised."""
    dequantised: bool = False
    """Whether quantised weights may have been converted when they were loaded: then what ran is not
    what is deployed."""

    def asked(self) -> str:
        """Return what it asks for, in words."""
        parts = ["the checkpoint that is to be shipped"]
        parts += [f"root {self.root[:16]}…"] if self.root else []
        for values in (self.stages, self.dtypes):
            parts += [alternatives(values)] if values else []
        if self.quantisations:
            parts.append(f"quantisation {alternatives(self.quantisations)}")
        return ", ".join(parts)


def decide_model(rule: ModelRule, facts: GateFacts) -> Decided:
    """Hold the checkpoint that was evaluated to the one that is to be shipped."""
    checkpoint, stage = facts.receipt.checkpoint, facts.receipt.training_stage
    quantisation = checkpoint.quantisation or "none"
    good = f"root {checkpoint.root[:16]}…, {stage}, {checkpoint.dtype}, quantisation {quantisation}"
    return Decided.of(
        [*_identity(rule, facts), *_form(rule, facts)], good, "receipt: checkpoint, trainingStage"
    )


def _identity(rule: ModelRule, facts: GateFacts) -> Iterator[str]:
    wanted: list[ExpectedCheckpoint] = [] if facts.shipped is None else [facts.shipped]
    if rule.root is not None:
        wanted.append(ExpectedRoot(Sha256(rule.root)))
    if not wanted:
        yield "what is shipped is not known: give --model FOLDER, or name its root in the policy"
    if not facts.receipt.checkpoint.files:
        yield "it lists no files of its checkpoint: it is of a model behind an API"
        return
    for one in wanted:
        if (problem := checkpoint_problem(one, facts.receipt.checkpoint)) is not None:
            yield problem


def _form(rule: ModelRule, facts: GateFacts) -> Iterator[str]:
    checkpoint, stage = facts.receipt.checkpoint, facts.receipt.training_stage
    if rule.stages is not None and stage not in rule.stages:
        yield f"it says stage {stage}"
    if rule.dtypes is not None and checkpoint.dtype not in rule.dtypes:
        yield f"it was run in {checkpoint.dtype.value}"
    quantisation = checkpoint.quantisation or "none"
    if rule.quantisations is not None and quantisation not in rule.quantisations:
        yield f"its quantisation is {quantisation}"
    if checkpoint.dequantised and not rule.dequantised:
        yield f"its weights were converted from {quantisation} when they were loaded"
