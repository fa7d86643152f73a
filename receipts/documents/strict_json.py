"""Strict, bounded parsing of JSON from outside.

The standard parser accepts what a signed document must not contain: duplicate keys (two
readers may then see two documents), NaN, floats, integers that other readers round, lone
surrogates, and nesting deep enough to exhaust a stack.  Each is refused with its place.
"""

from __future__ import annotations

import json
import re
from os import PathLike
from typing import Any, NoReturn

from safety_receipts.receipts.canonical import MAX_SAFE_INTEGER
from safety_receipts.receipts.errors import MalformedError

MAX_JSON_DEPTH = 32
"""Deepest nesting of arrays and objects; our own documents reach 8."""

MAX_CONTAINERS = 1_000_000
"""Most arrays and objects: an empty one takes 3 bytes of text and 60 of memory."""

_SHOWN = 40
"""How much of a key or number an error quotes."""

_SURROGATE = re.compile("[\ud800-\udfff]")


class _RefusedError(Exception):
    """Raised inside the parser's hooks, which know the value but not the file."""


def parse_json(data: bytes, *, file: str | PathLike[str] | None = None) -> Any:
    """Parse one JSON document of UTF-8 bytes.

    Args:
        data: The whole document; the caller has bounded its length.
        file: Named in errors.

    Returns:
        Plain dicts, lists, strings, integers, booleans and None; no floats.

    Raises:
        MalformedError: Anything else, with byte offset or JSON path.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedError(
            "not valid UTF-8", file=file, place=f"byte {error.start}", hint=_RESTORE
        ) from None
    # Brackets inside strings count too, which no document of ours comes near.
    if data.count(b"[") + data.count(b"{") > MAX_CONTAINERS:
        raise MalformedError(f"more than {MAX_CONTAINERS:,} arrays and objects", file=file)
    try:
        value = json.loads(
            text,
            object_pairs_hook=_unique_object,
            parse_float=_refuse_float,
            parse_int=_safe_integer,
            parse_constant=_refuse_constant,
        )
    except json.JSONDecodeError as error:
        raise MalformedError(
            f"not JSON: {error.msg.lower()}",
            file=file,
            place=f"line {error.lineno} column {error.colno}",
            hint=_RESTORE,
        ) from None
    except _RefusedError as error:
        raise MalformedError(str(error), file=file) from None
    except RecursionError:
        raise MalformedError(f"nested deeper than {MAX_JSON_DEPTH} levels", file=file) from None
    _check_tree(value, file)
    return value


_RESTORE = "the file is damaged or is not what its name says; get it again from its source"


def _unique_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _RefusedError(f"the key {key[:_SHOWN]!r} appears twice in one object")
            seen.add(key)
    return result


def _refuse_float(text: str) -> NoReturn:
    raise _RefusedError(f"{text[:_SHOWN]} is not an integer; fractions are decimal strings here")


def _safe_integer(text: str) -> int:
    # Length first: int() of a million digits would take minutes.
    if len(text) > 17 or abs(int(text)) > MAX_SAFE_INTEGER:
        raise _RefusedError(f"the integer {text[:_SHOWN]} lies beyond ±(2^53 − 1)")
    if text == "-0":
        raise _RefusedError("-0 is not a canonical integer")
    return int(text)


def _refuse_constant(text: str) -> NoReturn:
    raise _RefusedError(f"{text} is not JSON")


_Link = tuple["_Link | None", str | int]
"""Where a value stands: the link of its parent, and the step from there."""


def _check_tree(root: Any, file: str | PathLike[str] | None) -> None:
    """Bound the depth and refuse lone surrogates, iteratively so that depth costs no stack.

    Paths are spelt only for an error: a long key above many values would cost its length
    for each of them.
    """
    start = isinstance(root, (dict, list, str))
    stack: list[tuple[Any, _Link | None, int]] = [(root, None, 0)] if start else []
    while stack:
        value, link, depth = stack.pop()
        if isinstance(value, str):
            if _SURROGATE.search(value):
                raise MalformedError(
                    "a lone surrogate is not valid text", file=file, place=_spell(link)
                )
            continue
        if depth >= MAX_JSON_DEPTH:
            raise MalformedError(
                f"nested deeper than {MAX_JSON_DEPTH} levels", file=file, place=_spell(link)
            )
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for step, item in items:
            if isinstance(step, str) and not step.isascii() and _SURROGATE.search(step):
                raise MalformedError("a lone surrogate in a key", file=file, place=_spell(link))
            if isinstance(item, (dict, list)) or (isinstance(item, str) and not item.isascii()):
                stack.append((item, (link, step), depth + 1))


def _spell(link: _Link | None) -> str:
    steps: list[str] = []
    while link is not None:
        link, step = link
        steps.append(f"[{step}]" if isinstance(step, int) else f".{step[:_SHOWN]}")
    return "$" + "".join(reversed(steps))
