"""Every leaf of the receipt, changed: by somebody else, and by a dishonest evaluator."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from safety_receipts import schemas
from safety_receipts.receipts.bundle import PLAN, RECEIPT, Bundle
from safety_receipts.receipts.canonical import canonical_bytes
from safety_receipts.receipts.dsse import Envelope, sign
from safety_receipts.receipts.keys import TrustSet
from safety_receipts.receipts.model.check import CheckLevel, CheckStatus
from safety_receipts.verify.integrity import verify_bundle

Path_ = tuple[str | int, ...]

VALIDATORS = {
    name: Draft202012Validator(schemas.load(name))
    for name in ("evaluation-statement", "plan-statement")
}

EVALUATORS_WORD = (
    ("predicate", "event", "id"),
    ("predicate", "event", "startedAt"),
    ("predicate", "event", "finishedAt"),
    ("predicate", "event", "restarts"),
    ("predicate", "event", "retries"),
    ("predicate", "event", "discarded"),
    ("predicate", "event", "looks"),
    ("predicate", "environment", "tool"),
    ("predicate", "environment", "device"),
    ("predicate", "environment", "driver"),
    ("predicate", "environment", "platform"),
    ("predicate", "environment", "python"),
    ("predicate", "environment", "torch"),
    ("predicate", "environment", "transformers"),
    ("predicate", "environment", "attention"),
    ("predicate", "environment", "memoryClass"),
    ("predicate", "environment", "packages"),
)
"""What only the evaluator can know: nothing in evidence or plan contradicts another value.
The threat model lists the same."""

CANDIDATES: tuple[Any, ...] = (
    "x",
    "h0-b0",
    "0.500000",
    "0.500001",
    "12.34",
    "0.25",
    "1" * 64,
    "2026-01-01T00:00:30Z",
    "2026-01-02",
    "bh",
    "suffix",
    {"joint": None},
    3,
    True,
    False,
    None,
)


def leaves(value: Any, path: Path_ = ()) -> Iterator[Path_]:
    """Yield the paths of all leaves; an empty object or array is one."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from leaves(item, (*path, key))
    elif isinstance(value, list) and value:
        for i, item in enumerate(value):
            yield from leaves(item, (*path, i))
    else:
        yield path


def changed(statement: dict[str, Any], path: Path_, schema: str) -> dict[str, Any]:
    """Return a copy with one leaf changed, to a value that fits the schema if there is one."""
    result = copy.deepcopy(statement)
    parent: Any = result
    for step in path[:-1]:
        parent = parent[step]
    old = parent[path[-1]]
    near = _beyond_rounding(old) if "findings" in path else _near(old)
    for new in [*_other_members(old, schema), *near, *CANDIDATES]:
        if type(new) is type(old) and new == old:
            continue
        parent[path[-1]] = new
        if VALIDATORS[schema].is_valid(result):
            return result
    parent[path[-1]] = "nothing fits here but what stood here"
    return result


def _near(old: Any) -> Iterator[Any]:
    if isinstance(old, bool):
        yield not old
    elif isinstance(old, int):
        yield old + 1
        yield old - 1
    elif isinstance(old, str) and old:
        last = old[-1]
        yield old[:-1] + ("1" if last == "0" else "0")
        yield old[:-1] + ("h" if last == "b" else "b")
        yield old + "x"
    elif isinstance(old, dict):
        yield {"x": "y"}
    elif isinstance(old, list):
        yield ["x"]


def _beyond_rounding(old: Any) -> Iterator[Any]:
    """Fitted numbers may differ by their rounding: change a digit that counts."""
    digits = re.fullmatch(r"(-?[0-9]+\.0*)([0-9])([0-9]*)", old) if isinstance(old, str) else None
    if digits is None:
        yield from _near(old)
    else:
        before, digit, after = digits.groups()
        yield f"{before}{'1' if digit == '0' else '0' if digit == '1' else '1'}{after}"
        yield f"{before}{'5' if digit != '5' else '7'}{after}"


def _other_members(old: Any, schema: str) -> Iterator[str]:
    for definition in schemas.load(schema)["$defs"].values():
        if old in definition.get("enum", []):
            yield from definition["enum"]


def _failed(folder: Path, trust: TrustSet, wanted: CheckLevel) -> list[str]:
    verification = verify_bundle(Bundle(folder), evaluators=trust, wanted=wanted)
    return [c.name for c in verification.checks if c.status is CheckStatus.FAILED]


def _statement(folder: Path, file: str) -> tuple[Envelope, dict[str, Any]]:
    envelope = Envelope.from_json((folder / file).read_bytes())
    return envelope, json.loads(envelope.payload)


