"""One family of errors, each with its exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from safety_receipts.receipts import errors
from safety_receipts.receipts.errors import (
    ExitCode,
    FileAccessError,
    IncompleteError,
    IntegrityError,
    KeyFileError,
    MalformedError,
    ReceiptsError,
    UsageError,
)


def test_exit_codes_are_the_published_ones() -> None:
    """Scripts and gates rely on these; others may join them."""
    published = {
        "DONE": 0,
        "POLICY": 1,
        "BAD_INPUT": 2,
        "INTEGRITY": 3,
        "REPLAY": 4,
        "INCOMPLETE": 5,
        "INTERRUPTED": 130,
    }
    assert {name: int(ExitCode[name]) for name in published} == published
    assert len(set(map(int, ExitCode))) == len(ExitCode.__members__)


@pytest.mark.parametrize(
    ("kind", "name", "code"),
    [
        (UsageError, "usage", 2),
        (MalformedError, "malformed", 2),
        (FileAccessError, "file", 2),
        (KeyFileError, "key", 2),
        (IntegrityError, "integrity", 3),
        (IncompleteError, "incomplete", 5),
    ],
)
def test_every_kind_has_its_name_and_exit_code(
    kind: type[ReceiptsError], name: str, code: int
) -> None:
    error = kind("a message")
    assert isinstance(error, ReceiptsError)
    assert error.kind == name
    assert error.exit_code == code
    assert error.as_json()["error"]["exitCode"] == code


def test_no_kind_shares_its_name_with_another() -> None:
    kinds = [
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, ReceiptsError)
    ]
    assert len({kind.kind for kind in kinds}) == len(kinds) >= 7


def test_a_hostile_file_cannot_make_an_error_long() -> None:
    error = MalformedError("m" * 10**6, file="f", place="p" * 10**6, hint="h" * 10**6)
    assert len(error.one_line()) < 5000
    assert len(str(error.as_json())) < 5000
    escaped = MalformedError("\x1b" * 10**6, file="f")
    assert len(escaped.one_line()) < 5000


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ReceiptsError("wrong"), "wrong"),
        (ReceiptsError("wrong", file="a.json"), "a.json: wrong"),
        (ReceiptsError("wrong", file=Path("b") / "a.json"), "b/a.json: wrong"),
        (ReceiptsError("wrong", place="$.x"), "$.x: wrong"),
        (ReceiptsError("wrong", file="a", place="line 2"), "a: line 2: wrong"),
        (ReceiptsError("wrong", hint="do this"), "wrong (do this)"),
        (
            ReceiptsError("wrong", file="a", place="line 2", hint="do this"),
            "a: line 2: wrong (do this)",
        ),
    ],
)
def test_one_line(error: ReceiptsError, line: str) -> None:
    assert error.one_line() == line
    assert str(error) == line


def test_one_line_is_one_line_whatever_it_quotes() -> None:
    error = ReceiptsError(
        "says \x1b[2J\n\u202e", file="a\nb\x9b", place="$.\u2028", hint="try\r\nthis"
    )
    line = error.one_line()
    assert line.isprintable()
    assert len(line.splitlines()) == 1
    assert "\\x1b[2J\\x0a\\u202e" in line


def test_the_json_envelope() -> None:
    error = MalformedError("wrong", file="a.json", place="$.x", hint="do this")
    assert error.as_json() == {
        "schema": "cli-error/1",
        "error": {
            "kind": "malformed",
            "message": "$.x: wrong",
            "file": "a.json",
            "hint": "do this",
            "exitCode": 2,
        },
    }
    bare = json.loads(json.dumps(IntegrityError("wrong").as_json()))
    assert bare["error"]["file"] is None
    assert bare["error"]["hint"] is None
    assert bare["error"]["message"] == "wrong"


def test_os_errors_keep_their_reason() -> None:
    error = FileAccessError.from_os(OSError(13, "Permission denied"), "read", Path("a"))
    assert error.one_line() == "a: cannot read: Permission denied"
    assert FileAccessError.from_os(OSError(), "read", "a").message == "cannot read: OSError"
