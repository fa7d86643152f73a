"""Writes the JSON Schema of ``plan.yaml``, for editors, from its entries.

Run by ``make schemas``, or ``python -m safety_receipts.runner.plan.generate_schema``.
A plan that the schema
accepts may still be refused: that an experiment can answer the primary hypothesis, or that a
share of a total is a whole number, is beyond a schema.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safety_receipts import schemas
from safety_receipts.receipts.documents.generate_schemas import document_schema as generate_document
from safety_receipts.receipts.io.files import atomic_write
from safety_receipts.runner.plan.entries.plan_file import PlanFile

SCHEMA_NAME = "plan-file"
"""Name of the schema."""

VERSION = 1
"""Its version."""


def plan_file_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a plan file."""
    schema = PlanFile.model_json_schema(mode="validation")
    published = generate_document("plan-statement")["$defs"]
    for title, definition in schema["$defs"].items():
        if "enum" in definition:
            schema["$defs"][title] = published[title]  # with a line on each of its members
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:safety-receipts:schema:{SCHEMA_NAME}:{VERSION}",
    } | schema


def plan_file_schema_bytes() -> bytes:
    """Return the bytes of the schema's file."""
    return json.dumps(plan_file_schema(), indent=2, ensure_ascii=False).encode("utf-8") + b"\n"


def main() -> None:
    """Write the schema into the source tree."""
    folder = Path(schemas.__file__).parent
    atomic_write(folder / schemas.file_name(SCHEMA_NAME, VERSION), plan_file_schema_bytes())


if __name__ == "__main__":
    main()
