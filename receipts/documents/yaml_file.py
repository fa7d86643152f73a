"""YAML that a user writes: safe, bounded, and with a line for every key path.

``yaml.safe_load`` forgets where a value stood, takes the last of two equal keys, expands
aliases without limit, and reads ``no`` as false and ``1:30`` as ninety.  A plan and a policy need
the opposite of each.  Plain scalars follow the core schema of YAML 1.2 (section 10.3.2), without
octal, hexadecimal, infinite and undefined numbers, which stay text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from safety_receipts.receipts.canonical import Sha256, sha256_hex
from safety_receipts.receipts.errors import MalformedError
from safety_receipts.receipts.io.files import read_own_file

MAX_YAML_BYTES = 256 * 1024
"""Longest file; a plan or a policy has a few KiB."""

MAX_YAML_DEPTH = 16
"""Most mappings and lists within each other."""

_MAX_INTEGER_DIGITS = 20

KeyPath = tuple[str | int, ...]
"""Steps from the top of a document to a value: keys, and indices from 0."""

_NULLS = {"", "~", "null", "Null", "NULL"}
_BOOLEANS = {
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
}
_INTEGER = re.compile(r"[-+]?[0-9]+", re.ASCII)
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", re.ASCII)
_NEVER_IN_TEXT = re.compile("[\x00\ud800-\udfff]")


@dataclass(frozen=True)
class YamlFile:
    """A parsed file and the place of each value in it."""

    path: Path
    """The file."""
    document: Any
    """Its content: mappings with string keys, lists, text, finite numbers, booleans, null."""
    lines: dict[KeyPath, int]
    """Line (from 1) of each key path: that of the key, or of the list's item."""
    digest: Sha256
    """SHA-256 of its bytes."""

    def line(self, path: KeyPath) -> int:
        """Return the line of a key path, or of the nearest above it that is in the file."""
        while path not in self.lines:
            path = path[:-1]
        return self.lines[path]

    def place(self, path: KeyPath) -> str:
        """Return ``line 12: sampling.method`` for a key path, for an error."""
        return f"line {self.line(path)}" + (f": {_spell(path)}" if path else "")