SECTIONS = (
    "_type",
    "subject",
    "predicateType",
    "instrument",
    "checkpoint",
    "trainingStage",
    "prompt",
    "sampling",
    "queries",
    "demonstrations",
    "judge",
    "primary",
    "effectMargin",
    "plan",
    "event",
    "baseline",
    "judgeAgreement",
    "findings",
    "evidence",
    "environment",
    "tested",
    "limits",
    *(f"conditions/{i}" for i in range(11)),
)


def _section(path: Path_) -> str:
    name = path[1] if path[0] == "predicate" else path[0]
    return f"{name}/{path[2]}" if name == "conditions" else str(name)


def test_sections_cover_the_receipt(golden: Path) -> None:
    _, statement = _statement(golden / "good" / "ed25519", RECEIPT)
    assert {_section(path) for path in leaves(statement)} == set(SECTIONS)


@pytest.mark.parametrize("section", SECTIONS)
def test_a_leaf_changed_by_somebody_else(
    section: str, bundle: Path, make_golden: ModuleType
) -> None:
    """The old signature stays: level authentic fails, whatever the leaf."""
    trust = TrustSet([make_golden.EVALUATOR.public])
    envelope, statement = _statement(bundle, RECEIPT)
    for path in leaves(statement):
        if _section(path) != section:
            continue
        payload = canonical_bytes(changed(statement, path, "evaluation-statement"))
        (bundle / RECEIPT).write_bytes(Envelope(payload, envelope.signatures).to_json())
        assert "receipt-signature" in _failed(bundle, trust, CheckLevel.AUTHENTIC), path


@pytest.mark.parametrize("section", SECTIONS)
def test_a_leaf_changed_by_the_evaluator(
    section: str, bundle: Path, make_golden: ModuleType
) -> None:
    """Signed again with the true key: everything that can be derived is still caught."""
    signer = make_golden.EVALUATOR
    trust = TrustSet([signer.public])
    _, statement = _statement(bundle, RECEIPT)
    wanted = CheckLevel.BOUND if section == "judgeAgreement" else CheckLevel.CONSISTENT
    for path in leaves(statement):
        if _section(path) != section:
            continue
        false = changed(statement, path, "evaluation-statement")
        (bundle / RECEIPT).write_bytes(sign(false, signer).to_json())
        failed = _failed(bundle, trust, wanted)
        own_word = any(path[: len(prefix)] == prefix for prefix in EVALUATORS_WORD)
        assert bool(failed) != own_word, (path, failed)


def test_a_plan_leaf_changed(bundle: Path, make_golden: ModuleType) -> None:
    """Whoever signs it: the receipt names the digest of the plan that was run."""
    signer = make_golden.EVALUATOR
    trust = TrustSet([signer.public])
    envelope, statement = _statement(bundle, PLAN)
    paths = [path for path in leaves(statement) if len(path) < 5 or path[-1] in ("id", "labels")]
    assert len(paths) > 100
    for path in paths:
        false = changed(statement, path, "plan-statement")
        (bundle / PLAN).write_bytes(sign(false, signer).to_json())
        assert "plan-digest" in _failed(bundle, trust, CheckLevel.AUTHENTIC), path
        payload = canonical_bytes(false)
        (bundle / PLAN).write_bytes(Envelope(payload, envelope.signatures).to_json())
        assert "plan-signature" in _failed(bundle, trust, CheckLevel.AUTHENTIC), path


def test_an_unknown_field_is_reported_and_ignored(bundle: Path, make_golden: ModuleType) -> None:
    signer = make_golden.EVALUATOR
    _, statement = _statement(bundle, RECEIPT)
    statement["predicate"]["event"]["weather"] = "rain"
    (bundle / RECEIPT).write_bytes(sign(statement, signer).to_json())
    verification = verify_bundle(Bundle(bundle), evaluators=TrustSet([signer.public]))
    assert verification.level is CheckLevel.CONSISTENT
    [check] = [c for c in verification.checks if c.name == "receipt-schema"]
    assert "$.predicate.event.weather" in check.detail


@pytest.mark.parametrize("place", [(), ("subject", 0), ("predicate",)])
def test_a_missing_field(place: Path_, bundle: Path, make_golden: ModuleType) -> None:
    signer = make_golden.EVALUATOR
    _, statement = _statement(bundle, RECEIPT)
    parent: Any = statement
    for step in place:
        parent = parent[step]
    for key in list(parent):
        value = parent.pop(key)
        (bundle / RECEIPT).write_bytes(sign(statement, signer).to_json())
        failed = _failed(bundle, TrustSet([signer.public]), CheckLevel.AUTHENTIC)
        assert failed == ["receipt-schema"], key
        parent[key] = value
