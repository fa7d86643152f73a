"""Strict, bounded JSON."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from safety_receipts.receipts.canonical import MAX_SAFE_INTEGER, canonical_bytes
from safety_receipts.receipts.documents import strict_json
from safety_receipts.receipts.documents.strict_json import MAX_JSON_DEPTH, parse_json
from safety_receipts.receipts.errors import ExitCode, MalformedError

LEAVES = st.none() | st.booleans() | st.integers(-MAX_SAFE_INTEGER, MAX_SAFE_INTEGER) | st.text()
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
JSON_LIKE = st.text(alphabet='{}[]",:0123456789.-+eE\\udnultrfasN \n\ud800\U0001f600')


@given(VALUES)
@settings(deadline=None)
def test_canonical_documents_come_back_as_they_were(value: Any) -> None:
    data = canonical_bytes(value)
    parsed = parse_json(data)
    assert parsed == value
    assert canonical_bytes(parsed) == data


@given(st.binary() | JSON_LIKE.map(lambda text: text.encode("utf-8", "surrogatepass")))
@example(b"\xff")
@example(b"[" * 200_000)
@example(b'{"a":' * 200_000)
@example(b"9" * 1_000_000)
@settings(max_examples=400, deadline=None)
def test_arbitrary_bytes_give_a_value_or_a_malformed_error(data: bytes) -> None:
    with suppress(MalformedError):
        canonical_bytes(parse_json(data))  # what is accepted can be canonicalised


@given(VALUES, st.data())
@settings(deadline=None)
def test_a_damaged_document_gives_a_value_or_a_malformed_error(
    value: Any, data: st.DataObject
) -> None:
    document = bytearray(canonical_bytes(value))
    place = data.draw(st.integers(0, len(document) - 1))
    document[place] = data.draw(st.integers(0, 255))
    with suppress(MalformedError):
        canonical_bytes(parse_json(bytes(document)))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not JSON"),
        (b" ", "not JSON"),
        (b"{} {}", "extra data"),
        (b"[1,]", "not JSON"),
        (b"{'a':1}", "not JSON"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        (b"01", "extra data"),
        (b"+1", "not JSON"),
        (b"1\x00", "extra data"),
        (b'"\t"', "not JSON"),
        (b"\xd9\xa1", "not JSON"),
        (b"1.0", "1.0 is not an integer"),
        (b"[1e2]", "1e2 is not an integer"),
        (b"-0.0", "-0.0 is not an integer"),
        (b"-0", "-0 is not a canonical integer"),
        (b"NaN", "NaN is not JSON"),
        (b"[Infinity]", "Infinity is not JSON"),
        (b'{"a":-Infinity}', "-Infinity is not JSON"),
        (b"9007199254740992", "beyond"),
        (b"-9007199254740992", "beyond"),
        (b"1" * 5000, "beyond"),
        (b'{"c":2,"a":1,"a":1}', "'a' appears twice"),
        (b'[{"b":{"a":1,"c":2,"\\u0061":1}}]', "'a' appears twice"),
        (b'"\\ud800"', "lone surrogate"),
        (b'["\\udc00\\ud800"]', "lone surrogate"),
        (b'{"\\udfff":1}', "lone surrogate"),
        (b'"\xff"', "not valid UTF-8"),
        (b'"\xed\xa0\x80"', "not valid UTF-8"),
        (b'"\xc0\xaf"', "not valid UTF-8"),
    ],
)
def test_what_two_readers_could_read_differently_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(MalformedError) as caught:
        parse_json(data, file="some.json")
    assert message in caught.value.message
    assert caught.value.file == "some.json"
    assert caught.value.exit_code is ExitCode.BAD_INPUT


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b'"\\ud83d\\ude00"', "\U0001f600"),
        (b'"\\u0000"', "\x00"),
        (b" [ 1 , true ]\r\n", [1, True]),
        (b"9007199254740991", MAX_SAFE_INTEGER),
        (b"-9007199254740991", -MAX_SAFE_INTEGER),
        ('{"ключ":"значение"}'.encode(), {"ключ": "значение"}),
    ],
)
def test_sound_documents_are_accepted(data: bytes, value: Any) -> None:
    assert parse_json(data) == value


@pytest.mark.parametrize(
    ("data", "place"),
    [
        (b'"abc\xff"', "byte 4"),
        (b'{\n "a": ?}', "line 2 column 7"),
        (b'{"a":[0,"\\ud800"]}', "$.a[1]"),
    ],
)
def test_errors_name_the_place(data: bytes, place: str) -> None:
    with pytest.raises(MalformedError) as caught:
        parse_json(data)
    assert caught.value.place == place


_MEASURED = """
import resource, sys
from safety_receipts.receipts.errors import MalformedError
from safety_receipts.receipts.documents.strict_json import parse_json
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    parse_json(sys.stdin.buffer.read())
except MalformedError as error:
    assert len(error.one_line()) < 2000
unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // unit)
"""


@pytest.mark.parametrize(
    "document",
    [
        b'{"' + b"k" * 500_000 + b'":[' + b",".join([b"0"] * 250_000) + b"]}",
        b'{"' + b"k" * 500_000 + b'":[' + b",".join([b'"\xc3\xa9"'] * 200_000) + b"]}",
        b'{"' + b"k" * 500_000 + b'":[' + b",".join([b"[]"] * 250_000) + b"]}",
        b'{"' + b"k" * 500_000 + b'":{' + b'"a":{' * 30 + b'"\\ud800":1' + b"}" * 32,
        b'{"' + b"k" * 500_000 + b'":1,"' + b"k" * 500_000 + b'":1}',
        b"[" * 1_000_000,
        b"[" + b"1" * 1_000_000 + b"]",
        b"1." + b"1" * 1_000_000,
    ],
    ids=["numbers", "strings", "arrays", "surrogate", "duplicate", "depth", "integer", "float"],
)
def test_a_megabyte_of_hostile_json_takes_little_memory(document: bytes) -> None:
    """And its error stays short: nothing grows with the product of two lengths."""
    finished = subprocess.run(
        [sys.executable, "-c", _MEASURED], input=document, capture_output=True, check=True
    )
    assert int(finished.stdout) < 150


def test_the_number_of_arrays_and_objects_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of them takes some fifty times its two bytes."""
    assert strict_json.MAX_CONTAINERS <= 1_000_000
    monkeypatch.setattr(strict_json, "MAX_CONTAINERS", 5)
    assert parse_json(b'[[],{"a":[]},{}]') == [[], {"a": []}, {}]
    with pytest.raises(MalformedError, match="more than 5 arrays and objects"):
        parse_json(b'[[],{"a":[]},{},[]]')


def _nested(depth: int) -> bytes:
    """Return arrays and objects in turn, ``depth`` of them."""
    half = depth // 2
    return b"[" * (depth % 2) + b'[{"a":' * half + b"1" + b"}]" * half + b"]" * (depth % 2)


def test_nesting_is_bounded() -> None:
    parse_json(_nested(MAX_JSON_DEPTH))
    with pytest.raises(MalformedError, match="nested deeper than 32 levels"):
        parse_json(_nested(MAX_JSON_DEPTH + 1))
