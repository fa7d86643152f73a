"""What a gate found, as a table for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from safety_receipts.receipts.io.text import printable
from safety_receipts.receipts.present.tables import STYLES, draw, say
from safety_receipts.receipts.view.tables import Tone
from safety_receipts.verify.gate.gating import GateResult
from safety_receipts.verify.view.gate import (
    broken_lines,
    gate_conclusion,
    gate_title,
    overall,
    rule_table,
    waiver_lines,
)


def show_gate(console: Console, results: Sequence[GateResult], *, quiet: bool) -> None:
    """Draw waivers, rules and what follows, receipt by receipt.

    Args:
        console: Where to.
        results: What became of each receipt.
        quiet: Leave out the rules that passed.
    """
    for result in results:
        _show(console, result, quiet=quiet)
    if (sentence := overall(results)) is not None:
        say(console, sentence)


def _show(console: Console, result: GateResult, *, quiet: bool) -> None:
    for line in waiver_lines(result):
        say(console, Text(printable(line)), STYLES[Tone.ALARM])
    say(console, Text(gate_title(result), style="bold"))
    table = rule_table(result, problems_only=quiet)
    if table.rows:
        draw(console, table)
    for line in broken_lines(result):
        # Set in, so that no name can begin a line.
        console.print(Padding(Text(printable(line)), (0, 0, 0, 2)))
    conclusion = gate_conclusion(result)
    style = f"bold {STYLES[conclusion.word.tone]}"
    say(
        console,
        Text(f"{conclusion.word.text}: ", style=style).append(conclusion.sentence, style="default"),
    )
