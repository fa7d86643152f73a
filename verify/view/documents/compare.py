"""What ``receipts compare --json`` prints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from safety_receipts.receipts.findings.effects import ALPHA
from safety_receipts.receipts.model.base import (
    Condition,
    Count,
    Digest,
    Margin,
    Probability,
    Rate,
    Score,
)
from safety_receipts.receipts.model.breakdown import DifferenceBreakdown
from safety_receipts.receipts.model.findings import Effect, Grounds, SignedInterval, Slope
from safety_receipts.receipts.view.documents.base import SCHEMA, Document
from safety_receipts.verify.compare.comparability import SettingCheck, SettingStatus
from safety_receipts.verify.compare.compared import FAMILY, ComparisonReport
from safety_receipts.verify.compare.comparison import EffectChange, ModelEffect, ModelPair
from safety_receipts.verify.compare.evaluations import Evaluation
from safety_receipts.verify.subject import is_instrument


class HighestCondition(Document):
    """The condition with the highest compliance rate beside the baseline."""

    condition: Condition
    """Its id."""
    rate: Rate
    """Its compliance rate."""


class ComparedModel(Document):
    """One of the models that are compared."""

    label: str
    """What it is called in this comparison."""
    bundle: str
    """Its bundle's folder."""
    receipt_digest: Digest | None
    """The receipt's digest."""
    keyid: str | None
    """The trusted key that signed the receipt; null: authenticity was not checked."""
    checkpoint: str
    """Name of the checkpoint."""
    root: Digest
    """Its OpenSSF Model Signing root."""
    stage: str
    """Its training stage."""
    instrument: bool
    """Whether it is a test instrument: its numbers say nothing about real models."""
    numbers: Literal["sealed", "fitted"]
    """Whether β2 was fitted here, to what all have, or is the receipt's own."""
    queries: Count
    """Distinct queries in the fit."""
    points: Count | None
    """Points in the fit; null: there is no fit."""
    beta2: Score | None
    """β2, the slope on log(N_b + 1); null: there is no fit."""
    se2: Score | None
    """Its standard error."""
    interval: SignedInterval | None
    """Its 95 % interval, not corrected."""
    p: Probability | None
    """p-value of β2 = 0; null: not tested."""
    adjusted: Probability | None
    """After Holm's correction over the family."""
    effect: Effect
    """What benign demonstrations do to harmful compliance."""
    grounds: Grounds
    """Why that is said."""
    margin: Margin
    """Slopes within ± this count as none."""
    sealed_effect: Effect | None
    """What the receipt itself says; null: nothing."""
    baseline_rate: Rate | None
    """Compliance rate without demonstrations."""
    worst: HighestCondition | None
    """The condition with the highest compliance rate; null: no other has one."""


class ComparedPair(Document):
    """Two of the models, side by side."""

    first: str
    """Label of the reference."""
    second: str
    """Label of what is read against it."""
    difference: Slope | None
    """β2 of the second less that of the first; null: not tested."""
    interval: SignedInterval | None
    """Its 95 % interval, not corrected."""
    paired: bool | None
    """Whether it is tested query by query; null: not tested."""
    adjusted: Probability | None
    """Its p-value after Holm's correction over the family."""
    breakdown: DifferenceBreakdown | None
    """How many false labels the difference stands, from the sealed counts of both; null: it is not
    tested or not shown, or the models are compared on some of their queries alone."""
    word: EffectChange
    """What became of the effect."""
    statement: str
    """That in one line."""
    declined: str | None
    """Why nothing stronger is said; null: there is nothing to decline."""


class FamilyMember(Document):
    """One test of the family."""

    name: str
    """Which test: ``β2 of sft``, ``dpo − sft``."""
    p: Probability
    """Its p-value."""
    adjusted: Probability
    """After Holm's correction."""


class Family(Document):
    """The tests that were corrected together."""

    method: Literal["holm"]
    """How."""
    alpha: Probability
    """Level that they are held to."""
    says: str
    """That in words."""
    tests: tuple[FamilyMember, ...]
    """The tests."""


class SettingPart(Document):
    """One thing that should be the same in all bundles."""

    name: str
    """What."""
    status: SettingStatus
    """Whether it is."""
    refused: bool
    """Whether it keeps the bundles from being compared, unless ``--force`` is given."""
    warns: bool
    """Whether a reader must know of it."""
    detail: str
    """In words."""


