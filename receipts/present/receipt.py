"""A receipt as tables for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.model.receipt import ConditionResult, EvaluationPredicate
from safety_receipts.receipts.present.findings import show_findings
from safety_receipts.receipts.present.tables import STYLES, draw, facts_grid
from safety_receipts.receipts.view.conditions import (
    condition_table,
    denominator_table,
    source_table,
)
from safety_receipts.receipts.view.summary import (
    INSTRUMENT,
    headline_facts,
    identity_facts,
    judge_warning,
    limit_facts,
    tested_fact,
)
from safety_receipts.receipts.view.tables import Tone


def show_receipt(
    console: Console,
    receipt: EvaluationPredicate,
    digest: Sha256,
    keyid: str,
    shown: Sequence[ConditionResult],
) -> None:
    """Draw a receipt.

    Args:
        console: Where to.
        receipt: The receipt's predicate.
        digest: Its digest.
        keyid: Who is said to have signed it; of several all.
        shown: The conditions to draw.
    """
    if receipt.instrument:
        console.print(Text(INSTRUMENT, style=STYLES[Tone.ALARM]))
    console.print(facts_grid(identity_facts(receipt, digest, keyid)))
    console.print()
    warning = judge_warning(receipt)
    if warning is not None:
        console.print(Text(warning, style=STYLES[Tone.ALARM]))
        console.print()
    console.print(facts_grid(headline_facts(receipt), gap=1))
    console.print()
    draw(console, condition_table(receipt, shown))
    draw(console, denominator_table(shown))
    sources = source_table(receipt, shown)
    if sources is not None:
        draw(console, sources)
    show_findings(console, receipt)
    _limits(console, receipt)


def _limits(console: Console, receipt: EvaluationPredicate) -> None:
    console.print(Text("What this does not show", style="bold"))
    console.print(facts_grid(limit_facts(receipt), indent="  "))
    console.print(facts_grid([tested_fact(receipt)], indent="  "))
