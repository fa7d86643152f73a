"""``receipts schema``."""

from __future__ import annotations

import json

import click

from safety_receipts import schemas
from safety_receipts.receipts.cli import common_options
from safety_receipts.receipts.commands.options import examples
from safety_receipts.receipts.errors import UsageError
from safety_receipts.receipts.present.output import Output
from safety_receipts.receipts.view.documents.commands import SchemaListDocument


@click.command(epilog=examples("receipts schema", "receipts schema plan-file"))
@click.argument("name", required=False)
@common_options
def schema(name: str | None, output: Output) -> None:
    """Print the JSON Schema NAME, or the names of all."""
    if name is None:
        titles = {known: schemas.load_schema(known)["title"] for known in schemas.schema_names()}
        output.result(
            SchemaListDocument(schemas=titles),
            lambda console: console.print(
                "\n".join(f"{known:24}{title}" for known, title in titles.items())
            ),
        )
        return
    if name not in schemas.schema_names():
        raise UsageError(f"no schema {name!r}", hint=f"one of {', '.join(schemas.schema_names())}")
    document = schemas.load_schema(name)
    output.result(
        document, lambda console: console.print(json.dumps(document, indent=2), soft_wrap=True)
    )