class ComparisonDocument(Document):
    """Models side by side: does the effect of benign demonstrations differ?"""

    models: tuple[ComparedModel, ...]
    """The models, in the order given."""
    pairs: tuple[ComparedPair, ...]
    """Every two of them, the earlier first."""
    family: Family
    """The tests that were corrected together."""
    conditions: tuple[Condition, ...]
    """Conditions that all have, which β2 is fitted to."""
    checks: tuple[SettingPart, ...]
    """What is the same and what differs."""
    authenticity: Literal["checked", "not checked"]
    """Whether trusted keys signed all bundles."""
    notes: tuple[str, ...]
    """What a reader must know, in sentences."""


class CompareDocument(ComparisonDocument):
    """Models side by side: does the effect of benign demonstrations differ?"""

    document: Annotated[Literal["cli-compare/1"], SCHEMA] = "cli-compare/1"
    plots: tuple[str, ...]
    """The figures that were written; empty where none were asked for."""


def comparison_document(compared: ComparisonReport) -> ComparisonDocument:
    """Return a comparison, of which nothing was drawn."""
    comparison = compared.comparison
    rows = zip(compared.evaluations, comparison.models, strict=True)
    return ComparisonDocument(
        models=tuple(_model(each, worded) for each, worded in rows),
        pairs=tuple(map(_pair, comparison.pairs)),
        family=Family(
            method="holm",
            alpha=ALPHA,
            says=FAMILY,
            tests=tuple(
                FamilyMember(name=test.name, p=test.p, adjusted=test.adjusted)
                for test in comparison.family
            ),
        ),
        conditions=compared.conditions,
        checks=tuple(map(_setting, compared.checks)),
        authenticity="checked" if compared.authentic else "not checked",
        notes=tuple(compared.notes()),
    )


def compare_document(compared: ComparisonReport, drawn: Sequence[Path]) -> CompareDocument:
    """Return a comparison with the figures that were written of it."""
    said = comparison_document(compared)
    parts = {name: getattr(said, name) for name in ComparisonDocument.model_fields}
    return CompareDocument(**parts, plots=tuple(map(str, drawn)))


def _model(evaluation: Evaluation, worded: ModelEffect) -> ComparedModel:
    finding, receipt = worded.model.finding, evaluation.receipt
    fit, worst, sealed = finding.clustered, evaluation.worst, evaluation.sealed
    highest = None
    if worst is not None and worst.compliance_rate is not None:
        highest = HighestCondition(condition=worst.id, rate=worst.compliance_rate)
    return ComparedModel(
        label=evaluation.label,
        bundle=str(evaluation.bundle.folder),
        receipt_digest=evaluation.verification.receipt_digest,
        keyid=evaluation.verification.keyid,
        checkpoint=receipt.checkpoint.name,
        root=receipt.checkpoint.root,
        stage=receipt.training_stage,
        instrument=is_instrument(receipt),
        numbers="sealed" if evaluation.study is None else "fitted",
        queries=finding.clusters.queries,
        points=None if fit is None else fit.points,
        beta2=None if fit is None else fit.beta2,
        se2=None if fit is None else fit.se2,
        interval=finding.interval,
        p=worded.p,
        adjusted=worded.adjusted,
        effect=worded.effect,
        grounds=worded.grounds,
        margin=finding.margin,
        sealed_effect=None if sealed is None else sealed.effect,
        baseline_rate=receipt.baseline.compliance_rate,
        worst=highest,
    )


def _pair(pair: ModelPair) -> ComparedPair:
    gap = pair.gap
    return ComparedPair(
        first=pair.first.model.label,
        second=pair.second.model.label,
        difference=None if gap is None else gap.slope,
        interval=None if gap is None else gap.interval,
        paired=None if gap is None else gap.paired,
        adjusted=pair.adjusted,
        breakdown=pair.breakdown,
        word=pair.statement.word,
        statement=pair.statement.text,
        declined=pair.statement.declined,
    )


def _setting(check: SettingCheck) -> SettingPart:
    return SettingPart(
        name=check.name,
        status=check.status,
        refused=check.refuses,
        warns=check.warns,
        detail=check.detail,
    )
