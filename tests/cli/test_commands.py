"""The commands, as people and programs use them."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from printed import held

from safety_receipts import schemas
from safety_receipts.receipts.bundle import (
    AUDITS,
    PLAN,
    POINTS_FILE,
    RECEIPT,
    RESPONSES_FILE,
    Bundle,
)
from safety_receipts.receipts.events.synthetic import Mixture, synthetic_event, synthetic_plan
from safety_receipts.receipts.keys import load_public_key, load_signer

Receipts = Callable[..., Any]
GOLDEN_BAD = Path(__file__).parent.parent / "golden" / "0.1" / "bad"


@pytest.fixture
def key(tmp_path: Path, receipts: Receipts) -> Path:
    path = tmp_path / "evaluator"
    assert receipts("keygen", path).code == 0
    return path


@pytest.fixture
def public_bundle(tmp_path: Path, key: Path) -> Path:
    """A bundle whose evidence access is public."""
    folder = tmp_path / "public"
    plan = synthetic_plan([Mixture(0, 0, None), Mixture(0, 4, None)], {"alpha": 5})
    synthetic_event(folder, plan, load_signer(key))
    return folder


# keygen


@pytest.mark.parametrize("kind", ["ed25519", "p256"])
def test_keygen(kind: str, tmp_path: Path, receipts: Receipts) -> None:
    path = tmp_path / "key"
    finished = receipts("keygen", path, "--key-type", kind, "--json")
    document = held("cli-keygen", finished.out)
    assert finished.code == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert document["keyid"] == load_public_key(Path(document["publicKey"])).keyid
    assert load_signer(path).public.keyid == document["keyid"]
    assert "PRIVATE" not in finished.out + finished.err


def test_keygen_never_overwrites(key: Path, receipts: Receipts) -> None:
    before = key.read_bytes()
    finished = receipts("keygen", key)
    assert finished.code == 2
    assert "File exists" in finished.err
    assert key.read_bytes() == before


def test_keygen_with_a_passphrase(
    tmp_path: Path, receipts: Receipts, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "key"
    assert receipts("keygen", path, "--passphrase-env", "NOT_SET").code == 2
    assert not path.exists()
    monkeypatch.setenv("SECRET_WORDS", "correct horse")
    assert receipts("keygen", path, "--passphrase-env", "SECRET_WORDS").code == 0
    assert b"ENCRYPTED" in path.read_bytes()
    assert load_signer(path, b"correct horse").public.keyid


# show


def test_show_says_what_newcomers_need(golden: Path, receipts: Receipts) -> None:
    finished = receipts("show", golden / "good" / "ed25519")
    assert finished.code == 0
    for words in (
        "TEST INSTRUMENT",
        "Baseline",
        "Highest",
        "95 % interval",
        "Denominators",
        "over-refusal",
        "refusal-is-not-harm",
        "a claim until verified",
    ):
        assert words in finished.out
    assert "Nothing here was verified" in finished.err
    assert max(map(len, finished.out.splitlines())) <= 120


def test_show_json_is_the_predicate(golden: Path, receipts: Receipts) -> None:
    bundle = golden / "good" / "ed25519"
    finished = receipts("show", bundle, "--json")
    document = json.loads(finished.out)
    envelope = Bundle(bundle).receipt_envelope
    assert finished.err == ""
    assert document.pop("schema") == "cli-show/1"
    assert document.pop("digest") == envelope.digest
    assert document.pop("keyid") == envelope.signatures[0].keyid
    assert document.pop("audits") == []
    assert document.pop("inputs")["date"] == "2026-01-01"  # more in runner/plan/test_inputs.py
    assert document == json.loads(envelope.payload)["predicate"]


def test_show_some_conditions(golden: Path, receipts: Receipts) -> None:
    bundle = golden / "good" / "ed25519"
    shown = receipts("show", bundle, "--conditions", "*-random").out
    assert "h2-b3-random" in shown
    assert "h2-b3-middle" not in shown.partition("Compliance by condition")[2]
    nothing = receipts("show", bundle, "--conditions", "nothing*")
    assert nothing.code == 2
    assert "no condition matches nothing*" in nothing.err
    document = json.loads(receipts("show", bundle, "--conditions", "*-random", "--json").out)
    assert [condition["id"] for condition in document["conditions"]] == ["h2-b3-random"]


# verify


def test_verify_without_a_key(golden: Path, receipts: Receipts) -> None:
    finished = receipts("verify", golden / "good" / "ed25519")
    assert finished.code == 5
    assert "no trusted key was given" in finished.out
    assert "INCOMPLETE" in finished.out


def test_verify_with_several_keys(golden: Path, receipts: Receipts) -> None:
    trust = ["--trust", golden / "p256.pub", "--trust", golden / "ed25519.pub"]
    assert receipts("verify", golden / "good" / "p256", *trust).code == 0
    assert receipts("verify", golden / "good" / "ed25519", *trust).code == 0


def test_verify_json_shape(golden: Path, receipts: Receipts) -> None:
    finished = receipts(
        "verify", golden / "good" / "ed25519", "--trust", golden / "ed25519.pub", "--json"
    )
    document = json.loads(finished.out)
    assert set(document) == {
        "schema",
        "verdict",
        "level",
        "wanted",
        "subject",
        "responsesUnopened",
        "checks",
        "receiptDigest",
        "keyid",
        "audits",
    }
    for check in document["checks"]:
        assert set(check) == {"name", "level", "status", "detail"}
        assert check["status"] in ("passed", "failed", "not_checked", "not_applicable")
        assert check["status"] == "passed" or check["detail"]


def test_verify_quietly(golden: Path, receipts: Receipts) -> None:
    finished = receipts(
        "verify", golden / "good" / "ed25519", "--trust", golden / "ed25519.pub", "-q"
    )
    assert "receipt-signature" not in finished.out
    assert "PASSED" in finished.out


def test_verify_without_the_plan(bundle: Path, golden: Path, receipts: Receipts) -> None:
    (bundle / PLAN).unlink()
    finished = receipts("verify", bundle, "--trust", golden / "ed25519.pub", "--json")
    document = json.loads(finished.out)
    assert (finished.code, document["level"]) == (5, "none")
    assert "plan.dsse.json is not in this bundle" in finished.out


def test_verify_without_the_evidence_of_public_access(
    public_bundle: Path, key: Path, receipts: Receipts
) -> None:
    (public_bundle / POINTS_FILE).unlink()
    finished = receipts("verify", public_bundle, "--trust", f"{key}.pub")
    assert finished.code == 5
    assert "points.jsonl.zst is not in this bundle" in finished.out


def test_options_from_the_environment(
    golden: Path, receipts: Receipts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECEIPTS_VERIFY_TRUST", str(golden / "ed25519.pub"))
    monkeypatch.setenv("RECEIPTS_VERIFY_JSON", "1")
    finished = receipts("verify", golden / "good" / "ed25519")
    assert finished.code == 0
    assert json.loads(finished.out)["verdict"] == "passed"


# prove


def test_prove_and_verify(golden: Path, tmp_path: Path, receipts: Receipts) -> None:
    """A proof made from the whole bundle stands on the published one, without the evidence."""
    whole, published = golden / "good" / "ed25519", golden / "good" / "published"
    proof, trust = tmp_path / "proof.json", ["--trust", golden / "ed25519.pub"]
    assert receipts("prove", whole, "40", "--out", proof).code == 0
    jsonschema.validate(json.loads(proof.read_text()), schemas.load_schema("inclusion-proof"))
    finished = receipts("verify", published, *trust, "--proof", proof, "--level", "authentic")
    assert finished.code == 0
    assert "point 40 is in the receipt" in finished.out


def test_a_proof_does_not_lower_the_level(
    bundle: Path, golden: Path, tmp_path: Path, receipts: Receipts
) -> None:
    """Whoever adds --proof to a gate must not get less than before."""
    proof, trust = tmp_path / "proof.json", ["--trust", golden / "ed25519.pub"]
    assert receipts("prove", bundle, "40", "--out", proof).code == 0
    shutil.copy(golden / "bad" / "an-outcome-is-flipped" / POINTS_FILE, bundle / POINTS_FILE)
    assert receipts("verify", bundle, *trust, "--proof", proof).code == 3
    (bundle / POINTS_FILE).unlink()
    assert receipts("verify", bundle, *trust, "--proof", proof).code == 5


def test_prove_by_id(golden: Path, receipts: Receipts) -> None:
    bundle = golden / "good" / "ed25519"
    point = list(Bundle(bundle).points())[40]
    by_index = receipts("prove", bundle, "40", "--json").out
    assert receipts("prove", bundle, point.id, "--json").out == by_index
    assert receipts("prove", bundle, point.id[:12], "--json").out == by_index


@pytest.mark.parametrize("name", ["264", "nonsense", "0" * 64, "abc", "-1", "٣", ""])
def test_prove_no_point(name: str, golden: Path, receipts: Receipts) -> None:
    finished = receipts("prove", golden / "good" / "ed25519", "--", name)
    assert finished.code == 2
    assert finished.err.count("\n") == 1


@pytest.mark.parametrize(
    "change",
    [
        {"index": 41},
        {"size": 263},
        {"receipt": "0" * 64},
        {"path": []},
        {"line": "{}"},
    ],
)
def test_a_false_proof(
    change: dict[str, Any], golden: Path, tmp_path: Path, receipts: Receipts
) -> None:
    whole, proof = golden / "good" / "ed25519", tmp_path / "proof.json"
    document = json.loads(receipts("prove", whole, "40", "--json").out)
    proof.write_text(json.dumps(document | change))
    finished = receipts("verify", whole, "--trust", golden / "ed25519.pub", "--proof", proof)
    assert finished.code == 3
    assert "failed: proof" in finished.out


def test_a_proof_with_a_changed_line(golden: Path, tmp_path: Path, receipts: Receipts) -> None:
    whole, proof = golden / "good" / "ed25519", tmp_path / "proof.json"
    text = receipts("prove", whole, "40", "--json").out
    proof.write_text(text.replace('\\"outcome\\":\\"refused\\"', '\\"outcome\\":\\"complied\\"'))
    assert proof.read_text() != text
    finished = receipts("verify", whole, "--trust", golden / "ed25519.pub", "--proof", proof)
    assert finished.code == 3


def test_no_proof_from_tampered_evidence(bundle: Path, receipts: Receipts) -> None:
    shutil.copy(GOLDEN_BAD / "an-outcome-is-flipped" / POINTS_FILE, bundle / POINTS_FILE)
    finished = receipts("prove", bundle, "1")
    assert finished.code == 3
    assert "the evidence lines do not have the receipt's root" in finished.err


# publish


def test_publish_withholds_evidence(bundle: Path, tmp_path: Path, receipts: Receipts) -> None:
    (bundle / AUDITS).mkdir()
    junk = f"{AUDITS}/{'a' * 64}.dsse.json"
    (bundle / junk).write_text("{}")
    (bundle / "notes.txt").write_text("not part of a bundle")
    (bundle / "report.html").write_text("of whoever put it there")
    out = tmp_path / "out"
    finished = receipts("publish", bundle, "--out", out, "--json")
    assert finished.code == 0
    left, page = held("cli-publish", finished.out)["leftOut"]
    assert (left["file"], "is not an audit" in left["why"]) == (junk, True)
    assert (page["file"], "--page" in page["why"]) == ("report.html", True)
    copied = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert copied == {PLAN, RECEIPT}
    assert receipts("publish", bundle, "--out", tmp_path / "x", "--with-responses").code == 2
    assert not (tmp_path / "x").exists()


def test_publish_public_evidence(public_bundle: Path, tmp_path: Path, receipts: Receipts) -> None:
    receipts("publish", public_bundle, "--out", tmp_path / "lines")
    assert {path.name for path in (tmp_path / "lines").iterdir()} == {PLAN, RECEIPT, POINTS_FILE}
    receipts("publish", public_bundle, "--out", tmp_path / "all", "--with-responses")
    assert (tmp_path / "all" / RESPONSES_FILE).exists()


@pytest.mark.parametrize("with_responses", [False, True])
def test_publish_copies_no_evidence_that_is_not_the_receipt_s(
    public_bundle: Path, golden: Path, tmp_path: Path, receipts: Receipts, with_responses: bool
) -> None:
    name = RESPONSES_FILE if with_responses else POINTS_FILE
    shutil.copyfile(golden / "good" / "ed25519" / name, public_bundle / name)
    flag = ["--with-responses"] if with_responses else []
    finished = receipts("publish", public_bundle, "--out", tmp_path / "out", *flag)
    assert finished.code in (2, 3)
    assert name in finished.err
    assert not (tmp_path / "out").exists()


def test_publish_never_overwrites(bundle: Path, tmp_path: Path, receipts: Receipts) -> None:
    (tmp_path / "out").mkdir()
    assert receipts("publish", bundle, "--out", tmp_path / "out").code == 2


def test_publish_copies_no_links(bundle: Path, tmp_path: Path, receipts: Receipts) -> None:
    (bundle / AUDITS).mkdir()
    (bundle / AUDITS / f"{'a' * 64}.dsse.json").symlink_to("/etc/passwd")
    assert receipts("publish", bundle, "--out", tmp_path / "out").code == 0
    assert not (tmp_path / "out" / AUDITS).exists()
    shutil.move(bundle / PLAN, bundle / "other")
    (bundle / PLAN).symlink_to(bundle / "other")
    assert receipts("publish", bundle, "--out", tmp_path / "again").code == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "out"]


# schema, doctor


@pytest.mark.parametrize("name", schemas.schema_names())
def test_schema(name: str, receipts: Receipts) -> None:
    assert json.loads(receipts("schema", name).out) == schemas.load_schema(name)


def test_schema_names(receipts: Receipts) -> None:
    listed = held("cli-schema", receipts("schema", "--json").out)
    assert set(listed["schemas"]) == set(schemas.schema_names())
    assert receipts("schema", "nothing").code == 2


def test_doctor(key: Path, receipts: Receipts) -> None:
    finished = receipts("doctor", "--key", key, "--json")
    document = held("cli-doctor", finished.out)
    assert (finished.code, document["healthy"]) == (0, True)
    assert sum(line["section"] == "self-test" for line in document["lines"]) >= 14


def test_doctor_takes_no_public_key_for_an_open_private_one(key: Path, receipts: Receipts) -> None:
    document = json.loads(receipts("doctor", "--key", f"{key}.pub", "--json").out)
    [line] = [one for one in document["lines"] if one["section"] == "keys"]
    assert line["detail"] == f"is the public half, which others may read; give {key.name}"


def test_doctor_sees_an_open_key(key: Path, receipts: Receipts) -> None:
    key.chmod(0o644)
    finished = receipts("doctor", "--key", key, "--json")  # a table wraps long paths
    assert finished.code == 3
    assert "others can read it" in finished.out


# Errors


@pytest.mark.parametrize(
    "arguments",
    [
        ["nothing"],
        ["verify"],
        ["verify", "x", "--level", "replayed"],
        ["verify", "no-such-folder"],
        ["show", "no-such-folder"],
        ["verify", "BUNDLE", "--trust", "no-such-key"],
        ["verify", "BUNDLE", "--trust", "BUNDLE/plan.dsse.json"],
        ["verify", "BUNDLE", "--proof", "no-such-proof"],
        ["prove", "BUNDLE"],
        ["keygen", "no-such-folder/key"],
        ["publish", "BUNDLE"],
        ["verify", "a" * 5000],
        ["keygen", "a" * 300],
        ["verify", "BUNDLE", "--trust", "a" * 300],
        ["publish", "BUNDLE", "--out", "a" * 300],
        ["prove", "BUNDLE", "3", "--out", "."],
        ["keygen", "/"],
    ],
)
def test_bad_usage(arguments: list[str], golden: Path, receipts: Receipts) -> None:
    """One line to stderr, or one JSON document to stdout; exit code 2."""
    bundle = str(golden / "good" / "ed25519")
    words = [word.replace("BUNDLE", bundle) for word in arguments]
    said = receipts(*words)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("receipts: ")
    assert said.err.count("\n") == 1
    as_json = receipts(*words, "--json")
    error = json.loads(as_json.out)["error"]
    assert (as_json.code, as_json.err) == (2, "")
    assert set(error) == {"kind", "message", "file", "hint", "exitCode"}
    assert error["exitCode"] == 2


@pytest.mark.parametrize("command", ["verify", "show", "schema"])
def test_a_full_disk(command: str, golden: Path) -> None:
    """A result that cannot be written is an error, not a pass."""
    words = {"verify": ["--level", "authentic"], "show": [], "schema": []}[command]
    target = "point" if command == "schema" else str(golden / "good" / "ed25519")
    for more in ([], ["--json"]):
        with Path("/dev/full").open("w") as full:
            finished = subprocess.run(
                [sys.executable, "-m", "safety_receipts", command, target, *words, *more],
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
        assert finished.returncode == 2
        assert "No space left" in finished.stderr
        assert "Traceback" not in finished.stderr


def test_any_locale(golden: Path) -> None:
    """Characters that the terminal's encoding lacks are spelt out."""
    finished = subprocess.run(
        [sys.executable, "-m", "safety_receipts", "verify", str(golden / "good" / "ed25519")],
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (finished.returncode, finished.stderr) == (5, "")
    assert "\\u2713" in finished.stdout


def test_a_key_may_be_a_link(key: Path, golden: Path, tmp_path: Path, receipts: Receipts) -> None:
    """Mounted secrets are links; only the files inside a bundle must not be."""
    link = tmp_path / "link.pub"
    link.symlink_to(golden / "ed25519.pub")
    assert receipts("verify", golden / "good" / "ed25519", "--trust", link).code == 0


def test_two_keys_in_one_file(golden: Path, tmp_path: Path, receipts: Receipts) -> None:
    both = tmp_path / "both.pub"
    both.write_bytes((golden / "ed25519.pub").read_bytes() + (golden / "p256.pub").read_bytes())
    finished = receipts("verify", golden / "good" / "ed25519", "--trust", both)
    assert finished.code == 2
    assert "several keys" in finished.err


def test_a_private_key_is_not_trusted(key: Path, golden: Path, receipts: Receipts) -> None:
    finished = receipts("verify", golden / "good" / "ed25519", "--trust", key)
    assert finished.code == 2
    assert "private key" in finished.err


def test_a_reader_that_goes_away(golden: Path) -> None:
    """``receipts show … | true``: quiet, and neither a pass nor a failure."""
    command = f"{sys.executable} -m safety_receipts show -q {golden / 'good' / 'ed25519'} | true"
    finished = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, check=False
    )
    assert (finished.returncode, finished.stderr) == (141, "")


