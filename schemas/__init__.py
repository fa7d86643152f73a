"""Versioned JSON Schemas (draft 2020-12) of every document, and their loader.

``v1/NAME.schema.json`` is version 1 of a document, ``v2/`` would hold version 2 of those that
have one: versions are counted for each document.  The files are generated from the models
(``make schemas``) and held to them by tests.  This package imports nothing else of the project.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from itertools import islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError
    from jsonschema.protocols import Validator

_MAX_ERRORS = 100
_SUFFIX = ".schema.json"

__all__ = ["file_name", "find_error", "load_schema", "schema_names", "versions"]


def file_name(name: str, version: int) -> str:
    """Return where a schema lies below this package's folder."""
    return f"v{version}/{name}{_SUFFIX}"


@cache
def _all() -> dict[str, tuple[int, ...]]:
    """Return document → the versions there are, lowest first; documents sorted by name."""
    found: dict[str, list[int]] = {}
    for folder in files(__name__).iterdir():
        if re.fullmatch(r"v[1-9][0-9]*", folder.name):
            for item in folder.iterdir():
                if item.name.endswith(_SUFFIX):
                    name = item.name.removesuffix(_SUFFIX)
                    found.setdefault(name, []).append(int(folder.name[1:]))
    return {name: tuple(sorted(found[name])) for name in sorted(found)}


def schema_names() -> list[str]:
    """Return the names of all documents that have a schema, sorted."""
    return list(_all())


def versions(name: str) -> tuple[int, ...]:
    """Return the versions of a document's schema, lowest first.

    Raises:
        KeyError: There is no schema of that name.
    """
    return _all()[name]


def load_schema(name: str, version: int | None = None) -> dict[str, Any]:
    """Return the schema of a document.

    Args:
        name: The document's name.
        version: Which version; None: the newest.

    Raises:
        KeyError: There is none of that name or version.
    """
    if version is None:
        version = versions(name)[-1]
    elif version not in versions(name):
        raise KeyError((name, version))
    text = (files(__name__) / file_name(name, version)).read_text("utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def find_error(
    document: Any,
    name: str,
    version: int | None = None,
    *,
    open_fields: bool = False,
    open_root: bool = False,
) -> ValidationError | None:
    """Return what is most wrong with ``document``, or None.

    Args:
        document: Parsed JSON.
        name: The schema's name.
        version: Its version; None: the newest.
        open_fields: Ignore unknown fields below the root, as a reader of a newer minor
            version must; writers are held to the schema as published.
        open_root: Ignore unknown fields at the root as well.
    """
    # Loaded where it is needed: a document that is right is read without it.
    from jsonschema.exceptions import best_match  # noqa: PLC0415

    validator = _validator(name, version, open_fields, open_root)
    # Enough to choose the best from; a hostile document has millions.
    errors = islice(validator.iter_errors(document), _MAX_ERRORS)
    error: ValidationError | None = best_match(errors)
    return error


@cache
def _validator(name: str, version: int | None, open_fields: bool, open_root: bool) -> Validator:
    schema = copy.deepcopy(load_schema(name, version))
    if open_fields:
        for definition in schema.get("$defs", {}).values():
            if definition.get("additionalProperties") is False:
                del definition["additionalProperties"]
    if open_root:
        schema.pop("additionalProperties", None)
    return _validator_class()(schema)


@cache
def _validator_class() -> type[Validator]:
    """Return draft 2020-12 with patterns as ECMA means them, and bounded work on arrays."""
    from jsonschema import Draft202012Validator  # noqa: PLC0415  # as above
    from jsonschema.exceptions import ValidationError  # noqa: PLC0415
    from jsonschema.validators import extend  # noqa: PLC0415

    def match(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[Any]:
        # Python's ``$`` also matches before a final line break, so that a word with one would
        # pass ``^[a-z]+$``; ECMA's does not.
        if isinstance(instance, str):
            exact = pattern[:-1] + r"\Z" if pattern.endswith("$") else pattern
            if re.search(exact, instance) is None:
                yield ValidationError(f"{instance!r} does not match {pattern!r}")

    def items(validator: Any, items: Any, instance: Any, schema: Any) -> Iterator[Any]:
        # Unless ``maxItems`` already says that there are too many.
        if isinstance(instance, list) and len(instance) <= schema.get("maxItems", len(instance)):
            yield from Draft202012Validator.VALIDATORS["items"](validator, items, instance, schema)

    return extend(Draft202012Validator, {"pattern": match, "items": items})  # type: ignore[no-any-return,no-untyped-call]  # typeshed leaves it bare
