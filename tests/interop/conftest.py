"""What the tests with other projects' tools share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.dsse import Envelope, sign
from safety_receipts.receipts.keys import KeyType, Signer, generate_key, supported_key_types
from safety_receipts.verify.selfcheck.selftest import small_event

EXAMPLES = Path(__file__).parents[1] / "receipts" / "examples"
KINDS = ("plan", "evaluation", "audit-start", "audit")


@pytest.fixture(scope="session", params=supported_key_types())
def signer(request: pytest.FixtureRequest) -> Signer:
    """One key of every type."""
    return generate_key(KeyType(request.param))


@pytest.fixture(scope="session")
def envelopes(tmp_path_factory: pytest.TempPathFactory, signer: Signer) -> dict[str, Envelope]:
    """A sealed envelope for each of the four kinds of statement."""
    folder = tmp_path_factory.mktemp("interop")
    small_event(folder, signer)
    bundle = Bundle(folder)

    def example(name: str) -> Any:
        return json.loads((EXAMPLES / f"{name}-statement.json").read_text("utf-8"))

    return {
        "plan": bundle.plan_envelope,
        "evaluation": bundle.receipt_envelope,
        "audit-start": sign(example("audit-start"), signer),
        "audit": sign(example("audit"), signer),
    }


@pytest.fixture(scope="session", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Each kind of statement in turn."""
    return str(request.param)


@pytest.fixture
def envelope(envelopes: dict[str, Envelope], kind: str) -> Envelope:
    """A sealed envelope of each kind in turn."""
    return envelopes[kind]
