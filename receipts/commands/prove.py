"""``receipts prove``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.cli import common_options
from safety_receipts.receipts.commands.options import PATH, examples
from safety_receipts.receipts.io.files import atomic_write
from safety_receipts.receipts.io.text import printable
from safety_receipts.receipts.present.output import Output
from safety_receipts.receipts.proof import make_proof


@click.command(epilog=examples("receipts prove bundle 40 --out proof.json"))
@click.argument("bundle", type=PATH)
@click.argument("point")
@click.option("--out", type=PATH, help="File to write the proof to.")
@common_options
def prove(bundle: Path, point: str, out: Path | None, output: Output) -> None:
    """Prove that POINT is in the receipt, without showing any other point.

    POINT is its index in plan order, or its id or the beginning of it.  The proof is
    checked with: receipts verify BUNDLE --proof FILE.
    """
    document = make_proof(Bundle(bundle), point).to_wire()
    text = json.dumps(document, indent=2)
    if out is None:
        output.result(document, lambda console: console.print(text, soft_wrap=True))
        return
    atomic_write(out, text.encode("utf-8") + b"\n")
    output.result(
        document,
        lambda console: console.print(
            f"point {document['index']} of {document['size']:,}, "
            f"{len(document['path'])} hashes: {printable(str(out))}",
            soft_wrap=True,
        ),
    )
