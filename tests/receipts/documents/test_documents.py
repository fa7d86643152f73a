"""Documents from outside: what readers take, refuse and ignore.

One valid example of every document is changed in one place at a time.  The published
schema and the pydantic model must judge every change alike: a reader in another language
has only the schema.  What the schema says is said by a validator that is none of ours, written
in another language, where it is installed (`published`).
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from safety_receipts import schemas
from safety_receipts.receipts.documents.generate_schemas import DOCUMENTS
from safety_receipts.receipts.documents.parse import check_schema, parse_document, unknown_fields
from safety_receipts.receipts.errors import ExitCode, MalformedError
from safety_receipts.receipts.model.plan import EvaluationSetup

Place = tuple[str | int, ...]

NAMES = sorted(DOCUMENTS)
OPEN_MAPS = {"templateOptions", "where", "packages"}
"""Objects whose keys are data."""


def walk(value: Any, place: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Yield every place of a document with its value, the root included."""
    yield place, value
    if isinstance(value, dict):
        for key, item in value.items():
            yield from walk(item, (*place, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from walk(item, (*place, index))


def places(document: Any, name: str) -> list[tuple[Place, Any]]:
    """Return the places of a document, one for all that one definition of its schema describes and
    whose values have one type: all items of an array, all counts wherever they stand.
    """
    schema = schemas.load_schema(name)
    seen: set[tuple[object, ...]] = set()
    found: list[tuple[Place, Any]] = []
    for place, value in walk(document):
        general = *described_by(schema, place), type(value)
        if general not in seen:
            seen.add(general)
            found.append((place, value))
    return found


def described_by(schema: dict[str, Any], place: Place) -> list[str]:
    """Return where a schema describes a place, as the last definition on the way and the rest."""
    node, way = schema, [""]
    for step in place:
        node, name = resolved(schema, node)
        way = [name] if name else way
        if isinstance(step, int):
            node = node.get("items", {})
            way.append("*")
        else:
            node = node.get("properties", {}).get(step, {})
            way.append(step)
    return way


def resolved(schema: dict[str, Any], node: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Return what a node refers to, and its name; one that may be null is what it is otherwise.

    Of several definitions none is chosen: what is below is told apart by its path.
    """
    branches = [each for each in node.get("anyOf", [node]) if each != {"type": "null"}]
    name = branches[0].get("$ref", "").rpartition("/")[2] if len(branches) == 1 else ""
    return (schema["$defs"][name], name) if name else (branches[0], "")


SETUP = {field.alias for field in EvaluationSetup.model_fields.values()}
"""What a receipt restates from its plan, by the same definitions."""


def own_places(documents: dict[str, Any], name: str) -> list[tuple[Place, Any]]:
    """Return the places of a document, but not again those that the plan has as well."""
    found = places(documents[name], name)
    if name != "evaluation-statement":
        return found
    return [(place, value) for place, value in found if not set(place[1:2]) & SETUP]


def changed(document: Any, place: Place, *value: Any) -> Any:
    """Return the document with another value at ``place``, or without it if none is given."""
    first, *rest = place
    result = copy.copy(document)
    if rest:
        result[first] = changed(document[first], tuple(rest), *value)
    elif value:
        result[first] = value[0]
    else:
        del result[first]
    return result


@cache
def published(name: str, *, open_fields: bool = False) -> Callable[[Any], bool]:
    """Return whether a schema takes a document, as jsonschema-rs understands the schema.

    Where it is not installed, as beside the base install, our own validator is asked.

    Args:
        name: The schema's name.
        open_fields: Below the root, fields are taken that the schema does not name.
    """
    if find_spec("jsonschema_rs") is None:
        return lambda document: schemas.find_error(document, name, open_fields=open_fields) is None
    from jsonschema_rs import Draft202012Validator

    schema = schemas.load_schema(name)
    for definition in schema.get("$defs", {}).values() if open_fields else ():
        if definition.get("additionalProperties") is False:
            del definition["additionalProperties"]
    return Draft202012Validator(schema).is_valid


def fits(document: Any, name: str) -> tuple[bool, bool]:
    """Say whether schema and model, as writers are held to them, take a document."""
    schema = published(name)(document)
    model: type[BaseModel] = DOCUMENTS[name]
    try:
        model.model_validate_json(json.dumps(document), by_alias=True, by_name=False)
    except ValidationError:
        return schema, False
    return schema, True


BOTH, NEITHER = (True, True), (False, False)


def test_plan_and_receipt_define_their_common_parts_alike() -> None:
    plan, receipt = (
        schemas.load_schema("plan-statement"),
        schemas.load_schema("evaluation-statement"),
    )
    outer = {"PlanPredicate", "EvaluationPredicate"}
    shared = (set(plan["$defs"]) & set(receipt["$defs"])) - outer
    assert len(shared) > 20
    for definition in shared:
        assert plan["$defs"][definition] == receipt["$defs"][definition]
    for field in SETUP:
        of_plan = plan["$defs"]["PlanPredicate"]["properties"][field]
        assert receipt["$defs"]["EvaluationPredicate"]["properties"][field] == of_plan


@pytest.mark.parametrize("name", NAMES)
def test_the_examples_fit(documents: dict[str, Any], name: str) -> None:
    assert fits(documents[name], name) == BOTH


@pytest.mark.parametrize("name", NAMES)
def test_the_examples_have_every_field_that_a_schema_knows(
    documents: dict[str, Any], name: str
) -> None:
    """Else the tests below would leave some part of a document untried."""
    schema = schemas.load_schema(name)
    shown = {place[-1] for place, value in walk(documents[name]) if place and value is not None}
    for definition in (schema, *schema.get("$defs", {}).values()):
        assert set(definition.get("properties", {})) <= shown


@pytest.mark.skipif(find_spec("jsonschema_rs") is None, reason="jsonschema-rs is not installed")
@pytest.mark.parametrize("open_fields", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_our_validator_judges_as_another_one(
    documents: dict[str, Any], name: str, open_fields: bool
) -> None:
    """It words what is wrong for readers, and it is what the base install can ask."""
    document, verdicts = documents[name], set()
    for number, (place, value) in enumerate(own_places(documents, name)[1:]):
        match value:
            case dict():
                other = changed(document, (*place, "another"), 1)
            case str():
                other = changed(document, place, f"{value}\n")
            case _:
                other = changed(document, place, *([None] if number % 2 else []))
        ours = schemas.find_error(other, name, open_fields=open_fields) is None
        assert ours == published(name, open_fields=open_fields)(other), f"{place}"
        verdicts.add(ours)
    assert False in verdicts


LARGEST = 2**53 - 1
SCALARS = (
    st.none() | st.booleans() | st.integers(-LARGEST, LARGEST) | st.text(max_size=70)
    | st.from_regex(r"-?[0-9]{1,3}(\.[0-9]{1,6})?", fullmatch=True)
    | st.from_regex(r"[0-9a-f]{63,65}", fullmatch=True)
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
"""JSON as documents have it: no floats, and integers that every reader can hold."""


def single_changes(document: Any) -> st.SearchStrategy[Any]:
    """Return changes of one place: another value there, a field more, or the place left out."""
    found = list(walk(document))
    values = VALUES | st.sampled_from([value for _, value in found])

    def change(place: Place, value: Any) -> st.SearchStrategy[Any]:
        if not place:
            return values | small_changes(value)
        kinds = [
            values.map(lambda other: changed(document, place, other)),
            small_changes(value).map(lambda other: changed(document, place, other)),
            st.builds(lambda: changed(document, place)),
        ]
        # Each as often: of a union the alternatives inside the alternatives are drawn.
        return st.sampled_from(kinds).flatmap(lambda kind: kind)

    return st.sampled_from(found).flatmap(lambda pair: change(*pair))


def small_changes(value: Any) -> st.SearchStrategy[Any]:
    """Return values of the same type that differ a little."""
    match value:
        case bool():
            return st.just(not value)
        case int():
            return st.integers(-2, 2).map(lambda more: value + more)
        case str():
            places = st.integers(0, len(value))
            return st.builds(
                lambda at, more, to: value[:at] + more + value[to:], places, st.text(), places
            )
        case list():
            return st.integers(0, 3).map(lambda times: value * times)
        case dict():
            return st.builds(lambda key, more: {**value, key: more}, st.text(), VALUES)
        case _:
            return st.just(value)


@pytest.mark.parametrize("name", NAMES)
def test_readers_take_exactly_what_the_schema_with_open_fields_takes(
    documents: dict[str, Any], name: str
) -> None:
    """The model decides for them, and the schema only words what is wrong."""
    takes, model = published(name, open_fields=True), DOCUMENTS[name]
    verdicts = set()

    @settings(max_examples=150, deadline=None)
    @given(single_changes(documents[name]))
    def judged_alike(document: Any) -> None:
        try:
            parse_document(json.dumps(document).encode(), model, name)
        except MalformedError:
            read = False
        else:
            read = True
        assert read == takes(document)
        verdicts.add(read)

    judged_alike()
    assert verdicts == {True, False}


def wrong_types(value: Any) -> list[Any]:
    """Return values that no field that takes ``value`` can take; but some may be null."""
    match value:
        case dict():
            return [[], "text", None]
        case list():
            return [{}, "text", None]
        case bool():
            return [[], "true", 1]
        case int():
            return [[], 1.5, str(value), True, -1, 2**53]
        case str():
            return [{}, [value], 3, True]
        case _:
            return [[], {}, 1.5]


@pytest.mark.parametrize("name", NAMES)
def test_a_value_of_another_type_fits_neither(documents: dict[str, Any], name: str) -> None:
    document = documents[name]
    for place, value in own_places(documents, name):
        for wrong in wrong_types(value):
            if not place:
                assert fits(wrong, name) == NEITHER, f"$: {wrong!r}"
            elif not may_take(place, wrong):
                found = fits(changed(document, place, wrong), name)
                assert found == NEITHER or (wrong is None and found == BOTH), f"{place}: {wrong!r}"


def may_take(place: Place, value: object) -> bool:
    """Say whether a place takes values of several types."""
    if set(place) & OPEN_MAPS:
        return not isinstance(value, (list, dict, float))
    if place[-1] == "drawBlock":
        return value in (3, "all")
    return place[-1] == "hidden" and value == -1  # the one number that may be negative


@pytest.mark.parametrize("name", NAMES)
def test_a_null_is_judged_alike(documents: dict[str, Any], name: str) -> None:
    taken = 0
    for place, _ in own_places(documents, name):
        if place:
            schema, model = fits(changed(documents[name], place, None), name)
            assert schema == model, f"{place}"
            taken += schema
    assert taken < len(own_places(documents, name))


def optional_fields(name: str) -> set[str]:
    """Return the fields that a document may lack, of whatever part of it."""
    schema = schemas.load_schema(name)
    definitions = (schema, *schema.get("$defs", {}).values())
    needed = {field for each in definitions for field in each.get("required", [])}
    return {field for each in definitions for field in each.get("properties", {})} - needed


@pytest.mark.parametrize("name", NAMES)
def test_every_field_must_be_there(documents: dict[str, Any], name: str) -> None:
    """Null is stated, never left out; what may be is an envelope's key id, as in DSSE, and what
    bundles of earlier versions lack.
    """
    document = documents[name]
    later = optional_fields(name)
    for place, _ in own_places(documents, name):
        if not place or isinstance(place[-1], int) or set(place[:-1]) & OPEN_MAPS:
            continue
        expected = BOTH if place[-1] in later else NEITHER
        assert fits(changed(document, place), name) == expected, f"{place}"


@pytest.mark.parametrize("name", NAMES)
def test_writers_add_no_fields(documents: dict[str, Any], name: str) -> None:
    document = documents[name]
    for place, value in own_places(documents, name):
        if isinstance(value, dict) and not set(place) & OPEN_MAPS:
            assert fits(changed(document, (*place, "another"), 1), name) == NEITHER, f"{place}"


@pytest.mark.parametrize("name", NAMES)
def test_other_spellings_of_a_string_are_judged_alike(documents: dict[str, Any], name: str) -> None:
    for place, value in own_places(documents, name):
        if not isinstance(value, str):
            continue
        for other in ("", f"{value}\n", value.upper(), f"{value}\x00", value[:-1], "x" * 10_000):
            schema, model = fits(changed(documents[name], place, other), name)
            assert schema == model, f"{place}: {other[:80]!r}"


@pytest.mark.parametrize("name", NAMES)
def test_other_lengths_of_an_array_are_judged_alike(documents: dict[str, Any], name: str) -> None:
    for place, value in own_places(documents, name):
        if isinstance(value, list):
            for other in ([], value * 2, value * 50):
                schema, model = fits(changed(documents[name], place, other), name)
                assert schema == model, f"{place}: {len(other)}"


# Types of leaves, each at one place of a document.

Leaf = tuple[str, Place]

_TIME: Leaf = ("audit-statement", ("predicate", "finishedAt"))
_DATE: Leaf = ("plan-statement", ("predicate", "prompt", "date"))
_RATE: Leaf = ("evaluation-statement", ("predicate", "conditions", 0, "complianceRate"))
_MEAN: Leaf = ("evaluation-statement", ("predicate", "conditions", 0, "meanPromptTokens"))
_DECIMAL: Leaf = ("plan-statement", ("predicate", "sampling", "temperature"))
_MARGIN: Leaf = ("plan-statement", ("predicate", "effectMargin"))
_SCORE: Leaf = ("restricted-record", ("judge", "margin"))
_PROBABILITY: Leaf = ("audit-statement", ("predicate", "epsilon"))
_PATH: Leaf = ("plan-statement", ("predicate", "checkpoint", "files", 0, "path"))
_NAME: Leaf = ("plan-statement", ("predicate", "name"))
_QUERY: Leaf = ("plan-statement", ("predicate", "queryIds", 0))
_DIGEST: Leaf = ("plan-statement", ("predicate", "checkpoint", "root"))

GOOD: dict[Leaf, list[str | None]] = {
    _TIME: ["2026-01-31T23:59:59Z", "2024-02-29T00:00:00Z"],
    _DATE: ["2026-12-01"],
    _RATE: ["0.000000", "0.999999", "1.000000", None],
    _MEAN: ["0.00", "264.33", "9999999999999999.99", None],
    _DECIMAL: ["0", "0.7", "-0.05", "12", "-1", "0.0", "0." + "1" * 20],
    _MARGIN: ["0", "0.05", "0.0", "12"],
    _SCORE: ["0.000000", "-0.000001", "12.345678"],
    _PROBABILITY: ["0", "1", "0.05", "1.000", "0.0"],
    _PATH: ["model.safetensors", "a/b/c.json", "..a/b..", ".hidden", "a b/ü"],
    _NAME: ["n", "Größe 世界 \U0001f600", "x" * 512, "a\u00a0b"],
    _QUERY: ["a/1", "a-b.c_d/x/y[0]:{~}"],
    _DIGEST: ["0" * 64],
}
BAD: dict[Leaf, list[str]] = {
    _TIME: [
        "2026-01-31T23:59:59",
        "2026-01-31T23:59:59+00:00",
        "2026-01-31t23:59:59z",
        "2026-01-31T23:59:60Z",
        "2026-01-31T24:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-00-01T00:00:00Z",
        "2026-01-32T00:00:00Z",
        "2026-01-31T23:59:59.000Z",
        "2026-01-31 23:59:59Z",
        "٢026-01-31T23:59:59Z",
    ],
    _DATE: ["2026-1-1", "2026-01-00", "20260101", "2026-01-01T00:00:00Z"],
    _RATE: ["0.5", "1", "1.000001", "2.000000", "-0.000000", "0.0000000", ".500000", "0,500000"],
    _MEAN: ["264.3", "264", "00.00", "-1.00", "1e2", "264.333"],
    _DECIMAL: ["-0", "-0.0", "1e3", "00", "01", ".5", "5.", "+1", "NaN", "", "1_0", "0x1"],
    _MARGIN: ["-0.05", "-1", "-0", "1e3", "01", ""],
    _SCORE: ["-0.000000", "1", "0.5", "0.0000000", "1e-3", "00.000000"],
    _PROBABILITY: ["1.1", "-0", "-0.1", "0.", "1e-5", "00.5", "2", "1.01"],
    _PATH: ["/etc/passwd", "../a", "a/../b", "a/..", "a//b", "./a", ".", "..", "a\\b", "a\x00", ""],
    _NAME: ["", "x" * 513, "two\nlines", "\x1b[31m", "a\u2028b", "a\x85b", "\x7f"],
    _QUERY: ["a", "a/", "/1", "-a/1", "a/b c", 'a/"', "a/\\", "a/ü", "ü/1", "a/" + "x" * 255],
    _DIGEST: ["0" * 63, "0" * 65, "F" * 64, "g" * 64, "٠" * 64],
}


@pytest.mark.parametrize(
    ("where", "value"), [(where, value) for where, values in GOOD.items() for value in values]
)
def test_well_formed_leaves(documents: dict[str, Any], where: Leaf, value: str | None) -> None:
    name, place = where
    assert fits(changed(documents[name], place, value), name) == BOTH


@pytest.mark.parametrize(
    ("where", "value"), [(where, value) for where, values in BAD.items() for value in values]
)
def test_ill_formed_leaves(documents: dict[str, Any], where: Leaf, value: str) -> None:
    name, place = where
    assert fits(changed(documents[name], place, value), name) == NEITHER


@pytest.mark.parametrize("where", GOOD)
def test_a_line_break_after_a_leaf_is_refused(documents: dict[str, Any], where: Leaf) -> None:
    """Python's ``$`` would match before it."""
    name, place = where
    for value in GOOD[where]:
        if value is not None:
            assert fits(changed(documents[name], place, f"{value}\n"), name) == NEITHER


# Readers


def read(document: Any, name: str, file: str | Path | None = None) -> tuple[BaseModel, Any]:
    """Read a document as a reader does."""
    return parse_document(json.dumps(document).encode(), DOCUMENTS[name], name, file=file)


@pytest.mark.parametrize("name", NAMES)
def test_a_document_reads_and_writes_back(documents: dict[str, Any], name: str) -> None:
    model, plain = read(documents[name], name)
    assert plain == documents[name]
    assert model.model_dump(mode="json", by_alias=True) == documents[name]
    assert unknown_fields(plain, model) == []


@pytest.mark.parametrize("name", NAMES)
def test_readers_ignore_unknown_fields_below_the_root_and_list_them(
    documents: dict[str, Any], name: str
) -> None:
    """A newer minor version may add some."""
    document = documents[name]
    expected = DOCUMENTS[name].model_validate_json(json.dumps(document), by_alias=True)
    for place, value in own_places(documents, name):
        if not isinstance(value, dict) or set(place) & OPEN_MAPS or not place:
            continue
        newer = changed(document, (*place, "newer"), {"a": [1]})
        model, plain = read(newer, name)
        assert model == expected
        path = "".join(f"[{s}]" if isinstance(s, int) else f".{s}" for s in place)
        assert unknown_fields(plain, model) == [f"${path}.newer"]


@pytest.mark.parametrize("name", NAMES)
def test_the_root_of_a_document_is_closed(documents: dict[str, Any], name: str) -> None:
    """In-toto's own parser raises there too."""
    with pytest.raises(MalformedError, match="newer"):
        read({**documents[name], "newer": 1}, name)


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"inclusion-proof"}))
def test_python_names_are_no_wire_names(documents: dict[str, Any], name: str) -> None:
    """Models can be built by either, a document cannot; an inclusion proof has one-word names."""
    model = DOCUMENTS[name]
    by_python = model.model_validate_json(json.dumps(documents[name])).model_dump(
        mode="json", by_alias=False
    )
    assert by_python != documents[name]
    with pytest.raises(MalformedError):
        read(by_python, name)


