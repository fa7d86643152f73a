"""Versioned JSON Schemas (draft 2020-12) of every document, and their loader.

The files under ``v1/`` are generated from the models (``make schemas``) and held to them by
tests.  This package imports nothing else of the project.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from itertools import islice
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match
from jsonschema.validators import extend

VERSION = 1

_MAX_ERRORS = 100

__all__ = ["VERSION", "find_error", "load", "names"]


def names() -> list[str]:
    """Return the names of all schemas, sorted."""
    suffix = ".schema.json"
    folder = files(__name__) / f"v{VERSION}"
    found = (item.name for item in folder.iterdir())
    return sorted(name.removesuffix(suffix) for name in found if name.endswith(suffix))


@cache
def _text(name: str) -> str:
    return (files(__name__) / f"v{VERSION}" / f"{name}.schema.json").read_text("utf-8")


def load(name: str) -> dict[str, Any]:
    """Return the schema called ``name``.

    Raises:
        KeyError: There is none of that name.
    """
    if name not in names():
        raise KeyError(name)
    schema: dict[str, Any] = json.loads(_text(name))
    return schema


def find_error(
    document: Any, name: str, *, open_fields: bool = False, open_root: bool = False
) -> ValidationError | None:
    """Return what is most wrong with ``document``, or None.

    Args:
        document: Parsed JSON.
        name: The schema's name.
        open_fields: Ignore unknown fields below the root, as a reader of a newer minor
            version must; writers are held to the schema as published.
        open_root: Ignore unknown fields at the root as well.
    """
    validator = _validator(name, open_fields, open_root)
    # Enough to choose the best from; a hostile document has millions.
    errors = islice(validator.iter_errors(document), _MAX_ERRORS)
    error: ValidationError | None = best_match(errors)
    return error


@cache
def _validator(name: str, open_fields: bool, open_root: bool) -> Draft202012Validator:
    schema = copy.deepcopy(load(name))
    if open_fields:
        for definition in schema.get("$defs", {}).values():
            if definition.get("additionalProperties") is False:
                del definition["additionalProperties"]
    if open_root:
        schema.pop("additionalProperties", None)
    validator: Draft202012Validator = _EcmaValidator(schema)
    return validator


def _pattern(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[ValidationError]:
    """Match ``pattern`` as JSON Schema means it (ECMA 262).

    Python's ``$`` also matches before a final line break, so that a word with one would
    pass ``^[a-z]+$``; ECMA's does not.
    """
    if isinstance(instance, str):
        exact = pattern[:-1] + r"\Z" if pattern.endswith("$") else pattern
        if re.search(exact, instance) is None:
            yield ValidationError(f"{instance!r} does not match {pattern!r}")


def _items(validator: Any, items: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    """Validate an array's items, unless ``maxItems`` already says that there are too many."""
    if isinstance(instance, list) and len(instance) <= schema.get("maxItems", len(instance)):
        yield from Draft202012Validator.VALIDATORS["items"](validator, items, instance, schema)


_EcmaValidator = extend(Draft202012Validator, {"pattern": _pattern, "items": _items})  # type: ignore[no-untyped-call]  # typeshed leaves it bare
