"""``receipts log prove``: proofs of files and of whole bundles, and which of them stay."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from kept_logs import KeptLog
from printed import held

from safety_receipts.receipts.bundle import AUDITS, PLAN, PROOFS, RECEIPT, Bundle
from safety_receipts.receipts.keys import load_signer
from safety_receipts.receipts.log.bundle_proofs import proof_name, prove_bundle, read_loggable
from safety_receipts.receipts.log.folder import LogFolder, LogSigner
from safety_receipts.receipts.log.formats.cosignature import cosignature_line, cosigned_message
from safety_receipts.receipts.log.formats.entry import EntryKind, entry_of
from safety_receipts.receipts.log.formats.note import NoteKey, SignatureKind, SignedNote
from safety_receipts.receipts.log.formats.policy import load_log_policy
from safety_receipts.receipts.log.formats.proof import LogProof
from safety_receipts.receipts.log.sources import FolderSource

Receipts = Callable[..., Any]


class Cosigner:
    """A witness as far as its lines go."""

    def __init__(self, name: str) -> None:
        self._key = Ed25519PrivateKey.generate()
        material = self._key.public_key().public_bytes_raw()
        self.public = NoteKey(name, SignatureKind.ED25519_COSIGNATURE, material)

    def cosign(self, folder: Path, time: int) -> None:
        """Cosign the newest checkpoint of a log, and put the line there."""
        signed = LogFolder(folder).signed
        message = cosigned_message(self.public, signed.checkpoint, time)
        line = cosignature_line(self.public, time, self._key.sign(message))
        note = SignedNote(signed.note.text, (*signed.note.signatures, line))
        (folder / "checkpoint").write_bytes(note.to_bytes())


@pytest.fixture
def logged(kept_log: KeptLog, audited: Path, receipts: Receipts) -> Path:
    """A bundle whose statements are in the log."""
    assert receipts("log", "add", kept_log.folder, audited, "--key", kept_log.key).code == 0
    return audited


def add_others(kept_log: KeptLog, number: int) -> None:
    signer = LogSigner.of("example.com/log", load_signer(kept_log.key), kept_log.key)
    opened = LogFolder(kept_log.folder, signer.public)
    opened.add([b"%d" % (opened.size + n) for n in range(number)], signer)


def leaf_of(bundle: Path, name: str) -> bytes:
    opened = Bundle(bundle)
    envelope = opened.plan_envelope if name == PLAN else opened.receipt_envelope
    return entry_of(envelope, bundle / name).leaf()


def read_proof(path: Path) -> LogProof:
    return LogProof.parse(path.read_bytes(), file=path)


def test_proofs_of_a_bundle_have_their_names_and_hold(
    kept_log: KeptLog, logged: Path, receipts: Receipts
) -> None:
    add_others(kept_log, 700)
    said = receipts("log", "prove", kept_log.folder, logged, "--json")
    document = held("cli-log-prove", said.out)
    assert (said.code, document["size"], document["missing"]) == (0, 705, [])
    assert [part["type"] for part in document["proofs"]] == [
        *("plan", "receipt", "audit-start", "audit", "audit")
    ]
    assert not any(part["kept"] for part in document["proofs"])
    rules = load_log_policy(kept_log.policy)
    there = set()
    for part in document["proofs"]:
        path = Path(part["proof"])
        assert path.name == proof_name(EntryKind(part["type"]), part["digest"])
        assert path.parent == logged / PROOFS
        proof = read_proof(path)
        rules.accept(proof.signed)
        leaf = entry_of_file(Path(part["file"]))
        assert proof.holds(leaf)
        assert not proof.holds(leaf[:-1])
        there.add(path.name)
    assert there == {path.name for path in (logged / PROOFS).iterdir()}
    assert {"plan.tlog-proof", "receipt.tlog-proof"} < there
    digests = {path.name.partition(".")[0] for path in (logged / AUDITS).iterdir()}
    named = {name.removesuffix(".tlog-proof").rpartition("-")[2] for name in there}
    assert named == {"plan", "receipt", *digests}


def entry_of_file(file: Path) -> bytes:
    return read_loggable(file).entry.leaf()


def test_verification_finds_them(kept_log: KeptLog, logged: Path, receipts: Receipts) -> None:
    assert receipts("log", "prove", kept_log.folder, logged).code == 0
    words = ["--level", "authentic", "--log-policy", kept_log.policy, "--json"]
    golden = Path(__file__).parents[2] / "golden" / "0.1"
    said = receipts("verify", logged, "--trust", golden / "ed25519.pub", *words)
    checks = {check["name"]: check["status"] for check in json.loads(said.out)["checks"]}
    assert checks["receipt-logged"] == "passed"
    # No witness of the policy says when.
    assert checks["plan-logged"] == "not_checked"
    (logged / PROOFS / "receipt.tlog-proof").write_bytes(
        (logged / PROOFS / "plan.tlog-proof").read_bytes()
    )
    said = receipts("verify", logged, "--trust", golden / "ed25519.pub", *words)
    checks = {check["name"]: check["status"] for check in json.loads(said.out)["checks"]}
    assert checks["receipt-logged"] == "failed"


def test_a_proof_of_one_file(
    kept_log: KeptLog, logged: Path, receipts: Receipts, tmp_path: Path
) -> None:
    out = tmp_path / "plan.tlog-proof"
    said = receipts("log", "prove", kept_log.folder, logged / PLAN, "--out", out)
    assert (said.code, said.out) == (0, f"{out}: entry 0 of 5\n")
    assert read_proof(out).holds(leaf_of(logged, PLAN))
    assert not (logged / PROOFS).exists()


def test_what_is_asked_wrongly(
    kept_log: KeptLog, logged: Path, receipts: Receipts, tmp_path: Path, golden: Path
) -> None:
    other = golden / "good" / "p256" / PLAN
    (tmp_path / "text").write_text("no statement")
    out = ["--out", tmp_path / "x.tlog-proof"]
    log = kept_log.folder
    cases: list[tuple[list[Any], str]] = [
        ([log, logged / PLAN], "--out FILE"),
        ([log, logged, *out], "--out is for the proof of one file"),
        ([log, other, *out], f"receipts log add {log}"),
        ([log, tmp_path / "text", *out], "text"),
        ([log, tmp_path / "none", *out], "No such file"),
        ([log, "a" * 5000, *out], "File name too long"),
        ([log, tmp_path / "log-key", *out], "log-key"),
        ([log, tmp_path, *out[:0]], "neither plan nor receipt"),
        ([log, logged / PLAN, "--out", tmp_path / "no" / "folder"], "No such file or directory"),
        ([log, logged / PLAN, "--out", tmp_path], "is a folder"),
        ([tmp_path / "none", logged], "no such folder"),
        ([logged, logged], "is no log"),
        (["a" * 5000, logged], "File name too long"),
    ]
    for words, why in cases:
        said = receipts("log", "prove", *words)
        assert (said.code, said.out, said.err.count("\n")) == (2, "", 1), words
        assert why in said.err
    assert not (tmp_path / "x.tlog-proof").exists()
    assert not (logged / PROOFS).exists()


def test_a_statement_that_is_not_in_the_log(
    kept_log: KeptLog, bundle: Path, receipts: Receipts
) -> None:
    """The others are proven, and the exit code says that not all are."""
    receipts("log", "add", kept_log.folder, bundle / PLAN, "--key", kept_log.key)
    said = receipts("log", "prove", kept_log.folder, bundle, "--json")
    document = held("cli-log-prove", said.out)
    assert said.code == 5
    assert document["missing"] == [str(bundle / RECEIPT)]
    assert [part["type"] for part in document["proofs"]] == ["plan"]
    assert [path.name for path in (bundle / PROOFS).iterdir()] == ["plan.tlog-proof"]
    shown = receipts("log", "prove", kept_log.folder, bundle)
    assert shown.out.splitlines()[-1] == f"{bundle / RECEIPT}: not in this log"


def test_an_early_proof_stays(kept_log: KeptLog, bundle: Path, receipts: Receipts) -> None:
    """A later one could only say that witnesses saw the plan later: after the run, it may be."""
    witness, second = Cosigner("w.example/1"), Cosigner("w.example/2")
    receipts("log", "add", kept_log.folder, bundle / PLAN, "--key", kept_log.key)
    prove = ["log", "prove", kept_log.folder, bundle]
    receipts(*prove)
    plan, receipt = (bundle / PROOFS / f"{name}.tlog-proof" for name in ("plan", "receipt"))
    bare = plan.read_bytes()
    assert len(read_proof(plan).signed.note.signatures) == 1
    receipts(*prove)
    assert plan.read_bytes() == bare
    # The same checkpoint, cosigned: its further line is taken.
    witness.cosign(kept_log.folder, 100)
    receipts(*prove)
    assert len(read_proof(plan).signed.note.signatures) == 2
    early = plan.read_bytes()
    # Again, by another witness and by the same one later: a key has one line, the first.
    second.cosign(kept_log.folder, 150)
    witness.cosign(kept_log.folder, 160)
    receipts(*prove)
    lines = read_proof(plan).signed.note.signatures
    assert [line.name for line in lines] == ["example.com/log", "w.example/1", "w.example/2"]
    assert plan.read_bytes().startswith(early)
    early = plan.read_bytes()
    # After the run the log has grown, and is cosigned again.
    add_others(kept_log, 300)
    receipts("log", "add", kept_log.folder, bundle, "--key", kept_log.key)
    witness.cosign(kept_log.folder, 900)
    document = held("cli-log-prove", receipts(*prove, "--json").out)
    assert [part["kept"] for part in document["proofs"]] == [True, False]
    assert [part["size"] for part in document["proofs"]] == [1, 302]
    assert [part["cosignatures"] for part in document["proofs"]] == [2, 1]
    assert plan.read_bytes() == early
    assert read_proof(receipt).signed.checkpoint.size == 302
    # Unless it is wanted.
    receipts(*prove, "--replace")
    assert read_proof(plan).signed.checkpoint.size == 302


def test_a_bare_proof_gives_way_to_a_cosigned_one(
    kept_log: KeptLog, logged: Path, receipts: Receipts
) -> None:
    prove = ["log", "prove", kept_log.folder, logged]
    receipts(*prove)
    add_others(kept_log, 3)
    receipts(*prove)
    assert read_proof(logged / PROOFS / "plan.tlog-proof").signed.checkpoint.size == 5
    Cosigner("w.example/1").cosign(kept_log.folder, 100)
    receipts(*prove)
    assert read_proof(logged / PROOFS / "plan.tlog-proof").signed.checkpoint.size == 8


@pytest.mark.parametrize("bad", [b"", b"no proof", None])
def test_what_is_no_proof_gives_way(
    bad: bytes | None, kept_log: KeptLog, logged: Path, receipts: Receipts
) -> None:
    prove = ["log", "prove", kept_log.folder, logged]
    receipts(*prove)
    plan = logged / PROOFS / "plan.tlog-proof"
    good = plan.read_bytes()
    plan.write_bytes((logged / PROOFS / "receipt.tlog-proof").read_bytes() if bad is None else bad)
    assert receipts(*prove).code == 0
    assert plan.read_bytes() == good


def test_a_proof_of_another_log_stays(
    kept_log: KeptLog, logged: Path, receipts: Receipts, tmp_path: Path
) -> None:
    receipts("log", "prove", kept_log.folder, logged)
    before = {path: path.read_bytes() for path in (logged / PROOFS).iterdir()}
    words = ["--key", kept_log.key]
    receipts("log", "init", tmp_path / "other", "--origin", "example.com/other", *words)
    receipts("log", "add", tmp_path / "other", logged, *words)
    said = receipts("log", "prove", tmp_path / "other", logged)
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert "is a proof of another log, example.com/log" in said.err
    assert {path: path.read_bytes() for path in (logged / PROOFS).iterdir()} == before
    assert receipts("log", "prove", tmp_path / "other", logged, "--replace").code == 0
    assert read_proof(logged / PROOFS / "plan.tlog-proof").signed.checkpoint.origin == (
        "example.com/other"
    )


def test_a_log_that_forgot_what_it_had_is_noticed(
    kept_log: KeptLog, logged: Path, receipts: Receipts
) -> None:
    """As from a backup: a proof that lies in the bundle says more than the log now has."""
    add_others(kept_log, 10)
    receipts("log", "prove", kept_log.folder, logged)
    shutil.rmtree(kept_log.folder)
    words = ["--key", kept_log.key]
    receipts("log", "init", kept_log.folder, "--origin", "example.com/log", *words)
    receipts("log", "add", kept_log.folder, logged, *words)
    said = receipts("log", "prove", kept_log.folder, logged)
    assert (said.code, said.err.count("\n")) == (3, 1)
    assert "was cut" in said.err


@pytest.mark.parametrize("name", ["tile/0/000.p/5", "checkpoint"])
def test_no_proof_is_made_of_a_damaged_log(
    name: str, kept_log: KeptLog, logged: Path, receipts: Receipts
) -> None:
    path = kept_log.folder / name
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    said = receipts("log", "prove", kept_log.folder, logged)
    assert said.code in (2, 3)
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert not (logged / PROOFS).exists()


def test_the_function_reads_what_it_needs_alone(kept_log: KeptLog, logged: Path) -> None:
    add_others(kept_log, 70_000)
    opened = LogFolder(kept_log.folder)
    read: list[str] = []

    class Counted(FolderSource):
        def read(self, name: str, limit: int) -> bytes | None:
            read.append(name)
            return super().read(name, limit)

    found = prove_bundle(Counted(kept_log.folder), opened.signed, logged)
    assert (len(found.proven), found.missing) == (5, ())
    assert [one.proof.index for one in found.proven] == list(range(5))
    assert all(one.proof.holds(one.of.entry.leaf()) for one in found.proven)
    # The statements are in the first tile; beside it, what the other side of the root is made of.
    assert set(read) == {*("tile/0/000", "tile/1/000", "tile/0/273.p/117", "tile/1/001.p/17")}
