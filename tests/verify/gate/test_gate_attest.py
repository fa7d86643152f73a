"""``receipts gate --attest``: one signed statement by which a deployment admits a checkpoint."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from google.protobuf import json_format
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.statement import Statement
from printed import held
from releases import SMALL, Audit, seal_release, write_audits
from securesystemslib import dsse as securesystemslib_dsse
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey
from sigstore import dsse as sigstore_dsse

from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.keys import (
    KeyType,
    Signer,
    generate_key,
    supported_key_types,
    write_key_pair,
)

Receipts = Callable[..., Any]
GOLDEN = Path(__file__).parents[2] / "golden"
RULES = """\
version: 1
rules:
  - {rule: audit, epsilon: 0.05}
  - {rule: rate, measure: rate, at_most: 0.9}
"""
AT = ["--at", "2026-03-01T00:00:00Z"]


@pytest.fixture(params=supported_key_types())
def signer(request: pytest.FixtureRequest, tmp_path: Path) -> Signer:
    """The key of a pipeline, of every type."""
    made = generate_key(KeyType(request.param))
    write_key_pair(tmp_path / "pipeline", made)
    return made


@pytest.fixture
def gate(small: Path, tmp_path: Path, trust: list[str], receipts: Receipts) -> Callable[..., Any]:
    """Hold an audited release to a policy, and attest."""
    write_audits(small, Audit())
    if not (tmp_path / "pipeline").exists():
        write_key_pair(tmp_path / "pipeline", generate_key(KeyType.ED25519))

    def gate(*words: str | Path, policy: str = RULES, out: str = "svr.json") -> Any:
        (tmp_path / "policy.yaml").write_text(policy, "utf-8")
        asked = ["--policy", tmp_path / "policy.yaml", *trust, *AT, "--json"]
        attest = ["--attest", tmp_path / "pipeline", "--out", tmp_path / out]
        return receipts("gate", small, *asked, *attest, *words)

    return gate


def test_other_tools_verify_and_read_it(
    signer: Signer, gate: Any, small: Path, tmp_path: Path
) -> None:
    finished = gate()
    assert finished.code == 0
    document = held("cli-gate", finished.out)
    assert document["attestation"] == str(tmp_path / "svr.json")
    written = (tmp_path / "svr.json").read_bytes()
    envelope = securesystemslib_dsse.Envelope.from_dict(json.loads(written))
    key = SSlibKey.from_crypto(signer.public.key)
    assert list(envelope.verify([key], threshold=1)) == [signer.public.keyid]
    stranger = SSlibKey.from_crypto(generate_key(signer.public.key_type).public.key)
    with pytest.raises(VerificationError):
        envelope.verify([stranger], threshold=1)
    payload = base64.b64decode(json.loads(written)["payload"])
    Statement.copy_from_pb(json_format.Parse(payload, statement_pb2.Statement())).validate()
    sigstore_dsse.Statement(payload)
    if isinstance(signer.public.key, ec.EllipticCurvePublicKey):
        parsed = sigstore_dsse.Envelope._from_json(written)
        assert sigstore_dsse._verify(signer.public.key, parsed) == payload
    statement = json.loads(payload)
    receipt = Bundle(small).receipt
    assert statement["predicateType"] == "https://in-toto.io/attestation/svr/v0.2"
    root = receipt.statement.predicate.checkpoint.root
    assert [one["digest"]["sha256"] for one in statement["subject"]] == [root]
    predicate = statement["predicate"]
    (policy,) = predicate["verifier"]["policies"]
    assert policy["digest"]["sha256"] == document["policy"]["digest"]
    assert receipt.envelope.digest in payload.decode()
    assert "SAFETY_RECEIPTS_AUDIT_CONFIRMED" in predicate["properties"]
    assert predicate["timeCreated"] == AT[1]


WAIVER = "waivers: [{rule: logged, reason: none yet, who: a manager, until: 2030-01-01}]\n"


@pytest.mark.parametrize(
    ("policy", "words", "code", "said"),
    [
        (RULES.replace("0.9", "0.0"), [], 1, "rule rate does not hold"),
        (f"{RULES}  - rule: logged\n", [], 1, "rule logged does not hold"),
        (f"{RULES}  - rule: logged\n{WAIVER}", [], 1, "a waiver accepts that"),
        (RULES, [GOLDEN / "0.1" / "bad" / "an-outcome-is-flipped"], 3, "no statement was signed"),
        (RULES, [GOLDEN / "0.1" / "good" / "ed25519"], 3, "no statement was signed"),
    ],
    ids=[
        "a rule fails",
        "a rule cannot be decided",
        "waived",
        "one does not verify",
        "a stranger's",
    ],
)
def test_nothing_is_written_unless_all_rules_hold_for_all(
    policy: str, words: list[Any], code: int, said: str, *, gate: Any, tmp_path: Path
) -> None:
    finished = gate(*words, policy=policy)
    assert finished.code == code
    assert said in finished.err
    assert not (tmp_path / "svr.json").exists()
    document = held("cli-gate", finished.out)
    assert document["attestation"] is None
    assert document["admitted"] is ("waivers" in policy)


def test_receipts_that_name_one_checkpoint_differently(gate: Any, tmp_path: Path) -> None:
    """They are admitted, and nothing is signed: the last one's evaluator would choose the name."""
    other = seal_release(tmp_path / "other", replace(SMALL, checkpoint="a better name"))
    write_audits(other, Audit())
    finished = gate(other)
    assert finished.code == 1
    assert "it calls the checkpoint a better name" in finished.err
    assert not (tmp_path / "svr.json").exists()
    document = held("cli-gate", finished.out)
    assert (document["admitted"], document["attestation"]) == (True, None)


