"""What a value that is not allowed in a file that people write is called, and how it is mended."""

from __future__ import annotations

import re
import types
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from enum import Enum
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from safety_receipts.receipts.model.described import field_meanings

_QUOTED: Final = re.compile(r"'([^']*)'")

_MESSAGES: Final = {
    "missing": "is missing",
    "model_type": "should be a mapping of keys to values",
    "model_attributes_type": "should be a mapping of keys to values",
    "dict_type": "should be a mapping of keys to values",
    "tuple_type": "should be a list",
    "string_too_short": "is empty",
    "too_short": "should have at least one item",
    "string_type": "should be text (in quotes, where it looks like something else)",
    "path_type": "should be text (in quotes, where it looks like something else)",
    "int_type": "should be a whole number",
    "int_parsing": "should be a whole number",
    "int_from_float": "should be a whole number",
}
"""What to say instead of pydantic, which speaks of Python's types."""


def message_of(error: ErrorDetails) -> str:
    """Return what is wrong, in the terms of the file."""
    given = error["input"]
    message = _MESSAGES.get(error["type"], error["msg"])
    if error["type"].endswith("_type") and given is None:
        message = f"has no value; it {message}"
    elif error["type"] == "string_pattern_mismatch":
        message = "is not written as it should be"
        if "[0-9]" in error["ctx"]["pattern"]:
            message = "should be a number that is not negative, such as 0.7"
        elif error["ctx"]["pattern"].startswith("^https?"):
            message = "should be an address: http:// or https://, and no spaces"
        elif "gguf" in error["ctx"]["pattern"]:
            message = "should be the name of a .gguf file in the model's folder, without a path"
    return message.removeprefix("Value error, ").removeprefix("Input ")


def hint_of(error: ErrorDetails, model: type[BaseModel]) -> str | None:
    """Return how a mistake is mended; None: its message says so.

    Args:
        error: The mistake.
        model: What the file is read as.
    """
    kind, given = error["type"], error["input"]
    hint: str | None = None
    if kind == "missing":
        hint = _what_it_takes(error["loc"], model)
    elif kind == "unknown_key":
        hint = did_you_mean(error["ctx"]["key"], error["ctx"]["allowed"].split(", "))
    elif kind in ("enum", "literal_error"):
        hint = did_you_mean(given, _QUOTED.findall(error["ctx"]["expected"]))
    elif kind == "value_error" and "; known: " in error["msg"]:
        hint = did_you_mean(given, error["msg"].partition("; known: ")[2].split(", "))
    elif kind == "int_type" and isinstance(given, str) and re.fullmatch(r"[0-9]+", given):
        hint = "without quotes"
    elif kind in ("int_type", "int_from_float") and isinstance(given, float) and given.is_integer():
        hint = f"write {int(given)}"
    elif kind == "tuple_type" and given is not None:
        hint = "in square brackets: [4, 8]"
    return hint


def did_you_mean(given: object, allowed: Iterable[str]) -> str | None:
    """Return a hint that names the nearest of the allowed words; None: none is near."""
    if not isinstance(given, str):
        return None
    near = get_close_matches(given.casefold(), list(allowed), n=1, cutoff=0.5)
    return f"did you mean {near[0]}?" if near else None


def _what_it_takes(place: Sequence[int | str], model: type[BaseModel]) -> str | None:
    """Return the values that a missing key can have, or what it says."""
    *above, key = place
    holder: type[BaseModel] | None = model
    for step in above:
        if holder is not None and step in holder.model_fields:
            holder = _model_in(holder.model_fields[str(step)].annotation)
    field = None if holder is None else holder.model_fields.get(str(key))
    if holder is None or field is None:
        return None
    if get_origin(field.annotation) is Literal:
        return f"write {key}: {' or '.join(map(str, get_args(field.annotation)))}"
    if isinstance(field.annotation, type) and issubclass(field.annotation, Enum):
        return f"one of {', '.join(str(each.value) for each in field.annotation)}"
    meaning = field_meanings(holder).get(str(key))
    return None if meaning is None else " ".join(meaning.split()).rstrip(".")


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the model that a field holds one or several of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (Annotated, Union, types.UnionType, tuple, dict):
        return next(filter(None, map(_model_in, get_args(annotation))), None)
    return None
