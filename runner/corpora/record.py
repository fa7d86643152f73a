"""One raw row of a file, whatever the format, and typed access to its columns."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from safety_receipts.receipts.errors import MalformedError

MAX_TEXT_CHARACTERS = 1_000_000
"""Longest request, response or column value; a model's whole context is shorter."""

_MAX_COLUMNS_SHOWN = 24

_WRONG_TYPE = "correct the row; or does `corpus:` name the wrong reader?"
_NO_TEXT = re.compile("[\0\ud800-\udfff]")


class NumberText(str):
    """A number as its literal text: no digit is lost, and it is not mistaken for prose."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Record:
    """Column names and values at one place of a file.

    Values are ``None``, ``bool``, :class:`NumberText`, ``str``, or lists and dicts of them.
    """

    file: str
    """The file, as errors name it."""
    place: str
    """``line 12`` or ``row 12``, from 1."""
    values: Mapping[str, object]
    """Column → value."""

    def error(self, message: str, hint: str) -> MalformedError:
        """Return an error that names this file and place."""
        return MalformedError(message, file=self.file, place=self.place, hint=hint)

    def text(self, column: str) -> str:
        """Return a column that must hold text; null reads as empty.

        Raises:
            MalformedError: The column is missing or holds something else.
        """
        return self.checked(self._value(column), column)

    def optional_text(self, column: str) -> str | None:
        """Return a column of text; None where it is missing, null or blank.

        Raises:
            MalformedError: The column holds something else.
        """
        text = self.checked(self.values.get(column), column)
        return text if text.strip() else None

    def items(self, column: str) -> Sequence[object]:
        """Return a column that must hold a list.

        Raises:
            MalformedError: The column is missing or holds something else.
        """
        value = self._value(column)
        if not isinstance(value, list):
            raise self.error(f"{column}: {_kind(value)} where a list is expected", _WRONG_TYPE)
        return value

    def scalar(self, column: str) -> str:
        """Return a column of text, numbers or truth values as text; null and missing as empty.

        Raises:
            MalformedError: The column holds a list, an object or other data.
        """
        value = self.values.get(column)
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, NumberText):
            return str(value)
        return self.checked(value, column)

    def checked(self, value: object, name: str) -> str:
        """Return ``value`` if it is text that can be hashed, shown and sealed.

        Raises:
            MalformedError: It is not text, is too long, or holds NUL or a lone surrogate.
        """
        if value is None:
            return ""
        if not isinstance(value, str) or isinstance(value, NumberText):
            raise self.error(f"{name}: {_kind(value)} where text is expected", _WRONG_TYPE)
        if len(value) > MAX_TEXT_CHARACTERS:
            raise self.error(
                f"{name}: {len(value):,} characters",
                f"at most {MAX_TEXT_CHARACTERS:,} are allowed; shorten or remove the row",
            )
        plain = value.isascii() and "\0" not in value  # as most texts are
        found = None if plain else _NO_TEXT.search(value)
        if found:
            what = "a NUL character" if found.group() == "\0" else "a lone surrogate"
            raise self.error(f"{name}: holds {what}, which is not text", "remove it")
        return value

    def _value(self, column: str) -> object:
        if column not in self.values:
            raise self.error(
                f"has no column {column!r}", f"its columns: {listed(tuple(self.values))}"
            )
        return self.values[column]


def listed(names: Sequence[str]) -> str:
    """Return names for an error message, however many and however long they are."""
    shown = ", ".join(name[:60] for name in names[:_MAX_COLUMNS_SHOWN]) or "none"
    more = len(names) - _MAX_COLUMNS_SHOWN
    return f"{shown} and {more:,} more" if more > 0 else shown


def _kind(value: object) -> str:
    if value is None:
        return "null"
    known = {bool: "a truth value", NumberText: "a number", list: "a list", dict: "an object"}
    return known.get(type(value), f"a value of type {type(value).__name__}")