@pytest.mark.parametrize("name", NAMES)
def test_errors_name_file_place_and_remedy(documents: dict[str, Any], name: str) -> None:
    for place, value in own_places(documents, name):
        if not isinstance(value, (str, int)) or "_type" in place or set(place) & OPEN_MAPS:
            continue  # versions of jsonschema spell $._type differently
        with pytest.raises(MalformedError) as caught:
            read(changed(documents[name], place, {}), name, file="some/file.json")
        error = caught.value
        path = "$" + "".join(f"[{s}]" if isinstance(s, int) else f".{s}" for s in place)
        assert error.file == "some/file.json"
        # An error inside a nullable object is located at that object.
        assert error.place is not None
        assert path == error.place or path.startswith((f"{error.place}.", f"{error.place}["))
        assert error.hint == f"receipts schema {name}"
        assert error.exit_code is ExitCode.BAD_INPUT
        assert len(error.one_line().splitlines()) == 1


@pytest.mark.parametrize("data", [b"", b"null", b"[]", b"{}", b"3", b"\xff", b'{"a":1,"a":2}'])
@pytest.mark.parametrize("name", NAMES)
def test_other_files_are_no_documents(name: str, data: bytes) -> None:
    with pytest.raises(MalformedError):
        parse_document(data, DOCUMENTS[name], name)


