"""The script for CI decides as its page says, by documented fields alone."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from audit_statements import AUDITOR, announce, report

from safety_receipts import schemas
from safety_receipts.receipts.bundle import Bundle, BundleWriter
from safety_receipts.receipts.events.synthetic import Mixture, synthetic_event, synthetic_plan
from safety_receipts.receipts.keys import generate_key
from safety_receipts.receipts.model.demonstrations import Ordering

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "docs" / "check_receipt.py"
GOLDEN = ROOT / "tests" / "golden" / "0.1"
Receipts = Callable[..., Any]


@dataclass(frozen=True)
class Said:
    """How the script ended."""

    code: int
    text: str


@pytest.fixture(scope="module")
def script() -> ModuleType:
    specification = importlib.util.spec_from_file_location("check_receipt", SCRIPT)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def decide(bundle: Path, key: Path, checkpoint: str, stage: str, *words: str | Path) -> Said:
    """Run the script as CI does: in a process, with the command and no variable of the tests."""
    given = [bundle, "--trust", key, "--checkpoint", checkpoint, "--stage", stage, *words]
    environment = {k: v for k, v in os.environ.items() if k != "RECEIPTS_VERIFY_ALLOW_INSTRUMENT"}
    environment["RECEIPTS_COMMAND"] = f"{sys.executable} -m safety_receipts"
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, given)],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    return Said(done.returncode, done.stdout + done.stderr)


def root_of(bundle: Path) -> str:
    return Bundle(bundle).receipt.statement.predicate.checkpoint.root


@pytest.fixture
def real(tmp_path: Path) -> Path:
    """An event that is of no test instrument, as far as it says; its key lies beside."""
    mixtures = [Mixture(0, 0, None), Mixture(2, 2, Ordering.SUFFIX)]
    plan = synthetic_plan(mixtures, {"alpha": 6}).model_copy(
        update={"instrument": False, "training_stage": "dpo"}
    )
    signer = generate_key()
    synthetic_event(tmp_path / "real", plan, signer)
    (tmp_path / "key.pub").write_bytes(signer.public.pem())
    return tmp_path / "real"


def test_an_honest_receipt_of_what_is_released_is_accepted(real: Path, tmp_path: Path) -> None:
    summary = tmp_path / "summary.md"
    said = decide(real, tmp_path / "key.pub", root_of(real), "dpo", "--summary", summary)
    assert said == Said(0, "")
    written = summary.read_text("utf-8")
    assert written.startswith("## Receipt accepted\n")
    for words in (root_of(real), "stage `dpo`", "baseline: h0-b0", "passed at level consistent"):
        assert words in written


def test_a_tampered_receipt_is_not(tmp_path: Path) -> None:
    bad = GOLDEN / "bad" / "an-outcome-is-flipped"
    words = ("--allow-instrument",)
    said = decide(bad, GOLDEN / "ed25519.pub", root_of(bad), "none", *words)
    assert said.code == 3
    assert said.text.startswith("## Receipt NOT accepted\n")
    assert "failed: `evidence-root`" in said.text


def test_an_instruments_receipt_is_not(tmp_path: Path) -> None:
    good = GOLDEN / "good" / "ed25519"
    given = (good, GOLDEN / "ed25519.pub", root_of(good), "none")
    refused = decide(*given)
    assert (refused.code, "failed: `instrument`" in refused.text) == (1, True)
    accepted = decide(*given, "--allow-instrument")
    assert (accepted.code, "(TEST INSTRUMENT)" in accepted.text) == (0, True)


def test_another_checkpoints_receipt_is_not(real: Path, tmp_path: Path) -> None:
    said = decide(real, tmp_path / "key.pub", "0" * 64, "dpo")
    assert (said.code, "failed: `expected-checkpoint`" in said.text) == (1, True)
    said = decide(real, tmp_path / "key.pub", root_of(real), "sft")
    assert (said.code, "failed: `expected-stage`" in said.text) == (1, True)


def test_what_nobody_trusted_signed_or_nobody_can_read_is_not(real: Path, tmp_path: Path) -> None:
    said = decide(real, GOLDEN / "ed25519.pub", root_of(real), "dpo")
    assert (said.code, "failed: `receipt-signature`" in said.text) == (3, True)
    said = decide(tmp_path / "nothing", tmp_path / "key.pub", "0" * 64, "dpo")
    assert said.code == 2
    assert "- not read: `" in said.text
    assert "nothing: no such folder: a bundle is the folder that holds" in said.text


def test_a_level_that_cannot_be_reached_is_not_enough(real: Path, tmp_path: Path) -> None:
    said = decide(real, tmp_path / "key.pub", root_of(real), "dpo", "--level", "bound")
    assert said.code == 5


@pytest.fixture
def audited(tmp_path: Path) -> Path:
    """The golden bundle with an audit of one rate, to ε = .3."""
    bundle = Path(shutil.copytree(GOLDEN / "good" / "ed25519", tmp_path / "audited"))
    start = announce(Bundle(bundle).receipt_envelope.digest)
    for envelope in (start, report(Bundle(bundle).receipt_envelope.digest, start.digest)):
        BundleWriter(bundle).write_audit(envelope)
    (tmp_path / "auditor.pub").write_bytes(AUDITOR.public.pem())
    return bundle


def test_an_audit_of_one_rate_is_no_audit_of_the_receipt(audited: Path, tmp_path: Path) -> None:
    given = (audited, GOLDEN / "ed25519.pub", root_of(audited), "none", "--allow-instrument")
    auditor = ("--trust-auditor", tmp_path / "auditor.pub")
    assert decide(*given, *auditor).code == 0
    said = decide(*given, *auditor, "--epsilon", "0.3")
    assert (said.code, "no trusted audit confirms every rate" in said.text) == (1, True)
    assert "confirmed, 1 of " in said.text


def of_every_rate(changes: dict[str, Any]) -> dict[str, Any]:
    """Return what verification says of an audit of all rates."""
    audit = {
        "status": "passed",
        "verdict": "confirmed",
        "scope": {"whole": True},
        "selfAudit": False,
        "hardContradictions": {"rates": 0},
        "epsilon": "0.05",
        "alpha": "0.05",
        "knownStarts": 1,
    }
    return audit | changes


@pytest.mark.parametrize(
    ("changes", "enough"),
    [
        ({}, True),
        ({"status": "not_checked"}, False),
        ({"verdict": "consistent_with"}, False),
        ({"scope": {"whole": False}}, False),
        ({"selfAudit": True}, False),
        ({"hardContradictions": {"rates": 1}}, False),
        ({"epsilon": "0.051"}, False),
        ({"knownStarts": 2}, False),
        ({"alpha": "0.025", "knownStarts": 2}, True),
    ],
)
def test_which_audit_is_enough(script: ModuleType, changes: dict[str, Any], enough: bool) -> None:
    limits = (Decimal("0.05"), Decimal("0.05"))
    assert script.confirms(of_every_rate(changes), *limits) is enough


def test_what_others_wrote_is_no_markdown(script: ModuleType) -> None:
    assert script.quoted("a`b\n## accepted") == "`a'b ## accepted`"
    assert script.quoted("a\u202e\u200bb") == "`a<202E><200B>b`"
    assert script.quoted("\u3000 ") == "`?`"


# Documented fields


class Recorder(dict[str, Any]):
    """A document that notes which of its fields are read."""

    def __init__(self, value: dict[str, Any], path: str, read: set[str]) -> None:
        super().__init__({k: recorded(v, f"{path}.{k}", read) for k, v in value.items()})
        self._path, self._read = path, read

    def __getitem__(self, name: str) -> Any:
        self._read.add(f"{self._path}.{name}")
        return super().__getitem__(name)


def recorded(value: Any, path: str, read: set[str]) -> Any:
    if isinstance(value, dict):
        return Recorder(value, path, read)
    return [recorded(one, path, read) for one in value] if isinstance(value, list) else value


def documented(schema: dict[str, Any], part: dict[str, Any], path: str) -> Iterator[str]:
    """Yield the paths of all fields that a schema describes."""
    if "$ref" in part:
        part = schema["$defs"][part["$ref"].rpartition("/")[2]]
    for name, field in part.get("properties", {}).items():
        assert field.get("description") or "$ref" in field, f"{path}.{name}"
        yield f"{path}.{name}"
        yield from documented(schema, field, f"{path}.{name}")
    for one in (*part.get("anyOf", ()), *filter(None, [part.get("items")])):
        yield from documented(schema, one, path)


def test_it_reads_documented_fields_alone(
    script: ModuleType, audited: Path, tmp_path: Path, receipts: Receipts
) -> None:
    words = ("--trust", GOLDEN / "ed25519.pub", "--trust-auditor", tmp_path / "auditor.pub")
    bad = GOLDEN / "bad" / "an-outcome-is-flipped"
    read: set[str] = set()
    for name, bundle in (("cli-verify", audited), ("cli-verify", bad), ("cli-error", tmp_path)):
        finished = receipts("verify", bundle, *words, "--json")
        document = recorded(json.loads(finished.out), name, read)
        script.decided(finished.code, document, Decimal("0.3"), Decimal("0.05"))
    known = {
        path
        for name in ("cli-verify", "cli-error")
        for path in documented(schemas.load_schema(name), schemas.load_schema(name), name)
    }
    assert read <= known
    assert {"cli-verify.audits.scope.whole", "cli-verify.checks.detail"} <= read
    assert {"cli-verify.subject.checkpoint.root", "cli-error.error.message"} <= read


def test_it_says_that_a_server_answered(script: ModuleType) -> None:
    said = {
        "instrument": False,
        "checkpoint": {"name": "m", "root": "0" * 64, "dtype": "bfloat16"},
        "stage": "sft",
        "judge": {"name": "j", "kind": "chat"},
        "servers": [
            {"askedFor": "second_verdicts", "dialect": "vllm", "started": False},
            {"askedFor": "responses", "dialect": "vllm", "started": True},
        ],
        "baseline": None,
        "highest": None,
    }
    lines = [line for line in script.subject(said) if "server" in line]
    assert lines == ["- second verdicts of a vllm server that somebody else started"]


def test_a_document_of_another_version_is_not_guessed_at(script: ModuleType) -> None:
    with pytest.raises(SystemExit, match="cli-verify/2"):
        script.decided(0, {"schema": "cli-verify/2"}, None, Decimal("0.05"))
