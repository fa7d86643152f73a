"""``receipts show``."""

from __future__ import annotations

from fnmatch import fnmatchcase
from itertools import compress
from pathlib import Path

import click
from rich.console import Console

from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.cli import common_options
from safety_receipts.receipts.commands.options import PATH, audits_option, examples
from safety_receipts.receipts.errors import UsageError
from safety_receipts.receipts.figures.plots import write_plots
from safety_receipts.receipts.io.text import printable
from safety_receipts.receipts.present.audits import show_audits
from safety_receipts.receipts.present.output import Output
from safety_receipts.receipts.present.receipt import show_receipt
from safety_receipts.receipts.view.audits import listed_audits
from safety_receipts.receipts.view.documents.show import show_document
from safety_receipts.receipts.view.names import presentable


@click.command(
    epilog=examples(
        "receipts show bundle",
        "receipts show bundle --conditions 'h8-*'",
        "receipts show bundle --plots figures",
    )
)
@click.argument("bundle", type=PATH)
@click.option(
    "--conditions", metavar="GLOB", help="Only conditions whose id matches, such as 'h8-*'."
)
@click.option(
    "--plots",
    type=PATH,
    metavar="FOLDER",
    help="Write the findings' figures into this folder, as SVG.",
)
@audits_option
@common_options
def show(
    bundle: Path,
    conditions: str | None,
    plots: Path | None,
    audits: tuple[Path, ...],
    output: Output,
) -> None:
    """Show what a receipt says.  Nothing is verified: that is `receipts verify`."""
    source = Bundle(bundle, audits=audits)
    receipt = source.receipt
    predicate = presentable(receipt.statement.predicate)
    chosen = [
        conditions is None or fnmatchcase(condition.id, conditions)
        for condition in predicate.conditions
    ]
    shown = list(compress(predicate.conditions, chosen))
    if not shown:
        ids = ", ".join(condition.id for condition in predicate.conditions[:8])
        raise UsageError(f"no condition matches {conditions}", hint=f"there are {ids} …")
    written = None if plots is None else write_plots(predicate, plots)
    listing = listed_audits(source)
    document = show_document(receipt, chosen, plots=written, audits=listing.audits)

    signed_as = ", ".join(one.keyid or "no key id" for one in receipt.envelope.signatures)

    def render(console: Console) -> None:
        show_receipt(console, predicate, document.digest, signed_as, shown)
        show_audits(console, listing)

    output.result(document, render)
    if written is not None:
        names = ", ".join(path.name for path in written) or "nothing: no finding feeds a figure"
        output.note(f"Written to {printable(str(plots))}: {names}.")
    output.note("Nothing here was verified.  Verify: receipts verify BUNDLE --trust KEY.pub")
