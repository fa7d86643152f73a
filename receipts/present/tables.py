"""How the tables, facts and remarks of :mod:`receipts.view.tables` look on a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, assert_never

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
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

_RIGHT: Final = {ColumnKind.NUMBER, ColumnKind.MEASURE, ColumnKind.REMARK}
"""Kinds of columns whose cells stand on the right."""
_WRAPPED: Final = {ColumnKind.WORDS, ColumnKind.TEXT, ColumnKind.REMARK}
"""Kinds of columns whose cells may take several lines, between words."""
_INDENT: Final = 3


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

    Nothing is ever cut.  Where there is no room for all columns, pictures go first, as what they
    show stands beside them in numbers; where that is not enough, each row is a paragraph: its
    name, and under it the other cells with their headings.

    Args:
        console: Where to.
        table: The table.
        bar_cells: Characters of its bars.
    """
    put(console, new_table(printable(table.title)), table, bar_cells=bar_cells)


def put(console: Console, grid: Grid, table: Table, *, bar_cells: int = BAR_CELLS) -> None:
    """Draw a table, as :func:`draw` does, in an empty grid of another look.

    Args:
        console: Where to.
        grid: The grid; its title, if any, is the table's.
        table: The table.
        bar_cells: Characters of its bars.
    """
    laid = [_Laid.of(column, place, table, bar_cells) for place, column in enumerate(table.columns)]
    title = grid.title
    for columns in (laid, [one for one in laid if not one.picture]):
        if (widths := _widths(console, grid, columns)) is not None:
            pictured = table.legend and any(one.picture for one in columns)
            grid.title = f"{title}; {printable(table.legend)}" if title and pictured else title
            console.print(_filled(grid, table, columns, widths))
            return
    _put_paragraphs(console, grid, table, [one for one in laid if not one.picture])


@dataclass(frozen=True)
class _Laid:
    """A column with its cells as they are drawn."""

    column: Column
    heading: str
    cells: tuple[Text, ...]
    """One a row; empty where the row ends before."""
    least: int
    """Columns of the terminal without which something would be cut or broken inside a word."""
    natural: int
    """Columns that it takes on one line."""

    @property
    def picture(self) -> bool:
        """Whether it shows nothing that no other column says."""
        return self.column.kind is ColumnKind.BAR or self.column.scale is not None

    @classmethod
    def of(cls, column: Column, place: int, table: Table, bar_cells: int) -> _Laid:
        """Return the column at a place of a table."""
        cells = tuple(
            _text(_drawn(row.cells[place], column, bar_cells)) if place < len(row.cells) else Text()
            for row in table.rows
        )
        heading = _heading(column)
        natural = max([cell_len(heading), *(_longest(cell.plain.split("\n")) for cell in cells)])
        least = natural
        if column.kind is ColumnKind.BAR:
            natural = least = max(natural, bar_cells)
        if column.kind in _WRAPPED:
            least = max(_longest(text.split()) for text in (heading, *(c.plain for c in cells)))
        return cls(column, heading, cells, least, natural)


def _text(drawn: str | Text) -> Text:
    return Text(drawn) if isinstance(drawn, str) else drawn


def _longest(parts: Iterable[str]) -> int:
    return max(map(cell_len, parts), default=0)


def _widths(console: Console, grid: Grid, columns: Sequence[_Laid]) -> list[int] | None:
    """Return how wide each column is, so that nothing is cut; None: there is no room."""
    room = console.width - _around(grid, len(columns))
    widths = [one.least for one in columns]
    spare = room - sum(widths)
    if spare < 0 or not columns:
        return None
    # Who needs least more gets it first, so that most columns stand on one line.
    for place in sorted(range(len(columns)), key=lambda i: columns[i].natural - widths[i]):
        more = min(spare, columns[place].natural - widths[place])
        widths[place] += more
        spare -= more
    return widths


def _around(grid: Grid, columns: int) -> int:
    """Return the columns of the terminal that a grid takes beside its cells."""
    _, right, _, left = grid.padding
    edges = (2 if grid.show_edge else 0) if grid.box else 0
    between = columns - 1 if grid.box else 0
    trimmed = 0 if grid.pad_edge else left + right
    return columns * (left + right) + between + edges - trimmed


def _filled(grid: Grid, table: Table, columns: Sequence[_Laid], widths: Sequence[int]) -> Grid:
    """Return an empty grid with columns and their cells in it, as wide as they are said to be."""
    for one, width in zip(columns, widths, strict=True):
        grid.add_column(
            one.heading,
            width=width,
            justify="right" if one.column.kind in _RIGHT else "left",
            no_wrap=one.column.kind not in _WRAPPED,
            overflow="fold",
        )
    for place, row in enumerate(table.rows):
        grid.add_row(*(one.cells[place] for one in columns), style=STYLES[row.tone] or None)
    return grid


def _put_paragraphs(console: Console, grid: Grid, table: Table, columns: Sequence[_Laid]) -> None:
    """Draw each row as a paragraph: the first cell, and the others under it with their headings."""
    if grid.title:
        console.print(Text(str(grid.title), style=str(grid.title_style)))
    console.print()
    name, *others = columns
    for place, row in enumerate(table.rows):
        console.print(Padding(name.cells[place], (0, 0, 0, 1)), style=STYLES[row.tone] or None)
        parts = [
            Text.assemble((f"{one.heading} " if one.heading else "", STYLES[Tone.FAINT]), cell)
            for one in others
            if (cell := one.cells[place]).plain.strip()
        ]
        for line in _lines(parts, console.width - _INDENT):
            shown = Padding(line, (0, 0, 0, _INDENT))
            console.print(shown, style=STYLES[row.tone] or None)
    console.print()


def _lines(parts: Iterable[Text], width: int) -> Iterator[Text]:
    """Put parts on lines, two spaces apart; none is broken but one that is longer than a line."""
    line = Text()
    for part in parts:
        if line and cell_len(line.plain) + 2 + cell_len(part.plain) > width:
            yield line
            line = Text()
        line = Text.assemble(line, "  ", part) if line else part
    if line:
        yield line


def say(console: Console, text: str | Text, style: str = "") -> None:
    """Print a sentence: on a terminal broken between words, else on one line.

    Args:
        console: Where to.
        text: The sentence.
        style: How it looks.
    """
    console.print(_text(text), style=style or None, soft_wrap=not console.is_terminal)


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
