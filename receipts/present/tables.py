"""How the tables, facts and remarks of :mod:`receipts.view.tables` look on a terminal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, assert_never

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.padding import Padding
from rich.table import Table as Grid
from rich.text import Text

from safety_receipts.receipts.io.text import printable
from safety_receipts.receipts.present.charts import ChartScale, axis, bar, forest, spark
from safety_receipts.receipts.view.tables import (
    Cell,
    Column,
    ColumnKind,
    Estimate,
    Fact,
    MarkedLine,
    NoEstimate,
    Series,
    Share,
    Table,
    Tone,
    Words,
)
from safety_receipts.receipts.view.tables import Scale as CommonScale

FOREST_CELLS: Final = 25
"""Characters of a forest chart."""
BAR_CELLS: Final = 12
"""Characters of a bar."""

STYLES: Final = {
    Tone.PLAIN: "",
    Tone.STRONG: "bold",
    Tone.FAINT: "dim",
    Tone.GOOD: "green",
    Tone.DOUBTFUL: "yellow",
    Tone.BAD: "bold red",
    Tone.ALARM: "bold yellow",
}
"""What each tone looks like."""

_KINDS: Final[dict[ColumnKind, dict[str, Any]]] = {
    ColumnKind.NAME: {"no_wrap": True},
    ColumnKind.WORDS: {},
    ColumnKind.TEXT: {"overflow": "fold"},
    ColumnKind.NUMBER: {"justify": "right", "no_wrap": True},
    ColumnKind.MEASURE: {"justify": "right"},
    ColumnKind.REMARK: {"justify": "right", "overflow": "fold"},
    ColumnKind.BAR: {"no_wrap": True},
}


def new_table(title: str) -> Grid:
    """Return a table with a title on its left and a line under its head."""
    # Padding on one side: the box puts a space between columns by itself.
    return Grid(
        title=title,
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )


def draw(console: Console, table: Table, *, bar_cells: int = BAR_CELLS) -> None:
    """Draw a table as all tables of receipts are drawn.

    Args:
        console: Where to.
        table: The table.
        bar_cells: Characters of its bars.
    """
    console.print(filled(new_table(printable(table.title)), table, bar_cells=bar_cells))


def filled(grid: Grid, table: Table, *, bar_cells: int = BAR_CELLS) -> Grid:
    """Return an empty grid with the columns and rows of a table in it."""
    for column in table.columns:
        least = bar_cells if column.kind is ColumnKind.BAR else None
        grid.add_column(_heading(column), min_width=least, **_KINDS[column.kind])
    for row in table.rows:
        cells = [
            _drawn(cell, column, bar_cells)
            for cell, column in zip(row.cells, table.columns, strict=False)
        ]
        grid.add_row(*cells, style=STYLES[row.tone] or None)
    return grid


def _heading(column: Column) -> str:
    if column.scale is None:
        return printable(column.name)
    return axis(_laid_out(column.scale), *column.scale.names)


def _laid_out(scale: CommonScale) -> ChartScale:
    return ChartScale(scale.lower, scale.upper, FOREST_CELLS)


def _drawn(cell: Cell, column: Column, bar_cells: int) -> str | Text:
    drawn: str | Text
    match cell:
        case str():
            drawn = cell
        case Words():
            drawn = spoken(cell)
        case tuple():
            drawn = Text.assemble(*map(spoken, cell))
        case Share():
            drawn = Text(bar(cell.value, bar_cells), style="cyan")
        case Series():
            drawn = spark(cell.values, cell.top)
        case Estimate():
            drawn = _placed(column, (cell.value, cell.lower, cell.upper), cell.margin)
        case NoEstimate():
            drawn = _placed(column, None, cell.margin)
        case _:
            assert_never(cell)
    return drawn


def _placed(
    column: Column, interval: tuple[float, float, float] | None, margin: float | None
) -> str:
    assert column.scale is not None, "an estimate stands in a column with a scale"
    return forest(_laid_out(column.scale), interval, margin)


def spoken(words: Words) -> Text:
    """Return words in their tone."""
    return Text(words.text, style=STYLES[words.tone])


def facts_grid(facts: Iterable[Fact], *, gap: int = 2, indent: str = "") -> Grid:
    """Return names and what they stand for; no line but the tool's own begins on the left."""
    grid = Grid.grid(padding=(0, gap))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for fact in facts:
        parts = [Words(printable(words.text), words.tone) for words in fact.text]
        grid.add_row(indent + fact.name, Text.assemble(*map(spoken, parts)))
    return grid


def marked_grid(lines: Iterable[MarkedLine]) -> Grid:
    """Return lines with their marks before them."""
    grid = Grid.grid(padding=(0, 2))
    grid.add_column(width=3, justify="right")
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for line in lines:
        name, detail = printable(line.name), printable(line.detail)
        grid.add_row(spoken(line.mark), Text(name), Text(detail))
    return grid


def note(console: Console, text: str) -> None:
    """Print a remark under a table."""
    console.print(Padding(Text(text), (0, 0, 0, 2)))
