"""docs/protocol.md suffices for a second verifier: it agrees on every golden bundle."""

import ast
import importlib
import json
import shutil
import subprocess
import sys
from base64 import b64decode
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from safety_receipts.receipts.keys import Signer
from safety_receipts.verify.selfcheck.selftest import edit_statement

SCRIPT = Path(__file__).with_name("independent.py")
GOLDEN = Path(__file__).parents[1] / "golden" / "0.1"
SCRIPTS = sorted(SCRIPT.parent.glob("independent*.py"))
EVALUATOR = Signer(Ed25519PrivateKey.from_private_bytes(sha256(b"golden evaluator").digest()))
BAD = sorted(folder.name for folder in (GOLDEN / "bad").iterdir() if folder.is_dir())


def verify(bundle: Path, key: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), str(bundle), str(GOLDEN / f"{key}.pub")]
    return subprocess.run(
        command, capture_output=True, text=True, encoding="utf-8", check=False, timeout=120
    )


@pytest.mark.parametrize("key", ["ed25519", "p256"])
def test_a_good_bundle_follows_and_the_key_id_is_the_one_in_its_envelope(key: str) -> None:
    bundle = GOLDEN / "good" / key
    done = verify(bundle, key)
    assert (done.returncode, done.stderr) == (0, "")
    envelope = json.loads((bundle / "receipt.dsse.json").read_bytes())
    size = json.loads(b64decode(envelope["payload"]))["predicate"]["evidence"]["size"]
    keyid = envelope["signatures"][0]["keyid"]
    assert done.stdout.endswith(f" follows: {size} points, signed by {keyid}\n")
    assert done.stdout.count("\n") == 1


@pytest.mark.parametrize("name", BAD)
def test_a_bad_bundle_does_not_follow_and_it_is_said_why(name: str) -> None:
    done = verify(GOLDEN / "bad" / name, "ed25519")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("does not follow: ")
    assert "Traceback" not in done.stderr


def test_there_are_bad_bundles() -> None:
    assert BAD


def test_a_good_bundle_does_not_follow_under_the_wrong_key() -> None:
    done = verify(GOLDEN / "good" / "ed25519", "p256")
    assert (done.returncode, done.stdout) == (1, "")
    assert "not signed by KEY" in done.stderr


def test_a_finding_that_does_not_follow_is_named(tmp_path: Path) -> None:
    shutil.copytree(GOLDEN / "good" / "ed25519", tmp_path / "bundle")

    def change(statement: dict[str, Any]) -> None:
        statement["predicate"]["findings"]["joint"]["asPublished"]["beta2"] = "-9.000000"

    edit_statement(change, resign=True)(tmp_path / "bundle", EVALUATOR)
    done = verify(tmp_path / "bundle", "ed25519")
    assert (done.returncode, done.stdout) == (1, "")
    assert "findings.joint.asPublished.beta2 is -9.000000, not " in done.stderr


def test_findings_may_be_left_out(tmp_path: Path) -> None:
    shutil.copytree(GOLDEN / "good" / "ed25519", tmp_path / "bundle")
    leave_out = edit_statement(lambda s: s["predicate"].update(findings=None), resign=True)
    leave_out(tmp_path / "bundle", EVALUATOR)
    assert verify(tmp_path / "bundle", "ed25519").returncode == 0


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda gold: gold.update(judge="0" * 64), "judge of the calibration"),
        (lambda gold: gold.update(unscored=4), "unscored of the strata"),
        (lambda gold: gold["strata"].pop(), "positives of the strata"),
        (lambda gold: gold["strata"][0].update(specificity="0.5"), "strata.*specificity"),
        (lambda gold: gold["strata"][1].update(stratum="long responses"), "comes twice"),
        (lambda gold: gold.update(truePositives=191), "sensitivity"),
    ],
)
def test_a_calibration_follows_from_its_counts(
    change: Callable[[dict[str, Any]], Any], problem: str
) -> None:
    payload = json.loads((GOLDEN / "good" / "ed25519" / "plan.dsse.json").read_bytes())["payload"]
    judge = json.loads(b64decode(payload))["predicate"]["judge"]
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPT.parent))
        check_judges = importlib.import_module("independent").check_judges
    check_judges(judge)
    change(judge["calibration"])
    with pytest.raises(ValueError, match=problem):
        check_judges(judge)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_the_script_imports_nothing_of_the_project(script: Path) -> None:
    tree = ast.parse(script.read_text("utf-8"))
    imported: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0
            imported.add(node.module or "")
    packages = {name.partition(".")[0] for name in imported}
    allowed = {"cryptography", "jsonschema", "numpy", "rfc8785", "zstandard"}
    assert packages - sys.stdlib_module_names <= allowed | {path.stem for path in SCRIPTS}
    assert not packages & {"receipts", "runner", "schemas", "verify"}
    called = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert not called & {"__import__", "exec", "eval", "importlib"}
