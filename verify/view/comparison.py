"""A comparison as tables and remarks."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from safety_receipts.receipts.io.text import printable
from safety_receipts.receipts.model.findings import SignedInterval
from safety_receipts.receipts.view.names import presentable
from safety_receipts.receipts.view.numerals import NOTHING, p_number, percent, signed_number, span
from safety_receipts.receipts.view.slopes import MARGIN_LEGEND
from safety_receipts.receipts.view.tables import (
    Column,
    ColumnKind,
    Estimate,
    Group,
    MarkedLine,
    NoEstimate,
    Row,
    Table,
    Tone,
    Words,
    common_scale,
    numbers,
)
from safety_receipts.receipts.view.words import difference_breakdown_words
from safety_receipts.verify.compare.comparability import SettingCheck, SettingStatus
from safety_receipts.verify.compare.compared import FAMILY, ComparisonReport, interval_of
from safety_receipts.verify.compare.comparison import EffectChange, ModelEffect, ModelPair
from safety_receipts.verify.compare.evaluations import Evaluation

_TEXT: Final = ColumnKind.TEXT


def model_table(compared: ComparisonReport) -> Table:
    """Return the models: what they are, and their rates."""
    return Table(
        "Models",
        (
            *(Column(name, _TEXT) for name in ("model", "checkpoint", "stage", "bundle", "β2")),
            *numbers("baseline %"),
            Column("highest %", ColumnKind.REMARK),
        ),
        tuple(map(_model, compared.evaluations)),
    )


def _model(each: Evaluation) -> Row:
    receipt, worst = presentable(each.receipt), each.worst
    return Row(
        (
            printable(each.label),
            printable(receipt.checkpoint.name),
            printable(receipt.training_stage),
            printable(str(each.bundle.folder)),
            "as sealed" if each.study is None else "fitted",
            percent(receipt.baseline.compliance_rate),
            f"{percent(worst.compliance_rate)} ({worst.id})" if worst else NOTHING,
        )
    )


def beta_table(compared: ComparisonReport) -> Table:
    """Return every β2 on one scale."""
    models = compared.comparison.models
    margins = [float(one.model.finding.margin) for one in models]
    drawn = [end for one in models for end in interval_of(one) or ()]
    scale = common_scale(
        [*drawn, *margins, *(-margin for margin in margins)],
        name=lambda end: signed_number(Decimal(end), 2),
    )
    return Table(
        f"β2 over {len(compared.conditions):,} common conditions, 95 % intervals",
        (
            Column("model", _TEXT),
            *numbers("β2", "95 % interval", "p", "Holm p"),
            Column("", scale=scale),
            Column("effect", _TEXT),
        ),
        tuple(map(_beta, models)),
        legend=MARGIN_LEGEND,
    )


def _beta(one: ModelEffect) -> Row:
    finding, ends = one.model.finding, interval_of(one)
    margin = float(finding.margin)
    return Row(
        (
            printable(one.model.label),
            signed_number(finding.clustered.beta2) if finding.clustered else NOTHING,
            _span(finding.interval),
            p_number(one.p),
            p_number(one.adjusted),
            NoEstimate(margin) if ends is None else Estimate(*ends, margin),
            f"{one.effect.value} ({one.grounds.value})",
        )
    )


def _span(interval: SignedInterval | None) -> str:
    return span(interval.lower, interval.upper) if interval else NOTHING


_TONES: Final = {
    EffectChange.NOT_SHOWN: Tone.DOUBTFUL,
    EffectChange.UNTESTED: Tone.DOUBTFUL,
    EffectChange.DIFFERENT: Tone.DOUBTFUL,
}


def pair_table(pairs: Sequence[ModelPair]) -> Table:
    """Return what is said of every two models."""
    return Table(
        "Differences of β2 (the second less the first), 95 % intervals",
        (
            Column("pair", _TEXT),
            *numbers("difference", "95 % interval", "p", "Holm p"),
            Column("statement", _TEXT),
        ),
        tuple(map(_pair, pairs)),
    )


def _pair(pair: ModelPair) -> Row:
    gap, statement = pair.gap, pair.statement
    said = [Words(printable(statement.text), _TONES.get(statement.word, Tone.STRONG))]
    if statement.declined is not None:
        said.append(Words(f"\n{printable(statement.declined)}"))
    if pair.breakdown is not None:
        conditions = len(pair.first.model.finding.conditions)
        said.append(Words(f"\n{difference_breakdown_words(pair.breakdown, conditions)}"))
    return Row(
        (
            printable(f"{pair.second.model.label} − {pair.first.model.label}"),
            signed_number(gap.slope.beta) if gap else NOTHING,
            _span(gap.interval if gap else None),
            p_number(gap.slope.p if gap else None),
            p_number(pair.adjusted),
            tuple(said),
        )
    )


_SIGNS: Final = {SettingStatus.SAME: "=", SettingStatus.DIFFERS: "≠", SettingStatus.UNKNOWN: "?"}


def setting_group(checks: Sequence[SettingCheck], *, warnings_only: bool) -> Group:
    """Return what is the same and what differs.

    Args:
        checks: What was looked at.
        warnings_only: Leave out what is as it should be.
    """
    shown = (check for check in checks if check.warns or not warnings_only)
    return Group("What is the same, and what differs", tuple(map(_setting, shown)))


def _setting(check: SettingCheck) -> MarkedLine:
    tone = Tone.BAD if check.refuses else Tone.DOUBTFUL if check.warns else Tone.GOOD
    forced = "forced: " if check.refuses else ""
    return MarkedLine(Words(_SIGNS[check.status], tone), check.name, forced + check.detail)


def comparison_remarks(compared: ComparisonReport) -> list[str]:
    """Return what a reader must know, in sentences."""
    return [printable(note) for note in (FAMILY, *compared.notes())]
