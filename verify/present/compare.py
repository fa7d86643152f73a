"""A comparison as tables for a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from safety_receipts.receipts.present.tables import STYLES, draw, marked_grid
from safety_receipts.receipts.view.tables import Tone
from safety_receipts.verify.compare.compared import ComparisonReport
from safety_receipts.verify.view.comparison import (
    beta_table,
    comparison_remarks,
    model_table,
    pair_table,
    setting_group,
)


def show_comparison(console: Console, compared: ComparisonReport, *, quiet: bool) -> None:
    """Draw models, their β2 on one scale, pairs and checks.

    Args:
        console: Where to.
        compared: The comparison.
        quiet: Leave out the checks that found nothing to warn of.
    """
    draw(console, model_table(compared))
    draw(console, beta_table(compared))
    draw(console, pair_table(compared.comparison.pairs))
    settings = setting_group(compared.checks, warnings_only=quiet)
    if settings.lines:
        console.print(Text(settings.title, style="bold"))
        console.print(marked_grid(settings.lines))
    for remark in comparison_remarks(compared):
        # All of its lines are set in, so that no label can begin one.
        console.print(Padding(Text(remark, style=STYLES[Tone.FAINT]), (0, 0, 0, 2)))