WAITING = """
import signal
import time
import safety_receipts.receipts.keys

# A shell that starts the tests in the background has them ignore SIGINT.
signal.signal(signal.SIGINT, signal.default_int_handler)

def wait(path):
    print("waiting", flush=True)
    time.sleep(300)

safety_receipts.receipts.keys.load_public_key = wait
from safety_receipts.receipts.cli import main
main(["verify", ".", "--trust", "key.pub"])
"""


def test_interrupt() -> None:
    """Ctrl-C ends a command with 130 and one line."""
    with subprocess.Popen(
        [sys.executable, "-c", WAITING],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
        assert (process.returncode, said.strip()) == (130, "receipts: interrupted")


def test_progress_is_for_terminals(golden: Path, tmp_path: Path, key: Path) -> None:
    """On a terminal there is a bar; nothing of it reaches a pipe."""
    folder = tmp_path / "large"
    plan = synthetic_plan([Mixture(0, 0, None)], {"alpha": 4000})
    synthetic_event(folder, plan, load_signer(key))
    command = [
        sys.executable,
        "-m",
        "safety_receipts",
        "verify",
        str(folder),
        "--trust",
        f"{key}.pub",
    ]
    piped = subprocess.run(command, capture_output=True, check=True)
    assert piped.stderr == b""
    parent, child = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=child, env=environment
    ) as process:
        os.close(child)
        seen = b""
        try:
            while block := os.read(parent, 4096):
                seen += block
        except OSError:  # the terminal's other end is closed
            pass
        assert process.wait(timeout=60) == 0
    os.close(parent)
    assert b"verifying" in seen