def test_floats_are_no_part_of_a_document(documents: dict[str, Any]) -> None:
    """JSON Schema takes 64.0 for an integer; readers here do not."""
    place = ("predicate", "pointsTotal")
    document = changed(documents["audit-statement"], place, 64.0)
    with pytest.raises(MalformedError, match=r"64\.0 is not an integer"):
        read(document, "audit-statement")


@pytest.mark.parametrize(
    ("name", "place", "value", "message"),
    [
        (*_DATE, "today", '"today" does not have the form ^[0-9]{4}-'),
        ("point", ("draw",), "1", '"1" is not of type integer'),
        (
            "plan-statement",
            ("predicate", "engine"),
            "vllm",
            '"vllm" is not one of transformers, openai, mock',
        ),
        (
            "plan-statement",
            ("predicateType",),
            "urn:other",
            '"urn:other" should be urn:safety-receipts:plan:1',
        ),
    ],
)
def test_messages_say_what_was_expected(
    documents: dict[str, Any], name: str, place: Place, value: Any, message: str
) -> None:
    with pytest.raises(MalformedError) as caught:
        read(changed(documents[name], place, value), name)
    assert caught.value.message.startswith(message)


def test_a_message_does_not_repeat_a_huge_value(documents: dict[str, Any]) -> None:
    for wrong in ("x" * 100_000, ["x" * 100_000], list(range(50_000))):
        with pytest.raises(MalformedError) as caught:
            read(
                changed(documents["plan-statement"], ("predicate", "name"), wrong), "plan-statement"
            )
        assert len(caught.value.message) < 1000


def test_check_schema_takes_and_refuses(documents: dict[str, Any]) -> None:
    check_schema(documents["point"], "point")
    with pytest.raises(MalformedError):
        check_schema(documents["point"] | {"newer": 1}, "point")
    with pytest.raises(MalformedError):
        check_schema(documents["point"] | {"newer": 1}, "point", open_fields=True)
    check_schema(documents["point"] | {"newer": 1}, "point", open_root=True)
