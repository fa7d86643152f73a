"""Ways to change bytes and JSON so that much of what reads them is still reached."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

PIECES = (b"\0", b"\xff\xfe", b"\xed\xa0\x80", b"[" * 2000, b'{"a":' * 200, b"\n", b"1e9")
Path_ = tuple[str | int, ...]

INTEGERS = (0, 1, -1, 2, 3, 30, 255, 4096, 10_000, 10_000_000, 2**31, 2**53 - 1, 2**53 - 2, 2**53)
STRINGS = (
    "",
    "a",
    "0",
    "1",
    "0.000000",
    "1.000000",
    "0.05",
    "-0.000001",
    "0.00000000000000000001",
    "9999999999999999.999999",
    "-9999999999999999.999999",
    "0000-01-01T00:00:00Z",
    "2026-02-31T00:00:00Z",
    "9999-12-31T23:59:59Z",
    "0" * 64,
    "f" * 64,
    "h0-b0",
    "h4096-b4096-suffix",
    "h99999999999999999999-b0",
    "all",
    "name" + " " * 300 + "verified: PASSED",
    "\u2800\u3164\u00a0\u3000 \u0301" * 40,
    "\u202egnp.exe",
    "x" * 512,
    "{{ 1 / 0 }}",
    "../../etc/passwd",
    "inf",
    "nan",
    "1e400",
)


def mutate_bytes(data: bytes, random: Random) -> bytes:
    """Flip, cut, repeat or insert bytes."""
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 8))):
        at = random.randrange(len(changed) + 1) if changed else 0
        match random.randrange(6):
            case 0 if changed:
                changed[at % len(changed)] ^= 1 << random.randrange(8)
            case 1:
                del changed[at : at + random.choice((1, 4, 64, len(changed)))]
            case 2:
                changed[at:at] = random.randbytes(random.choice((1, 4, 64)))
            case 3:
                piece = changed[at : at + random.choice((1, 16, 256))]
                changed[at:at] = piece * random.choice((1, 2, 50))
            case 4:
                changed[at:at] = random.choice(PIECES)
            case _ if changed:
                changed[at % len(changed)] = random.randrange(256)
    return bytes(changed)


def paths(value: Any, path: Path_ = ()) -> Iterator[tuple[Path_, Any]]:
    """Yield every part of a JSON value with its path, the whole first."""
    yield path, value
    if isinstance(value, (dict, list)):
        for step, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from paths(item, (*path, step))


def shape(path: Path_) -> Path_:
    """Return a path without its numbers: parts of one shape are of one type."""
    return tuple("" if isinstance(step, int) else step for step in path)


def mutate_json(document: Any, random: Random, times: int | None = None) -> list[Path_]:
    """Change some parts of a JSON value in place; return where.

    Shapes are drawn before places, so that long lists of conditions do not draw all the changes.
    """
    changed = []
    for _ in range(random.choice((1, 1, 1, 2, 3)) if times is None else times):
        places: dict[Path_, list[Path_]] = {}
        for path, _value in paths(document):
            if path:
                places.setdefault(shape(path), []).append(path)
        if not places:
            break
        path = random.choice(places[random.choice(list(places))])
        parent = get(document, path[:-1])
        _change(document, parent, path[-1], random)
        changed.append(path)
    return changed


def get(document: Any, path: Path_) -> Any:
    """Return the part at a path."""
    for step in path:
        document = document[step]
    return document


def apply(document: Any, other: Any, path: Path_) -> None:
    """Give one document the part that another has at a path, where it has that place."""
    try:
        parent, value = get(document, path[:-1]), get(other, path)
        if isinstance(parent, dict) or path[-1] in range(len(parent)):
            parent[path[-1]] = json.loads(json.dumps(value))
    except (KeyError, IndexError, TypeError):
        return


def _change(document: Any, parent: Any, step: Any, random: Random) -> None:
    value = parent[step]
    if random.random() < 0.08:
        _change_place(parent, step, random)
        return
    match value:
        case bool():
            parent[step] = not value
        case int():
            parent[step] = random.choice((*INTEGERS, value + 1, value - 1, value * 2, value // 2))
        case str():
            parent[step] = _string(document, value, random)
        case list():
            parent[step] = _list(value, random)
        case dict() if value:
            keys = list(value)
            key, other = random.choice(keys), random.choice(keys)
            match random.randrange(4):
                case 0:
                    del value[key]
                case 1:
                    value[key], value[other] = value[other], value[key]
                case 2:
                    value[random.choice(STRINGS)] = value[key]
                case _:
                    parent[step] = _another(document, dict, random)
        case _:
            parent[step] = _another(document, random.choice((str, int, dict, list)), random)


def _change_place(parent: Any, step: Any, random: Random) -> None:
    """Change what a part is, not what it says."""
    match random.randrange(5):
        case 0:
            parent[step] = None
        case 1:
            parent[step] = [parent[step]]
        case 2:
            parent[step] = random.choice((*INTEGERS, *STRINGS, {}, [], True))
        case 3 if isinstance(parent, dict):
            del parent[step]
        case _:
            parent[step] = {"a": parent[step]}


def _string(document: Any, value: str, random: Random) -> str:
    match random.randrange(6):
        case 0:
            return random.choice(STRINGS)
        case 1:
            found = _another(document, str, random)
            return found if isinstance(found, str) else value
        case 2 if value and value[-1].isdigit():
            return value[:-1] + str((int(value[-1]) + random.randrange(1, 10)) % 10)
        case 3 if value:
            at = random.randrange(len(value))
            return value[:at] + random.choice("0123456789abcdef-. /\u3000") + value[at + 1 :]
        case 4:
            return (value * 40)[:8192]
        case _:
            return value + random.choice((" ", "0", "\u0301", "\n", "-random"))


def _list(value: list[Any], random: Random) -> list[Any]:
    if not value:
        return [random.choice((*INTEGERS, *STRINGS))]
    at = random.randrange(len(value))
    changes: tuple[Callable[[], list[Any]], ...] = (
        lambda: value[:at] + value[at + 1 :],
        lambda: [*value[:at], value[at], *value[at:]],
        lambda: value[::-1],
        list,
        lambda: value[: at + 1],
        lambda: value * random.choice((2, 3, 100)) if len(value) < 100 else value * 2,
        lambda: random.sample(value, len(value)),
    )
    return json.loads(json.dumps(random.choice(changes)()))  # type: ignore[no-any-return]  # a list


def _another(document: Any, kind: type, random: Random) -> Any:
    """Return a copy of some part of a type."""
    found = [value for path, value in paths(document) if path and isinstance(value, kind)]
    return json.loads(json.dumps(random.choice(found))) if found else None
