"""``verify --require``: each of these keys signed plan and receipt."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from safety_receipts.receipts.bundle import PLAN, RECEIPT, read_envelope
from safety_receipts.receipts.dsse import Envelope
from safety_receipts.receipts.keys import (
    KeyType,
    generate_key,
    load_public_key,
    sign_together,
    supported_key_types,
    write_key_pair,
)
from safety_receipts.verify.selfcheck.selftest import small_event

OTHER = supported_key_types()[-1]
"""ML-DSA, where the installed cryptography has it."""


@pytest.fixture
def hybrid(tmp_path: Path) -> Path:
    """A bundle that two keys signed, and their files beside it."""
    keys = [generate_key(KeyType.ED25519), generate_key(OTHER)]
    for name, key in zip(("one", "two"), keys, strict=True):
        write_key_pair(tmp_path / name, key)
    small_event(tmp_path / "bundle", sign_together(keys))
    return tmp_path / "bundle"


def asked(receipts: Callable[..., Any], bundle: Path, *words: str) -> tuple[int, dict[str, Any]]:
    """Verify, with files beside the bundle; return the code and the checks by name."""
    options = [w if w.startswith("--") else bundle.parent / w for w in words]
    found = receipts("verify", bundle, *options, "--json")
    checks = json.loads(found.out)["checks"]
    return found.code, {check["name"]: check for check in checks}


BOTH = ("--require", "one.pub", "--require", "two.pub")


def test_both_signed(receipts: Callable[..., Any], hybrid: Path) -> None:
    code, checks = asked(receipts, hybrid, *BOTH)
    assert code == 0
    assert checks["required-keys"]["status"] == "passed"
    assert checks["required-keys"]["level"] == "authentic"
    assert f"({OTHER})" in checks["required-keys"]["detail"]
    for key in ("one.pub", "two.pub"):
        code, checks = asked(receipts, hybrid, "--trust", key)
        assert code == 0
        assert "required-keys" not in checks


@pytest.mark.parametrize("file", [PLAN, RECEIPT])
@pytest.mark.parametrize("left", [0, 1])
def test_a_signature_that_was_dropped_fails(
    receipts: Callable[..., Any], hybrid: Path, file: str, left: int
) -> None:
    envelope = read_envelope(hybrid / file, 2**20)
    cut = Envelope(envelope.payload, (envelope.signatures[left],))
    (hybrid / file).write_bytes(cut.to_json())
    code, checks = asked(receipts, hybrid, *BOTH)
    assert code == 3
    assert [name for name, one in checks.items() if one["status"] == "failed"] == ["required-keys"]
    assert ("plan" if file == PLAN else "receipt") in checks["required-keys"]["detail"]
    code, checks = asked(receipts, hybrid, "--trust", ("one.pub", "two.pub")[left])
    assert code == 0, "whoever trusts one key asks for no other"


def test_show_names_both(receipts: Callable[..., Any], hybrid: Path) -> None:
    shown = " ".join(receipts("show", hybrid).out.split())
    for name in ("one.pub", "two.pub"):
        assert load_public_key(hybrid.parent / name).keyid in shown


def test_a_stranger_who_is_required_fails(receipts: Callable[..., Any], hybrid: Path) -> None:
    write_key_pair(hybrid.parent / "stranger", generate_key())
    code, checks = asked(receipts, hybrid, *BOTH, "--require", "stranger.pub")
    assert code == 3
    assert checks["receipt-signature"]["status"] == "passed"
    assert checks["required-keys"]["status"] == "failed"


def test_without_the_plan_it_is_open(receipts: Callable[..., Any], hybrid: Path) -> None:
    (hybrid / PLAN).unlink()
    code, checks = asked(receipts, hybrid, *BOTH)
    assert code == 5
    assert checks["required-keys"]["status"] == "not_checked"
