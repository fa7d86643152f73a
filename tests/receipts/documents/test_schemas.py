"""The published JSON Schemas."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from safety_receipts import schemas
from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.documents.generate_schemas import (
    DOCUMENTS,
    document_schema,
    document_schema_bytes,
)

FOLDER = Path(schemas.__file__).parent / "v1"
NAMES = sorted(DOCUMENTS)


def test_there_is_one_schema_for_every_document() -> None:
    """And one for plan files, policies and trust files, which people write: held to their entries
    elsewhere.

    Those of what commands print are held to their models by tests/cli and tests/runner.
    """
    names = [name for name in schemas.schema_names() if not name.startswith("cli-")]
    assert names == sorted([*NAMES, "gate-policy", "log-settings", "plan-file", "trust-file"])
    files = [f"{name}.schema.json" for name in schemas.schema_names()]
    assert sorted(path.name for path in FOLDER.iterdir()) == sorted(files)


@pytest.mark.parametrize("name", NAMES)
def test_files_are_what_the_models_generate(name: str) -> None:
    """After a change of a model: ``make schemas``."""
    assert (FOLDER / f"{name}.schema.json").read_bytes() == document_schema_bytes(name)
    assert schemas.load_schema(name) == document_schema(name)


@pytest.mark.parametrize("name", NAMES)
def test_every_schema_is_valid_and_says_what_it_is(name: str) -> None:
    schema = schemas.load_schema(name)
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == Draft202012Validator.META_SCHEMA["$id"]
    assert schema["$id"] == f"urn:safety-receipts:schema:{name}:1"
    assert schema["title"]
    assert schema["description"]
    assert schema["type"] == "object"


def test_no_two_schemas_share_id_or_title() -> None:
    loaded = [schemas.load_schema(name) for name in NAMES]
    assert len({schema["$id"] for schema in loaded}) == len(NAMES)
    assert len({schema["title"] for schema in loaded}) == len(NAMES)


def _objects(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "the root", schema
    yield from schema.get("$defs", {}).items()


@pytest.mark.parametrize("name", NAMES)
def test_every_property_is_described(name: str) -> None:
    """By itself, or by the definition that it refers to."""
    schema = schemas.load_schema(name)
    for owner, definition in _objects(schema):
        for field, described in definition.get("properties", {}).items():
            target = schema.get("$defs", {}).get(described.get("$ref", "").rpartition("/")[2], {})
            text = described.get("description") or target.get("description")
            assert text, f"{owner}: {field}"
            assert text.strip().endswith("."), f"{owner}: {field}: {text}"


@pytest.mark.parametrize("name", NAMES)
def test_every_object_is_closed_and_complete(name: str) -> None:
    """Writers state everything, and nothing else; the exceptions are DSSE's optional key id, and
    what bundles of earlier versions lack: fields that are null then.
    """
    for owner, definition in _objects(schemas.load_schema(name)):
        if "properties" in definition:
            assert definition["additionalProperties"] is False, owner
            optional = set(definition["properties"]) - set(definition["required"])
            later = {n for n in optional if definition["properties"][n].get("default", 0) is None}
            assert optional - later <= {"keyid"}, owner


@pytest.mark.parametrize("name", NAMES)
def test_no_schema_asks_for_floats_or_other_files(name: str) -> None:
    text = json.dumps(schemas.load_schema(name))
    assert '"number"' not in text
    references = [part.partition('"')[0] for part in text.split('"$ref": "')[1:]]
    assert all(reference.startswith("#/$defs/") for reference in references)


def test_everything_in_a_sealed_bundle_fits(sealed: Bundle) -> None:
    documents = [
        ("plan-statement", sealed.plan.document),
        ("evaluation-statement", sealed.receipt.document),
        ("envelope", json.loads((sealed.folder / "plan.dsse.json").read_bytes())),
        ("envelope", json.loads((sealed.folder / "receipt.dsse.json").read_bytes())),
    ]
    documents += [("point", json.loads(line)) for line in sealed.lines(1000)]
    documents += [("restricted-record", record.to_wire()) for record in sealed.responses()]
    for name, document in documents:
        assert schemas.find_error(document, name) is None
        # Any validator of draft 2020-12 agrees: nothing rests on our own reading.
        assert Draft202012Validator(schemas.load_schema(name)).is_valid(document)


def test_unknown_names() -> None:
    with pytest.raises(KeyError):
        schemas.load_schema("receipt")


def test_a_loaded_schema_is_the_callers_own() -> None:
    schemas.load_schema("point")["properties"].clear()
    assert schemas.load_schema("point")["properties"]


def test_dollar_means_the_end_and_not_a_line_break(documents: dict[str, Any]) -> None:
    """ECMA 262's ``$``, not Python's."""
    point = documents["point"]
    error = schemas.find_error(point | {"source": point["source"] + "\n"}, "point")
    assert error is not None
    assert error.json_path == "$.source"


@pytest.mark.parametrize(
    ("options", "at_root", "below"),
    [
        ({}, False, False),
        ({"open_fields": True}, False, True),
        ({"open_root": True}, True, False),
        ({"open_fields": True, "open_root": True}, True, True),
    ],
)
def test_unknown_fields_are_taken_where_asked_for(
    documents: dict[str, Any], options: dict[str, bool], at_root: bool, below: bool
) -> None:
    plan = documents["plan-statement"]
    newer_root = plan | {"newer": 1}
    newer_below = plan | {"predicate": plan["predicate"] | {"newer": 1}}
    assert (schemas.find_error(newer_root, "plan-statement", **options) is None) == at_root
    assert (schemas.find_error(newer_below, "plan-statement", **options) is None) == below
    spoilt = plan | {"predicate": plan["predicate"] | {"points": -1}}
    assert schemas.find_error(spoilt, "plan-statement", **options) is not None
