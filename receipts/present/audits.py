"""The audits in a bundle for a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from safety_receipts.receipts.io.text import printable
from safety_receipts.receipts.present.tables import say
from safety_receipts.receipts.view.audits import Listing


def show_audits(console: Console, listing: Listing) -> None:
    """List audits; nothing where there are none."""
    remark = listing.remark()
    if not listing.audits and remark is None:
        return
    console.print(Text("Audits in this bundle (claims until verified)", style="bold"))
    for audit in listing.audits:
        say(console, f"  {printable(audit.words())}")
    if remark is not None:
        console.print(Text(f"  {remark}"))
    console.print()
