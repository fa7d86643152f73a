"""One name, one thing: no two modules define the same public name, but for those listed here."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
PARTS = ("receipts", "runner", "schemas", "verify", "safety_receipts/library")

_JUDGE_MODULE = "what runner/judges/registry.py asks of every file of a kind of judge"
_COMMAND = "a command is called like its sub-command"
_LIBRARY = "the library's name for it"

ALLOWED: dict[str, dict[str, str]] = {
    "SCHEMAS": dict.fromkeys(
        (
            "receipts/view/documents/generate_schemas.py",
            "runner/view/documents/generate_schemas.py",
            "verify/view/documents/generate_schemas.py",
        ),
        "each room's documents of commands",
    ),
    "main": dict.fromkeys(
        (
            "receipts/cli.py",
            "receipts/documents/generate_schemas.py",
            "runner/organism/training/fidelity.py",
            "runner/organism/training/make_data.py",
            "runner/organism/training/train.py",
            "runner/plan/generate_schema.py",
            "runner/trial/server.py",
            "verify/present/check_table.py",
        ),
        "where a program starts",
    ),
    "METHOD": dict.fromkeys(
        ("runner/judges/chat.py", "runner/judges/refusal_strings.py", "runner/judges/wildguard.py"),
        _JUDGE_MODULE,
    ),
    "PARSER": dict.fromkeys(
        (
            "runner/judges/chat.py",
            "runner/judges/classifier.py",
            "runner/judges/refusal_strings.py",
            "runner/judges/wildguard.py",
        ),
        _JUDGE_MODULE,
    ),
    "MAX_NEW_TOKENS": dict.fromkeys(
        ("runner/judges/chat.py", "runner/judges/wildguard.py"), _JUDGE_MODULE
    ),
    "parse": dict.fromkeys(("runner/judges/chat.py", "runner/judges/wildguard.py"), _JUDGE_MODULE),
    "own_words": dict.fromkeys(
        ("runner/judges/chat.py", "runner/judges/classifier.py", "runner/judges/wildguard.py"),
        _JUDGE_MODULE,
    ),
    "look": dict.fromkeys(
        ("runner/judges/chat.py", "runner/judges/classifier.py", "runner/judges/wildguard.py"),
        _JUDGE_MODULE,
    ),
    "methods": dict.fromkeys(
        ("runner/judges/chat.py", "runner/judges/classifier.py", "runner/judges/wildguard.py"),
        _JUDGE_MODULE,
    ),
    "load": {
        "runner/judges/chat.py": _JUDGE_MODULE,
        "runner/judges/classifier.py": _JUDGE_MODULE,
        "runner/judges/wildguard.py": _JUDGE_MODULE,
        "safety_receipts/library/receipt.py": _LIBRARY,
    },
    "calibrate": dict.fromkeys(
        ("runner/commands/judge.py", "verify/commands/calibrate.py"), _COMMAND
    ),
    "init": dict.fromkeys(("receipts/commands/log.py", "runner/commands/init.py"), _COMMAND),
    "prove": dict.fromkeys(
        ("receipts/commands/log_prove.py", "receipts/commands/prove.py"), _COMMAND
    ),
    "verify": dict.fromkeys(("receipts/commands/log.py", "verify/commands/verify.py"), _COMMAND),
    "Checkpoint": {
        "receipts/log/checkpoint.py": "a log's, as C2SP calls it",
        "receipts/model/checkpoint.py": "a model's",
    },
    "gate": {
        "verify/commands/gate.py": _COMMAND,
        "safety_receipts/library/gating.py": _LIBRARY,
    },
    "report": {
        "verify/commands/report.py": _COMMAND,
        "safety_receipts/library/pages.py": _LIBRARY,
    },
    "compare": {
        "verify/commands/compare.py": _COMMAND,
        "safety_receipts/library/comparison.py": _LIBRARY,
    },
}
"""Names that stand in several modules: which, and why."""


def _bound(statement: ast.stmt) -> Iterator[str]:
    match statement:
        case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            yield name
        case ast.Assign(value=ast.Call(func=ast.Name(id="TypeVar"))):
            return  # means nothing outside of its module
        case ast.Assign(targets=targets):
            yield from (target.id for target in targets if isinstance(target, ast.Name))
        case ast.AnnAssign(target=ast.Name(id=name)):
            yield name
        case _:
            return


def test_a_public_name_means_one_thing() -> None:
    """A reader who meets a class, function or constant need not ask which one it is."""
    places: dict[str, set[str]] = defaultdict(set)
    for part in PARTS:
        for path in sorted((ROOT / part).rglob("*.py")):
            for statement in ast.parse(path.read_text("utf-8")).body:
                for name in _bound(statement):
                    places[name].add(path.relative_to(ROOT).as_posix())
    assert len(places) > 1000
    shared = {
        name: found for name, found in places.items() if len(found) > 1 and not name.startswith("_")
    }
    assert shared == {name: set(allowed) for name, allowed in ALLOWED.items()}
