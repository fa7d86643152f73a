"""No name in a sealed document makes a line of its own in what this program prints."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from safety_receipts.receipts.bundle import PLAN, POINTS_FILE, RECEIPT
from safety_receipts.receipts.canonical import canonical_bytes
from safety_receipts.receipts.dsse import Envelope
from safety_receipts.receipts.events.coherence import new_plan_problems
from safety_receipts.receipts.events.synthetic import Mixture, synthetic_plan
from safety_receipts.receipts.present import output
from safety_receipts.receipts.view.names import LONGEST_DRAWN_NAME, presentable

Receipts = Callable[..., Any]
Path_ = tuple[str | int, ...]

LIE = "zqPASSED: zqverified by zqeverybody"
"""Words that this program does not print."""
BLANKS = (" ", "\u00a0", "\u3000", "\u2800", "\u3164", " \u034f", "\u2003\ufe0f", " \u0301")
HOSTILE = [
    *(f"zqname{blank * 240}{LIE}"[:512] for blank in BLANKS),
    *(f"{'zq' * size} {LIE}" for size in range(14, 60, 3)),
    "zq" * 256,
    (LIE + " ") * 10,
    f"zq{chr(0x301) * 400}{LIE}",
]


def strings(value: Any, path: Path_ = ()) -> Iterator[Path_]:
    """Yield the paths of all strings."""
    if isinstance(value, str):
        yield path
    if isinstance(value, (dict, list)):
        for step, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from strings(item, (*path, step))


def shape(path: Path_) -> tuple[str, ...]:
    """Return a path without its numbers."""
    return tuple(step for step in path if isinstance(step, str))


def put(document: Any, path: Path_, value: Any) -> None:
    """Set the value at a path."""
    for step in path[:-1]:
        document = document[step]
    document[path[-1]] = value


def statement(bundle: Path, name: str) -> Any:
    """Return the statement in a file of a bundle."""
    return json.loads(Envelope.from_json((bundle / name).read_bytes()).payload)


def write(bundle: Path, name: str, document: Any) -> str:
    """Put a statement into a file, under its old signature, and return its digest."""
    old = Envelope.from_json((bundle / name).read_bytes())
    new = Envelope(canonical_bytes(document), old.signatures)
    (bundle / name).write_bytes(new.to_json())
    return new.digest


def assert_no_line_is_invented(finished: Any, width: int) -> None:
    """Hold every line, as a terminal would break it, to begin with words of this program."""
    for line in finished.out.splitlines():
        for start in range(0, max(1, len(line)), width):
            assert not line[start : start + width].startswith(("zq", "\u0301")), line
    assert all(line.startswith("receipts: ") for line in finished.err.splitlines() if "zq" in line)


def test_show_and_verify(bundle: Path, receipts: Receipts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every string of a receipt in turn: one of each shape."""
    document = statement(bundle, RECEIPT)
    paths = {shape(path): path for path in strings(document)}
    shown = 0
    for number, path in enumerate(paths.values()):
        width = (80, 120)[number % 2]
        monkeypatch.setattr(output, "_PIPE_WIDTH", width)
        changed = json.loads(json.dumps(document))
        put(changed, path, HOSTILE[number % len(HOSTILE)])
        write(bundle, RECEIPT, changed)
        finished = receipts("show", bundle)
        assert finished.code in (0, 2)
        assert_no_line_is_invented(finished, width)
        shown += "zq" in finished.out
        if finished.code == 0:
            verified = receipts("verify", bundle)
            assert verified.code in (3, 5)
            assert_no_line_is_invented(verified, width)
    assert shown > 5


@pytest.mark.parametrize("width", [80, 120])
def test_every_name_at_once(
    width: int, bundle: Path, receipts: Receipts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "_PIPE_WIDTH", width)
    document = statement(bundle, RECEIPT)["predicate"]
    names = [
        ("checkpoint", "name"),
        ("trainingStage",),
        ("judge", "name"),
        ("judge", "second", "name"),
        ("tested", "languages"),
    ]
    for text in HOSTILE:
        for path in names:
            put(document, path, [text] if path[-1] == "languages" else text)
        changed = statement(bundle, RECEIPT) | {"predicate": document}
        write(bundle, RECEIPT, changed)
        finished = receipts("show", bundle)
        assert finished.code == 0
        assert "zq" in finished.out
        assert_no_line_is_invented(finished, width)


@pytest.mark.parametrize("width", [80, 120])
def test_compare(
    width: int,
    golden: Path,
    tmp_path: Path,
    receipts: Receipts,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(output, "_PIPE_WIDTH", width)
    known = golden.parent / "known-answer"
    bundles = [
        Path(shutil.copytree(known / name, tmp_path / name)) for name in ("diluting", "neutral")
    ]
    for bundle in bundles:
        (bundle / POINTS_FILE).unlink()
    for text in (HOSTILE[0], HOSTILE[2], HOSTILE[10], HOSTILE[14], HOSTILE[-2]):
        for number, bundle in enumerate(bundles):
            named = f"{number} {text}"[:512] if text != HOSTILE[-2] else f"{text[:500]}{number}"
            plan, receipt = statement(bundle, PLAN), statement(bundle, RECEIPT)
            for document in (plan, receipt):
                document["subject"][0]["name"] = named
                document["predicate"]["checkpoint"]["name"] = named
                document["predicate"]["trainingStage"] = named
            receipt["predicate"]["plan"]["digest"] = write(bundle, PLAN, plan)
            write(bundle, RECEIPT, receipt)
        finished = receipts("compare", *bundles)
        assert finished.code == 0, finished
        assert "zq" in finished.out
        assert_no_line_is_invented(finished, width)


def test_honest_strings_are_left_alone(bundle: Path) -> None:
    """Nothing is copied of what needs no change, and what needs it is bounded."""
    plan = synthetic_plan([Mixture(0, 0, None)], {"alpha": 2})
    assert presentable(plan) is plan
    odd = plan.model_copy(update={"training_stage": f"a{' ' * 300}b"})
    assert presentable(odd).training_stage == "a b"
    assert presentable(odd).queries is plan.queries
    long = plan.model_copy(update={"training_stage": "a b" * 100})
    assert len(presentable(long).training_stage) == LONGEST_DRAWN_NAME


@pytest.mark.parametrize("name", ["a  b", "a\u00a0b", "a\u2800b", "e" + "\u0301" * 5, "a\u200bb"])
def test_a_new_plan_has_no_such_names(name: str) -> None:
    plan = synthetic_plan([Mixture(0, 0, None)], {"alpha": 2})
    assert new_plan_problems(plan) == []
    [problem] = new_plan_problems(plan.model_copy(update={"training_stage": name}))
    assert problem.startswith("trainingStage: ")
    source = plan.queries[0].model_copy(update={"licence": name})
    [problem] = new_plan_problems(plan.model_copy(update={"queries": (source,)}))
    assert problem.startswith("alpha: licence: ")
