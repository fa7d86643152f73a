"""Writes the JSON Schema of a gate's policy, for editors, from its entries.

Run by ``make schemas``, or ``python -m safety_receipts.verify.gate.generate_policy_schema``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from safety_receipts import schemas
from safety_receipts.receipts.documents.generate_schemas import member_meanings, schema_of
from safety_receipts.receipts.io.files import atomic_write
from safety_receipts.verify.compare import comparison
from safety_receipts.verify.gate.policy import GatePolicy
from safety_receipts.verify.gate.rules import rate

POLICY_SCHEMA: Final = "gate-policy"
"""Name of the schema."""


def policy_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a policy."""
    return schema_of(GatePolicy, POLICY_SCHEMA, 1, member_meanings((comparison, rate)))


def policy_schema_bytes() -> bytes:
    """Return the bytes of the schema's file."""
    return json.dumps(policy_schema(), indent=2, ensure_ascii=False).encode("utf-8") + b"\n"


if __name__ == "__main__":
    atomic_write(
        Path(schemas.__file__).parent / schemas.file_name(POLICY_SCHEMA, 1), policy_schema_bytes()
    )