def _spell(path: KeyPath) -> str:
    """Return a key path as people write it: ``queries[1].role``."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def load_yaml(path: Path) -> YamlFile:
    """Read one YAML document.

    Raises:
        FileAccessError: The file cannot be read.
        MalformedError: Longer than 256 KiB, not UTF-8, not one YAML document, a key that is
            given twice or is not text, an anchor, an alias, a tag, or nesting deeper than 16.
    """
    data = read_own_file(path, MAX_YAML_BYTES)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise MalformedError("is not valid UTF-8", file=path, place=f"line {line}") from None
    reader = _Reader(path, text)
    return YamlFile(path, reader.document(), reader.lines, sha256_hex(data))


class _Reader:
    """Builds values straight from the parser's events, so that nothing is read past an error."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self.lines: dict[KeyPath, int] = {}
        self._text = text
        self._events = self._parse()

    def document(self) -> Any:
        next(self._events)  # the stream's start
        start = next(self._events)
        if isinstance(start, yaml.StreamEndEvent):
            raise self._error("is empty", 1)
        first = next(self._events)
        self.lines[()] = _line(first)
        value = self._value(first, (), 0)
        next(self._events)  # the document's end
        after = next(self._events)
        if not isinstance(after, yaml.StreamEndEvent):
            raise self._error("a second document starts here; one is allowed", _line(after))
        return value

    def _error(self, message: str, line: int, hint: str | None = None) -> MalformedError:
        return MalformedError(message, file=self.path, place=f"line {line}", hint=hint)

    def _parse(self) -> Iterator[yaml.Event]:
        """Yield the events of the text; whatever the parser raises becomes one line."""
        loader: yaml.BaseLoader | None = None
        try:
            loader = yaml.BaseLoader(self._text)
            while loader.check_event():
                yield loader.get_event()  # type: ignore[no-untyped-call]  # bare in its stubs
        except yaml.reader.ReaderError as error:
            line = self._text.count("\n", 0, error.position) + 1
            character = self._text[error.position]
            raise self._error(f"the character {character!r} is not allowed", line) from None
        except yaml.MarkedYAMLError as error:
            line, problem, hint = _in_plain_words(error)
            raise self._error(f"is not YAML: {problem}", line, hint) from None
        except (ValueError, OverflowError):  # "\UFFFFFFFF", or a version of 5,000 digits
            line = loader.get_mark().line + 1 if loader else 1
            raise self._error("is not YAML: a number out of range", line) from None

    def _value(self, event: yaml.Event, at: KeyPath, depth: int) -> Any:
        self._check_node(event, depth)
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(at, depth + 1)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(at, depth + 1)
        assert isinstance(event, yaml.ScalarEvent)  # what is left, now that aliases are refused
        return self._scalar(event)

    def _mapping(self, at: KeyPath, depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._key(event, depth)
            path = (*at, key)
            if key in result:
                first = self.lines[path]
                raise self._error(
                    f"the key {key!r} appears twice, first on line {first}", _line(event)
                )
            self.lines[path] = _line(event)
            result[key] = self._value(next(self._events), path, depth)
        return result

    def _sequence(self, at: KeyPath, depth: int) -> list[Any]:
        result: list[Any] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            path = (*at, len(result))
            self.lines[path] = _line(event)
            result.append(self._value(event, path, depth))
        return result

    def _check_node(self, event: yaml.Event, depth: int) -> None:
        """Refuse what nobody here has a use for: an alias can stand for a billion values."""
        if isinstance(event, yaml.NodeEvent) and event.anchor is not None:
            raise self._error("anchors and aliases (& and *) are not allowed", _line(event))
        tag = getattr(event, "tag", None)
        if tag is not None:
            hint = "put text that starts with ! in quotes"
            raise self._error(f"tags are not allowed: {tag}", _line(event), hint)
        if isinstance(event, yaml.CollectionStartEvent) and depth >= MAX_YAML_DEPTH:
            raise self._error(f"is nested deeper than {MAX_YAML_DEPTH} levels", _line(event))

    def _key(self, event: yaml.Event, depth: int) -> str:
        self._check_node(event, depth)
        if not isinstance(event, yaml.ScalarEvent):
            raise self._error("a key is text, not a list or a mapping", _line(event))
        key = self._scalar(event)
        if not isinstance(key, str):
            written = event.value or "(nothing)"
            hint = "put it in quotes"
            if isinstance(key, int):  # {temperature: 1,5} is a number and another key
                hint += "; a decimal number has a point: 0.5"
            raise self._error(f"the key {written} is not text", _line(event), hint)
        return key

    def _scalar(self, event: yaml.ScalarEvent) -> str | int | float | bool | None:
        text: str = event.value
        if _NEVER_IN_TEXT.search(text):
            raise self._error("text holds NUL or half a character", _line(event))
        if event.style is not None:  # quoted, or a block
            return text
        if text in _NULLS:
            return None
        if text in _BOOLEANS:
            return _BOOLEANS[text]
        if _INTEGER.fullmatch(text):
            if len(text) > _MAX_INTEGER_DIGITS:
                raise self._error(
                    f"a number of {len(text)} digits is too long", _line(event), "quote text"
                )
            return int(text)
        if _FLOAT.fullmatch(text):
            if not math.isfinite(float(text)):
                raise self._error("the number is too large", _line(event), "quote text")
            return float(text)
        return text


@dataclass(frozen=True)
class _Problem:
    """What the parser says of a mistake, and what people call it."""

    problem: str
    """Part of the parser's words for what it met."""
    words: str
    """Ours; ``{where}`` stands for the line of the other place."""
    hint: str
    """How to mend it."""
    context: str = ""
    """Part of its words for what it was reading."""
    where_it_began: bool = False
    """Whether the mistake is where the reading began, not where it ended."""


_QUOTE: Final = "put the text in quotes"
_PROBLEMS: Final = (
    _Problem(r"'\t'", "a tab stands before the text", "indent with spaces, not tabs"),
    _Problem(
        "could not find expected ':'",
        "a colon and a space are missing after a key",
        "write key: value",
        where_it_began=True,
    ),
    _Problem(
        "unexpected end of stream",
        "a quotation mark is opened here and not closed",
        "close it, or leave both out",
        context="quoted scalar",
        where_it_began=True,
    ),
    _Problem(
        "mapping values are not allowed",
        "a second colon on a line, or a key that is indented otherwise than those before it",
        "put text that holds a colon in quotes; begin the keys of one mapping in one column",
    ),
    _Problem(
        "expected ',' or",
        "a bracket or brace that is opened here is not closed, or a comma is missing in it",
        "met on line {where}",
        where_it_began=True,
    ),
    _Problem(
        "expected <block end>",
        "this line is indented otherwise than those that it belongs to, from line {where} on",
        "begin the keys or items of one list or mapping in one column",
    ),
    _Problem("cannot start any token", "text cannot begin with this character", _QUOTE),
    _Problem(
        "unknown escape character",
        "in double quotes a backslash begins an escape",
        "use single quotes; between folders /",
    ),
    _Problem(
        "sequence entries are not allowed",
        "an item of a list (-) stands where none can",
        "begin it on a line of its own",
    ),
)
"""Mistakes that people make, in the order in which they are looked for."""


def _in_plain_words(error: yaml.MarkedYAMLError) -> tuple[int, str, str | None]:
    """Return the line of a mistake, what it is and how to mend it."""
    ended = _line_of(error.problem_mark or error.context_mark)
    began = _line_of(error.context_mark or error.problem_mark)
    said, reading = error.problem or error.context or "cannot be parsed", error.context or ""
    for one in _PROBLEMS:
        if one.problem in said and one.context in reading:
            line, where = (began, ended) if one.where_it_began else (ended, began)
            return line, one.words.format(where=where), one.hint.format(where=where)
    return ended, said, None


def _line_of(mark: Any) -> int:
    # The parser's own marks, or those of its version in C.
    return int(mark.line) + 1 if mark else 1


def _line(event: yaml.Event) -> int:
    return _line_of(event.start_mark)
