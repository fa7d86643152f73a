"""A plan as tables for a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table as Grid

from safety_receipts.receipts.io.text import printable
from safety_receipts.receipts.present.tables import STYLES, facts_grid, put
from safety_receipts.receipts.view.tables import Table, Tone
from safety_receipts.runner.plan.resolved import ResolvedPlan
from safety_receipts.runner.view.documents.plan import PlanDocument
from safety_receipts.runner.view.plan_tables import (
    PLAN_INSTRUMENT,
    SYSTEM_PROMPT_MOVED,
    context_words,
    cost_remarks,
    cost_table,
    length_table,
    plan_facts,
    sealed_words,
)


def draw_plan(document: PlanDocument, resolved: ResolvedPlan, console: Console) -> None:
    """Draw what a dry run found.

    Args:
        document: What it found.
        resolved: The plan.
        console: Where to.
    """
    if document.instrument:
        console.print(PLAN_INSTRUMENT, style=STYLES[Tone.STRONG])
    console.print(facts_grid(plan_facts(document, resolved)))
    if document.system_prompt_moved:
        console.print(SYSTEM_PROMPT_MOVED)
    console.print()
    _put(console, length_table(document))
    console.print()
    _put(console, cost_table(document))
    for remark in cost_remarks(document):
        console.print(remark, style=STYLES[Tone.FAINT], soft_wrap=not console.is_terminal)
    console.print(context_words(document))
    console.print(printable(sealed_words(document)), soft_wrap=document.sealed is not None)


def _put(console: Console, table: Table) -> None:
    """Draw a table without lines."""
    put(console, Grid(title=table.title, title_justify="left", box=None, pad_edge=False), table)
