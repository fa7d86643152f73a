"""YAML from users: what is read, where it stood, and what is refused on which line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from safety_receipts.receipts.documents.yaml_file import (
    MAX_YAML_BYTES,
    MAX_YAML_DEPTH,
    YamlFile,
    load_yaml,
)
from safety_receipts.receipts.errors import FileAccessError, MalformedError, ReceiptsError


def read(folder: Path, content: str | bytes) -> YamlFile:
    path = folder / "plan.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return load_yaml(path)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("3", 3),
        ("-3", -3),
        ("007", 7),
        ("0.25", 0.25),
        ("1e-3", 0.001),
        ("true", True),
        ("null", None),
        ("~", None),
        ("", None),
        ('"3"', "3"),
        ("'true'", "true"),
        ("no", "no"),  # YAML 1.1 reads a boolean: Norwegian becomes false
        ("1:30", "1:30"),  # and this as 90
        ("2026-01-01", "2026-01-01"),
        ("0x10", "0x10"),
        (".inf", ".inf"),
        ("1_000", "1_000"),
        ("<<", "<<"),
        ("|\n  two\n  lines", "two\nlines"),
    ],
)
def test_scalars_are_read_as_people_mean_them(tmp_path: Path, written: str, value: Any) -> None:
    read_value = read(tmp_path, f"key: {written}").document["key"]
    assert read_value == value
    assert type(read_value) is type(value)


def test_every_key_path_has_its_line(tmp_path: Path) -> None:
    file = read(tmp_path, "# comment\na:\n  b: 1\n  c:\n    - x\n    - {d: 2}\ne: [1,\n 2]\n")
    assert file.document == {"a": {"b": 1, "c": ["x", {"d": 2}]}, "e": [1, 2]}
    assert file.lines == {
        (): 2,
        ("a",): 2,
        ("a", "b"): 3,
        ("a", "c"): 4,
        ("a", "c", 0): 5,
        ("a", "c", 1): 6,
        ("a", "c", 1, "d"): 6,
        ("e",): 7,
        ("e", 0): 7,
        ("e", 1): 8,
    }
    assert file.place(("a", "c", 1, "d")) == "line 6: a.c[1].d"
    assert file.place(("a", "c", 1, "missing")) == "line 6: a.c[1].missing"
    assert file.place(()) == "line 2"


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    assert read(tmp_path, b"\xef\xbb\xbfversion: 1\n").document == {"version": 1}


REFUSED = {
    "empty": ("", 1, "is empty"),
    "only comments": ("# one\n# two\n", 1, "is empty"),
    "invalid UTF-8": (b"a: 1\nb: \xff\n", 2, "is not valid UTF-8"),
    "UTF-16": ("a: 1\n".encode("utf-16"), 1, "is not valid UTF-8"),
    "NUL": ("a: 1\nb: x\0y\n", 2, r"the character '\\x00' is not allowed"),
    "control character": ("a: 1\n\nb: \x1b[31m\n", 3, r"the character '\\x1b' is not allowed"),
    "NUL as an escape": ('a: 1\nb: "x\\0y"\n', 2, "text holds NUL or half a character"),
    "half a surrogate pair": ('a: 1\nb: "\\ud800"\n', 2, "text holds NUL or half a character"),
    "an escape out of range": ('a: 1\nb: "\\UFFFFFFFF"\n', 2, "is not YAML"),
    "a version of many digits": ("%YAML 1." + "9" * 5000 + "\n---\na: 1\n", 1, "is not YAML"),
    "tab": ("a:\n\tb: 1\n", 2, r"a tab stands before the text \(indent with spaces, not tabs\)"),
    "two documents": ("a: 1\n---\nb: 2\n", 2, "a second document starts here"),
    "anchor": ("a: &x 1\nb: 2\n", 1, "anchors and aliases"),
    "alias": ("a: 1\nb: *x\n", 2, "anchors and aliases"),
    "alias as a key": ("a: 1\n*x : 2\n", 2, "anchors and aliases"),
    "duplicate": ("a: 1\nb: 2\na: 3\n", 3, "the key 'a' appears twice, first on line 1"),
    "nested duplicate": ("a:\n  b: 1\n  'b': 2\n", 3, "the key 'b' appears twice, first on line 2"),
    "python tag": ("a: 1\nb: !!python/object:os.system {}\n", 2, "tags are not allowed"),
    "harmless tag": ("a: !!str 1\n", 1, "tags are not allowed"),
    "own tag": ("a: !include b.yaml\n", 1, "tags are not allowed"),
    "tag on a key": ("!!int x: 1\n", 1, "tags are not allowed"),
    "number as a key": ("a: 1\n2: 3\n", 2, r"the key 2 is not text \(put it in quotes"),
    "boolean as a key": ("true: 3\n", 1, "the key true is not text"),
    "nothing as a key": ("{a: 1,\n? : 3}\n", 2, r"the key \(nothing\) is not text"),
    "list as a key": ("a: 1\n[1, 2]: 3\n", 2, "a key is text, not a list"),
    "integer of many digits": ("a: " + "9" * 5000, 1, "a number of 5000 digits is too long"),
    "float out of range": ("a: 1e999", 1, "the number is too large"),
    "unclosed": ("a: 1\nb: [1, 2\n", 2, "is not YAML: a bracket .* opened here .* not closed"),
    "unclosed brace": ("a: {b: 1\nc: 2\n", 1, r"not closed, .* \(met on line 2\)"),
    "unclosed quotation": (
        'a: 1\nb: "b\nc: 1\n',
        2,
        "a quotation mark is opened here and not",
    ),
    "unclosed single quotation": ("a: 'b\nc: 1\n", 1, "a quotation mark is opened here"),
    "two colons": ("a: b: c\n", 1, "a second colon on a line, .* in quotes"),
    "indented a key": ("a: 1\n b: 2\n", 2, "a key that is indented otherwise than those before"),
    "indented less": ("a:\n   b: 1\n  c: 2\n", 3, "this line is indented otherwise than those"),
    "no colon": (
        "a: 1\nb 2\nc: 3\n",
        2,
        r"are missing after a key \(write key: value\)",
    ),
    "no space": ("a: 1\nb:2\nc: 3\n", 2, "a colon and a space are missing after a key"),
    "at sign": ("a: @home\n", 1, r"text cannot begin with this .* \(put the text in"),
    "percent sign": ("a: 1\nb: %s\n", 2, "text cannot begin with this character"),
    "an escape of Windows": (
        'a: "C:\\models"\n',
        1,
        "a backslash begins an .*single quotes",
    ),
    "decimal comma": ("{a: 1,5, b: 2}\n", 1, "the key 5 is not text .* has a point: 0.5"),
    "bad directive": ("%YAML 9.0\n---\na: 1\n", 1, "is not YAML"),
    "flow nesting": ("a: 1\nb: " + "[" * 100_000, 2, "is nested deeper than 16 levels"),
    "mapping nesting": ("{a: " * 10_000, 1, "is nested deeper than 16 levels"),
    "nesting in a key": ("? " * 10_000, 1, "a key is text, not a list"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_says_its_line(tmp_path: Path, name: str) -> None:
    content, line, message = REFUSED[name]
    with pytest.raises(MalformedError, match=message) as caught:
        read(tmp_path, content)
    assert caught.value.place == f"line {line}"
    assert caught.value.file == str(tmp_path / "plan.yaml")
    assert caught.value.one_line().isprintable()


def test_the_deepest_that_is_allowed_is_read(tmp_path: Path) -> None:
    value = read(tmp_path, "[" * MAX_YAML_DEPTH + "]" * MAX_YAML_DEPTH).document
    for _ in range(MAX_YAML_DEPTH - 1):
        [value] = value
    assert value == []


def test_a_long_file_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    with pytest.raises(MalformedError, match="longer than the 262,144 bytes allowed here"):
        read(tmp_path, "a: 1\n" + "#" * 2 * 1024 * 1024)
    assert read(tmp_path, ("a: 1\n" + "#" * MAX_YAML_BYTES)[:MAX_YAML_BYTES]).document == {"a": 1}


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileAccessError, match="No such file"):
        load_yaml(tmp_path / "plan.yaml")


PLAIN = (
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text("abc: -#'\"é\n", max_size=8)
)
DOCUMENTS = st.recursive(
    PLAIN | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("ab:# ", max_size=4), inner)
    ),
    max_leaves=5,
)


@given(document=DOCUMENTS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_json_is_read_as_json_is(tmp_path: Path, document: Any) -> None:
    assert read(tmp_path, json.dumps(document, ensure_ascii=False)).document == document


YAML_PIECES = st.lists(
    st.sampled_from(
        [*"[]{}:,-?&*!|>'\"%@`#\n\t ~.", "a", "1", "\\", "\\U", "- ", ": ", "---", "..."]
    )
    | st.text(max_size=2),
    max_size=30,
).map("".join)


@given(content=st.binary(max_size=40) | YAML_PIECES.map(lambda text: text.encode(errors="replace")))
@settings(max_examples=500, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_the_bytes_there_is_a_document_or_one_line(tmp_path: Path, content: bytes) -> None:
    try:
        lines = set(read(tmp_path, content).lines.values())
    except ReceiptsError as error:
        lines = {int(str(error.place).removeprefix("line "))}
        shown = error.one_line()
        assert shown.isprintable()
    # Other characters break lines too: U+0085, U+2028, U+2029 (YAML 1.1, section 4.2).
    assert lines <= set(range(1, len(content.decode(errors="replace").splitlines()) + 2))
