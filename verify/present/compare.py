"""A comparison as tables for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from safety_receipts.receipts.io.text import printable
from safety_receipts.receipts.model.findings import SignedInterval
from safety_receipts.receipts.present.charts import ChartScale, axis, forest
from safety_receipts.receipts.present.tables import FOREST_CELLS, new_table
from safety_receipts.receipts.view.names import presentable
from safety_receipts.receipts.view.numerals import NOTHING, p_number, percent, signed_number, span
from safety_receipts.verify.compare.comparability import SettingCheck, SettingStatus
from safety_receipts.verify.compare.compared import FAMILY, ComparisonReport, interval_of
from safety_receipts.verify.compare.comparison import EffectChange, ModelPair


def show_comparison(console: Console, compared: ComparisonReport, *, quiet: bool) -> None:
    """Draw models, their β2 on one scale, pairs and checks.

    Args:
        console: Where to.
        compared: The comparison.
        quiet: Leave out the checks that found nothing to warn of.
    """
    _models(console, compared)
    _slopes(console, compared)
    _pairs(console, compared.comparison.pairs)
    _checks(console, compared.checks, quiet=quiet)
    for note in (FAMILY, *compared.notes()):
        console.print(_remark(Text(printable(note), style="dim")))


def _remark(text: Text) -> Padding:
    """Return a remark all of whose lines are set in, so that no label can begin one."""
    return Padding(text, (0, 0, 0, 2))


def _models(console: Console, compared: ComparisonReport) -> None:
    table = new_table("Models")
    for name in ("model", "checkpoint", "stage", "bundle", "β2"):
        table.add_column(name, overflow="fold")
    table.add_column("baseline %", justify="right", no_wrap=True)
    table.add_column("highest %", justify="right", overflow="fold")
    for each in compared.evaluations:
        receipt, worst = presentable(each.receipt), each.worst
        table.add_row(
            Text(printable(each.label)),
            Text(printable(receipt.checkpoint.name)),
            Text(printable(receipt.training_stage)),
            Text(printable(str(each.bundle.folder))),
            "as sealed" if each.study is None else "fitted",
            percent(receipt.baseline.compliance_rate),
            f"{percent(worst.compliance_rate)} ({worst.id})" if worst else NOTHING,
        )
    console.print(table)


def _slopes(console: Console, compared: ComparisonReport) -> None:
    """Draw every β2 on one scale."""
    models = compared.comparison.models
    margins = [float(one.model.finding.margin) for one in models]
    shown = [interval_of(one) for one in models]
    drawn = [end for ends in shown if ends is not None for end in ends]
    scale = ChartScale.over([*drawn, *margins, *(-margin for margin in margins)], FOREST_CELLS)
    table = new_table(
        f"β2 over {len(compared.conditions):,} common conditions, 95 % intervals; "
        "dotted: the margin of none"
    )
    table.add_column("model", overflow="fold")
    for name in ("β2", "95 % interval", "p", "Holm p"):
        table.add_column(name, justify="right", no_wrap=True)
    low, high = (signed_number(Decimal(end), 2) for end in (scale.lower, scale.upper))
    table.add_column(axis(scale, low, high), no_wrap=True)
    table.add_column("effect", overflow="fold")
    for one, ends, margin in zip(models, shown, margins, strict=True):
        finding = one.model.finding
        table.add_row(
            Text(printable(one.model.label)),
            signed_number(finding.clustered.beta2) if finding.clustered else NOTHING,
            _span(finding.interval),
            p_number(one.p),
            p_number(one.adjusted),
            forest(scale, ends, margin),
            f"{one.effect.value} ({one.grounds.value})",
        )
    console.print(table)


def _span(interval: SignedInterval | None) -> str:
    return span(interval.lower, interval.upper) if interval else NOTHING


_STYLES = {
    EffectChange.NOT_SHOWN: "yellow",
    EffectChange.UNTESTED: "yellow",
    EffectChange.DIFFERENT: "yellow",
}


def _pairs(console: Console, pairs: Sequence[ModelPair]) -> None:
    table = new_table("Differences of β2 (the second less the first), 95 % intervals")
    table.add_column("pair", overflow="fold")
    for name in ("difference", "95 % interval", "p", "Holm p"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("statement", overflow="fold")
    for pair in pairs:
        gap, statement = pair.gap, pair.statement
        text = Text(printable(statement.text), style=_STYLES.get(statement.word, "bold"))
        if statement.declined is not None:
            text.append(f"\n{printable(statement.declined)}", style="not bold default")
        table.add_row(
            Text(printable(f"{pair.second.model.label} − {pair.first.model.label}")),
            signed_number(gap.slope.beta) if gap else NOTHING,
            _span(gap.interval if gap else None),
            p_number(gap.slope.p if gap else None),
            p_number(pair.adjusted),
            text,
        )
    console.print(table)


_MARKS = {SettingStatus.SAME: "=", SettingStatus.DIFFERS: "≠", SettingStatus.UNKNOWN: "?"}


def _checks(console: Console, checks: Sequence[SettingCheck], *, quiet: bool) -> None:
    table = Table.grid(padding=(0, 2))
    table.add_column(width=3, justify="right")
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for check in checks:
        if quiet and not check.warns:
            continue
        style = "bold red" if check.refuses else "yellow" if check.warns else "green"
        forced = "forced: " if check.refuses else ""
        mark = Text(_MARKS[check.status], style=style)
        table.add_row(mark, check.name, Text(printable(forced + check.detail)))
    if table.row_count:
        console.print(Text("What is the same, and what differs", style="bold"))
        console.print(table)
