"""Writes the JSON Schema of a log's settings, for editors.

Run by ``make schemas``, or ``python -m safety_receipts.receipts.log.generate_settings_schema``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from safety_receipts import schemas
from safety_receipts.receipts.documents.generate_schemas import schema_of
from safety_receipts.receipts.io.files import atomic_write
from safety_receipts.receipts.log.settings import LogSettings

SETTINGS_SCHEMA: Final = "log-settings"
"""Name of the schema."""


def settings_schema_bytes() -> bytes:
    """Return the bytes of the schema's file (draft 2020-12)."""
    schema = schema_of(LogSettings, SETTINGS_SCHEMA, 1, {})
    return json.dumps(schema, indent=2, ensure_ascii=False).encode("utf-8") + b"\n"


if __name__ == "__main__":
    atomic_write(
        Path(schemas.__file__).parent / schemas.file_name(SETTINGS_SCHEMA, 1),
        settings_schema_bytes(),
    )
