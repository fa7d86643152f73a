"""Writes the JSON Schemas of ``schemas/`` from the models.

Run by ``make schemas``, or ``python -m safety_receipts.receipts.documents.generate_schemas``.
"""

from __future__ import annotations

import ast
import json
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from safety_receipts import schemas
from safety_receipts.receipts import model
from safety_receipts.receipts.io.files import atomic_write
from safety_receipts.receipts.model.envelope import EnvelopeDocument, InclusionProof
from safety_receipts.receipts.model.point import Point, RestrictedRecord
from safety_receipts.receipts.model.receipt import LIMIT_MEANINGS
from safety_receipts.receipts.model.statement import (
    AuditStartStatement,
    AuditStatement,
    CalibrationStatement,
    EvaluationStatement,
    PlanStatement,
    PublicAuditStatement,
)

DOCUMENTS: dict[str, type[BaseModel]] = {
    "envelope": EnvelopeDocument,
    "plan-statement": PlanStatement,
    "evaluation-statement": EvaluationStatement,
    "audit-start-statement": AuditStartStatement,
    "audit-statement": AuditStatement,
    "audit-public-statement": PublicAuditStatement,
    "calibration-statement": CalibrationStatement,
    "point": Point,
    "restricted-record": RestrictedRecord,
    "inclusion-proof": InclusionProof,
}
"""Every document of the protocol, by the name of its schema."""

VERSIONS: dict[str, int] = dict.fromkeys(DOCUMENTS, 1)
"""Document → the version that its model is of; files of earlier ones stay as published."""


def document_schema(name: str) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of the document called ``name``."""
    schema = DOCUMENTS[name].model_json_schema(by_alias=True, mode="validation")
    for title, definition in schema.get("$defs", {}).items():
        if "enum" in definition and title in _member_meanings():
            definition["description"] += "".join(
                f"\n- {value}: {_member_meanings()[title][value]}"
                for value in definition["enum"]
                if value in _member_meanings()[title]
            )
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:safety-receipts:schema:{name}:{VERSIONS[name]}",
    } | schema


@cache
def _member_meanings() -> dict[str, dict[str, str]]:
    """Return enum name → value → docstring, read from the models' source.

    Python keeps no docstring of an enum's member; the schema, which people read as
    documentation, should.
    """
    meanings: dict[str, dict[str, str]] = {
        "Limit": {limit.value: text for limit, text in LIMIT_MEANINGS.items()}
    }
    for path in sorted(Path(model.__file__).parent.glob("*.py")):
        for node in ast.parse(path.read_text("utf-8")).body:
            if not isinstance(node, ast.ClassDef):
                continue
            for member, text in pairwise(node.body):
                match member, text:
                    case (
                        ast.Assign(value=ast.Constant(value=str(value))),
                        ast.Expr(value=ast.Constant(value=str(meaning))),
                    ):
                        meanings.setdefault(node.name, {})[value] = " ".join(meaning.split())
                    case _:
                        pass  # no member with a docstring after it
    return meanings


def document_schema_bytes(name: str) -> bytes:
    """Return the bytes of the schema's file."""
    return json.dumps(document_schema(name), indent=2, ensure_ascii=False).encode("utf-8") + b"\n"


def main() -> None:
    """Write all schemas into the source tree."""
    folder = Path(schemas.__file__).parent
    for name in DOCUMENTS:
        atomic_write(folder / schemas.file_name(name, VERSIONS[name]), document_schema_bytes(name))


if __name__ == "__main__":
    main()
