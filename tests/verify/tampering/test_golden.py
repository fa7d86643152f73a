"""Golden bundles: those of every released version verify for ever, the bad ones never."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

GOLDEN = Path(__file__).parent.parent.parent / "golden"
BAD = sorted(path.parent for path in GOLDEN.glob("*/bad/*/expected.json"))
VERSIONS = sorted(path for path in GOLDEN.iterdir() if (path / "good").is_dir())

Receipts = Callable[..., Any]


@pytest.mark.parametrize("version", VERSIONS, ids=lambda path: path.name)
@pytest.mark.parametrize("kind", ["ed25519", "p256"])
def test_good(version: Path, kind: str, receipts: Receipts) -> None:
    finished = receipts(
        "verify", version / "good" / kind, "--trust", version / f"{kind}.pub", "--json"
    )
    document = json.loads(finished.out)
    assert (finished.code, document["verdict"], document["level"]) == (0, "passed", "consistent")
    unmade = [c["name"] for c in document["checks"] if c["status"] != "passed"]
    assert unmade == ["commitments", "beacon-value", "best-of-n", "instrument"]


@pytest.mark.parametrize("version", VERSIONS, ids=lambda path: path.name)
def test_good_opens(version: Path, receipts: Receipts) -> None:
    """All commitments open; level bound is not reached, and verification says why."""
    bundle, key = version / "good" / "ed25519", version / "ed25519.pub"
    finished = receipts("verify", bundle, "--trust", key, "--level", "bound", "--json")
    document = json.loads(finished.out)
    status = {c["name"]: c["status"] for c in document["checks"]}
    assert (finished.code, document["verdict"]) == (5, "incomplete")
    assert (status["commitments"], status["judge-agreement"]) == ("passed", "passed")
    assert status["artifacts"] == "not_checked"


@pytest.mark.parametrize("version", VERSIONS, ids=lambda path: path.name)
def test_published(version: Path, receipts: Receipts) -> None:
    """Without the evidence: authentic, and consistent is not checked for the stated reason."""
    bundle, key = version / "good" / "published", version / "ed25519.pub"
    finished = receipts("verify", bundle, "--trust", key)
    assert finished.code == 5
    assert "evidence held by auditors" in finished.out
    assert receipts("verify", bundle, "--trust", key, "--level", "authentic").code == 0


@pytest.mark.parametrize("folder", BAD, ids=lambda path: path.name)
def test_bad(folder: Path, receipts: Receipts) -> None:
    expected = json.loads((folder / "expected.json").read_text())["failed"]
    key = folder.parent.parent / "ed25519.pub"
    finished = receipts("verify", folder, "--trust", key, "--level", "bound", "--json")
    failed = [c["name"] for c in json.loads(finished.out)["checks"] if c["status"] == "failed"]
    assert finished.code == 3
    assert expected in failed


def test_bad_bundles_are_there() -> None:
    assert len(BAD) >= 13
