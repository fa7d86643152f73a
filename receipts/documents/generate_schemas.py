"""Writes the JSON Schemas of ``schemas/`` from the models.

Run by ``make schemas``, or ``python -m safety_receipts.receipts.documents.generate_schemas``.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from functools import cache
from inspect import getsource
from itertools import pairwise
from pathlib import Path
from types import ModuleType
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
    return schema_of(DOCUMENTS[name], name, VERSIONS[name], member_meanings())


Meanings = Mapping[str, Mapping[str, str]]
"""Enum name → value → what it means."""


def schema_of(
    document: type[BaseModel], name: str, version: int, meanings: Meanings
) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a document.

    Args:
        document: Its model.
        name: The schema's name.
        version: The schema's version.
        meanings: What the members of its enums mean, as :func:`member_meanings` has it.
    """
    schema = document.model_json_schema(by_alias=True, mode="validation")
    for title, definition in schema.get("$defs", {}).items():
        if "enum" in definition and title in meanings:
            definition["description"] += "".join(
                f"\n- {value}: {meanings[title][value]}"
                for value in definition["enum"]
                if value in meanings[title]
            )
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:safety-receipts:schema:{name}:{version}",
    } | schema


@cache
def member_meanings(sources: tuple[ModuleType, ...] = ()) -> Meanings:
    """Return enum name → value → docstring, read from source.

    Python keeps no docstring of an enum's member; the schema, which people read as
    documentation, should.

    Args:
        sources: Modules to read beside those of the wire models.
    """
    meanings: dict[str, dict[str, str]] = {
        "Limit": {limit.value: text for limit, text in LIMIT_MEANINGS.items()}
    }
    files = sorted(Path(model.__file__).parent.glob("*.py"))
    texts = [path.read_text("utf-8") for path in files]
    for text in (*texts, *map(getsource, sources)):
        for node in ast.parse(text).body:
            if isinstance(node, ast.ClassDef):
                found = _meanings_in(node)
                if found:
                    meanings.setdefault(node.name, {}).update(found)
    return meanings


def _meanings_in(node: ast.ClassDef) -> dict[str, str]:
    """Return value → docstring of an enum's members; of other classes: nothing."""
    meanings: dict[str, str] = {}
    for member, text in pairwise(node.body):
        match member, text:
            case (
                ast.Assign(value=ast.Constant(value=str(value))),
                ast.Expr(value=ast.Constant(value=str(meaning))),
            ):
                meanings[value] = " ".join(meaning.split())
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
