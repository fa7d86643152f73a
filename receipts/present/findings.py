"""Findings for a terminal: what was found in sentences, then the numbers in tables.

Tables fit into 80 columns where names are short, and into 120 always.  Nothing is said by colour
alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from safety_receipts.receipts.model.receipt import EvaluationPredicate
from safety_receipts.receipts.present.charts import spark
from safety_receipts.receipts.present.tables import BAR_CELLS, draw, note
from safety_receipts.receipts.view.finding_tables import (
    Remark,
    Section,
    SectionName,
    finding_sections,
)
from safety_receipts.receipts.view.sentences import NOTHING_TESTED, Sentence, sentences

_BARS: Final = {SectionName.ORDERINGS: 20, SectionName.FORMATS: 10}
"""Characters of a bar."""


def show_findings(console: Console, receipt: EvaluationPredicate) -> None:
    """Draw the findings of a receipt: sentences, then tables, the primary hypothesis first."""
    console.print(Text("Findings", style="bold"))
    if receipt.findings is None:
        console.print(Text("  none are claimed\n"))
        return
    _say(console, sentences(receipt))
    for section in finding_sections(receipt):
        _draw(console, section)


def _say(console: Console, found: Sequence[Sentence]) -> None:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for sentence in found:
        text = Text(sentence.text, style="bold" if sentence.primary else "")
        if sentence.aside:
            text.append(f" {sentence.aside}", style="not bold dim")
        grid.add_row("  •", text)
    if not found:
        grid.add_row("  •", NOTHING_TESTED)
    console.print(grid)
    console.print()


def _draw(console: Console, section: Section) -> None:
    if section.table is not None:
        draw(console, section.table, bar_cells=_BARS.get(section.name, BAR_CELLS))
    remarks = [_told(remark) for remark in section.remarks]
    if section.name is SectionName.TESTS:
        remarks[-1] += "\n"
    for remark in remarks:
        note(console, remark)
    if section.name in (SectionName.SLOPES, SectionName.ORDERINGS):
        console.print()


def _told(remark: Remark) -> str:
    parts = (part if isinstance(part, str) else spark(part.values, part.top) for part in remark)
    return "".join(parts)
