"""Writes the JSON Schema of a trust file, for editors, from its models.

Run by ``make schemas``, or ``python -m safety_receipts.receipts.trust.generate_schema``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from safety_receipts import schemas
from safety_receipts.receipts.documents.generate_schemas import member_meanings, schema_of
from safety_receipts.receipts.io.files import atomic_write
from safety_receipts.receipts.trust import trust_set
from safety_receipts.receipts.trust.file import TrustFile

TRUST_SCHEMA: Final = "trust-file"
"""Name of the schema."""


def trust_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a trust file."""
    return schema_of(TrustFile, TRUST_SCHEMA, 1, member_meanings((trust_set,)))


def trust_schema_bytes() -> bytes:
    """Return the bytes of the schema's file."""
    return json.dumps(trust_schema(), indent=2, ensure_ascii=False).encode("utf-8") + b"\n"


if __name__ == "__main__":
    atomic_write(
        Path(schemas.__file__).parent / schemas.file_name(TRUST_SCHEMA, 1), trust_schema_bytes()
    )
