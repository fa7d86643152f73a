"""An audit as tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterable

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.model.audit import AuditPredicate
from safety_receipts.receipts.present.tables import STYLES, put, say, spoken
from safety_receipts.receipts.view.tables import Table, Words
from safety_receipts.verify.audit.statistics.scope import Scope
from safety_receipts.verify.view.audit import (
    Forecast,
    audit_remarks,
    audit_verdict,
    audited_table,
    forecast_remarks,
    forecast_table,
)


def show_feasibility(console: Console, forecast: Forecast) -> None:
    """Draw what confirming each rate and slope would take, and the agreement of both judges."""
    _draw(console, forecast_table(forecast.told, forecast.slopes))
    _say(console, forecast_remarks(forecast))


def show_audit(
    console: Console,
    audit: AuditPredicate,
    scope: Scope,
    digest: Sha256,
    *,
    self_audit: bool,
    instrument: bool,
) -> None:
    """Draw what an audit found.

    Args:
        console: Where to.
        audit: The audit.
        scope: How much of the receipt it is of.
        digest: Its digest.
        self_audit: Whether the evaluator's key signed it.
        instrument: Whether the receipt is of a test instrument.
    """
    _draw(console, audited_table(audit))
    _say(console, audit_remarks(audit, self_audit=self_audit))
    verdict = audit_verdict(audit, scope, digest, instrument=instrument)
    say(
        console,
        Text(f"{verdict.word.text}: ", style=STYLES[verdict.word.tone]).append(
            verdict.sentence, style="default"
        ),
    )
    say(console, audit.guarantee)


def _draw(console: Console, table: Table) -> None:
    put(console, Grid(box=SIMPLE_HEAD, pad_edge=False), table)


def _say(console: Console, remarks: Iterable[Words]) -> None:
    for remark in remarks:
        say(console, spoken(remark))