def test_nobody_who_is_trusted_signed_it(small: Path, tmp_path: Path, receipts: Receipts) -> None:
    write_key_pair(tmp_path / "pipeline", generate_key(KeyType.ED25519))
    (tmp_path / "policy.yaml").write_text("version: 1\nrules: [{rule: verified}]\n", "utf-8")
    attest = ["--attest", tmp_path / "pipeline", "--out", tmp_path / "svr.json"]
    finished = receipts("gate", small, "--policy", tmp_path / "policy.yaml", *attest)
    assert finished.code == 5
    assert not (tmp_path / "svr.json").exists()


@pytest.mark.parametrize("policy", [RULES, RULES.replace("0.9", "0.0")], ids=["held", "refused"])
@pytest.mark.parametrize("kind", ["file", "link", "dangling link", "folder"])
def test_an_older_statement_is_never_taken_for_this_ones(
    policy: str, kind: str, *, gate: Any, tmp_path: Path
) -> None:
    """What has that name is refused before anything is decided, and stays as it is."""
    out, older = tmp_path / "svr.json", tmp_path / "older"
    older.write_bytes(b"older")
    match kind:
        case "file":
            out.write_bytes(b"older")
        case "folder":
            out.mkdir()
        case _:
            out.symlink_to(older if kind == "link" else tmp_path / "nowhere")
    finished = gate(policy=policy)
    assert finished.code == 2
    assert "already exists" in finished.err + finished.out
    assert older.read_bytes() == b"older"
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--attest", "KEY"], "--attest needs --out FILE"),
        (["--out", "svr.json"], "--out needs --attest KEY"),
        (["--passphrase-env", "X"], "--passphrase-env needs --attest KEY"),
        (["--attest", "nowhere", "--out", "svr.json"], "receipts keygen nowhere makes a key"),
        (["--attest", "KEY", "--out", "svr.json", "--passphrase-env", "UNSET_X"], "is unset"),
        (["--attest", "KEY", "--out", "nowhere/svr.json"], "nowhere/svr.json"),
    ],
    ids=str,
)
def test_what_cannot_be_signed(
    words: list[str],
    said: str,
    *,
    small: Path,
    tmp_path: Path,
    trust: list[str],
    receipts: Receipts,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_key_pair(tmp_path / "KEY", generate_key(KeyType.ED25519))
    (tmp_path / "policy.yaml").write_text("version: 1\nrules: [{rule: verified}]\n", "utf-8")
    finished = receipts("gate", small, "--policy", "policy.yaml", *trust, *words)
    assert finished.code == 2
    assert said in finished.err
    assert not (tmp_path / "svr.json").exists()


def test_a_key_with_a_passphrase(
    gate: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, receipts: Receipts
) -> None:
    (tmp_path / "pipeline").unlink()
    (tmp_path / "pipeline.pub").unlink()
    monkeypatch.setitem(os.environ, "GATE_PASSPHRASE", "correct horse")
    words = ["--passphrase-env", "GATE_PASSPHRASE"]
    assert receipts("keygen", tmp_path / "pipeline", *words).code == 0
    assert gate().code == 2
    assert not (tmp_path / "svr.json").exists()
    assert gate(*words).code == 0
    assert (tmp_path / "svr.json").is_file()
