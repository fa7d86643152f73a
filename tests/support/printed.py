"""What commands print with ``--json``, held to the published schemas."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from safety_receipts import schemas
from safety_receipts.receipts.view.documents.base import CommandSchemas


def held(name: str, printed: str) -> Any:
    """Return a printed document, which is what its schema says, without a field beside."""
    document = json.loads(printed)
    # Any validator of draft 2020-12: nothing rests on our own reading.
    errors = list(Draft202012Validator(schemas.load_schema(name)).iter_errors(document))
    assert not errors, f"{name}: {errors[0].json_path}: {errors[0].message}"
    assert schemas.find_error(document, name) is None
    assert document["schema"] == f"{name}/1"
    return document


def check_published(room: CommandSchemas, name: str) -> None:
    """Hold a published schema to the models that it is generated from, and to its promise."""
    file = Path(schemas.__file__).parent / schemas.file_name(name, 1)
    assert file.read_bytes() == room.serialise(name), "after a change of a model: make schemas"
    schema = schemas.load_schema(name)
    Draft202012Validator.check_schema(schema)
    assert schema["$id"] == f"urn:safety-receipts:schema:{name}:1"
    assert schema["type"] == "object"
    assert schema["properties"]["schema"]["const"] == f"{name}/1"
    assert "schema" in schema["required"]
    assert f"Printed by `receipts {room.documents[name].command} --json`." in schema["description"]
    assert "fields may be added; none is removed or changed" in schema["description"]
    for owner, definition in (("the root", schema), *schema.get("$defs", {}).items()):
        if "properties" in definition:
            assert definition["additionalProperties"] is False, owner
            _check_fields(schema, owner, definition)


def _check_fields(schema: dict[str, Any], owner: str, definition: dict[str, Any]) -> None:
    """Every field is described, and there, but for those of later versions, which are null then."""
    for field, described in definition["properties"].items():
        target = schema.get("$defs", {}).get(described.get("$ref", "").rpartition("/")[2], {})
        text = described.get("description") or target.get("description") or ""
        assert text.strip().endswith("."), f"{owner}: {field}: {text}"
        later = described.get("default", 0) is None
        assert field in definition["required"] or later, f"{owner}: {field}"
