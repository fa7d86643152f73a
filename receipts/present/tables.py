"""What all tables of findings look like."""

from __future__ import annotations

from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from safety_receipts.receipts.view.numerals import NOTHING

FOREST_CELLS: Final = 25
"""Characters of a forest chart."""


def new_table(title: str) -> Table:
    """Return a table with a title on its left and a line under its head."""
    # Padding on one side: the box puts a space between columns by itself.
    return Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )


def note(console: Console, text: str) -> None:
    """Print a remark under a table."""
    console.print(Padding(Text(text), (0, 0, 0, 2)))


def statistic(value: str | None, df: int | None = None) -> str:
    """Return a test statistic with one decimal, and its degrees of freedom where given."""
    if value is None:
        return NOTHING
    number = f"{float(value):,.1f}"
    return number if df is None else f"{number} ({df})"
