"""What the tests of ``receipts`` share: keys, a sealed event, one example of every document."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.keys import KeyType, Signer, generate_key, supported_key_types
from safety_receipts.receipts.proof import make_proof
from safety_receipts.verify.selfcheck.selftest import small_event

EXAMPLES = Path(__file__).parent / "examples"


@pytest.fixture(scope="session")
def signer() -> Signer:
    """An Ed25519 key, the evaluator's."""
    return generate_key()


@pytest.fixture(scope="session", params=supported_key_types())
def any_signer(request: pytest.FixtureRequest) -> Signer:
    """One key of every type."""
    return generate_key(KeyType(request.param))


@pytest.fixture(scope="session")
def sealed(tmp_path_factory: pytest.TempPathFactory, signer: Signer) -> Bundle:
    """A small sealed event; read only, since all tests share it."""
    folder = tmp_path_factory.mktemp("sealed") / "event"
    small_event(folder, signer)
    return Bundle(folder)


@pytest.fixture
def fresh(sealed: Bundle, tmp_path: Path) -> Bundle:
    """A copy of the small sealed event, to tamper with."""
    return Bundle(Path(shutil.copytree(sealed.folder, tmp_path / "fresh")))


LEFT_OUT = (
    "breakdown",
    "templateWords",
    "signature",
    "beaconSignature",
    "server",
    "judgeServer",
    "secondJudgeServer",
)
"""Fields that writers leave out where they are null."""


def _set(document: Any, path: str, value: Any) -> None:
    """Set one field, which the document must have already, or leaves out where it is null."""
    *steps, last = path.split(".")
    for step in steps:
        document = document[int(step)] if step.isdecimal() else document[step]
    assert last in document or last in LEFT_OUT
    document[last] = value


def _shortened(value: Any) -> Any:
    """Keep the first item of every array."""
    if isinstance(value, dict):
        return {key: _shortened(item) for key, item in value.items()}
    return [_shortened(item) for item in value[:1]] if isinstance(value, list) else value


@pytest.fixture(scope="session")
def documents(sealed: Bundle) -> dict[str, Any]:
    """One valid document for every schema, with every optional part present.

    The plan and the receipt fit their schemas, but no longer one another.
    """
    full = json.loads((EXAMPLES / "optional-parts.json").read_text("utf-8"))
    examples: dict[str, Any] = {
        "plan-statement": json.loads(sealed.plan_envelope.payload),
        "evaluation-statement": json.loads(sealed.receipt_envelope.payload),
        "point": next(sealed.points()).to_wire(),
        "restricted-record": next(sealed.responses()).to_wire(),
        "envelope": json.loads(sealed.receipt_envelope.to_json()),
        "inclusion-proof": make_proof(sealed, "3").to_wire(),
    }
    for name in (
        "audit-start-statement",
        "audit-statement",
        "audit-public-statement",
        "calibration-statement",
    ):
        examples[name] = json.loads((EXAMPLES / f"{name}.json").read_text("utf-8"))
    for name in ("plan-statement", "evaluation-statement"):
        # One condition, with labels, an ordering and a benign source; one item of everything.
        del examples[name]["predicate"]["conditions"][0]
        examples[name] = _shortened(examples[name])
    for name, parts in full.items():
        for path, value in parts.items():
            _set(examples[name], path, value)
    return examples
