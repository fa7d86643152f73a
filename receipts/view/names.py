"""What others wrote, made fit to be drawn: every string of a model, before anything draws it.

Whoever draws a receipt puts its names into sentences and cells.  That they are on one line, hold
no run of blanks and are not too long is seen to here, once, so that no place can forget it.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, TypeVar

from pydantic import BaseModel

from safety_receipts.receipts.io.text import printable

LONGEST_DRAWN_NAME: Final = 100
"""Longest name drawn; the JSON documents have all of it."""
_LONGEST_WORD: Final = 200
"""Longest string without a blank: condition ids and digests stay whole, as they are looked up."""

T = TypeVar("T")


def presentable(value: T) -> T:
    """Return a model, or a part of one, with every string in it printable and bounded.

    Parts in which nothing is to be changed are the same objects.  What comes back need not fit the
    model's types any more: it is for eyes.
    """
    changed = _presentable(value)
    return changed if isinstance(changed, type(value)) else value


def _presentable(value: object) -> object:
    match value:
        case Enum():
            return value
        case str():
            return _string(value)
        case BaseModel():
            parts = {name: getattr(value, name) for name in type(value).model_fields}
            changed = {
                name: new for name, part in parts.items() if (new := _presentable(part)) is not part
            }
            return value.model_copy(update=changed) if changed else value
        case tuple():
            items = tuple(map(_presentable, value))
            same = all(new is old for new, old in zip(items, value, strict=True))
            return value if same else items
        case dict():
            pairs = {_presentable(key): _presentable(item) for key, item in value.items()}
            return value if pairs == value else pairs
        case _:
            return value


def _string(text: str) -> str:
    limit = LONGEST_DRAWN_NAME if " " in text else _LONGEST_WORD
    shown = printable(text, limit)
    return text if shown == text else shown
