"""Checkpoints, cosignatures and proofs of logs as proofbundle has them, both ways."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from safety_receipts.receipts.errors import IntegrityError
from safety_receipts.receipts.keys import KeyType, generate_key
from safety_receipts.receipts.log.folder import LogFolder, LogSigner, init_log
from safety_receipts.receipts.log.formats.checkpoint import LogCheckpoint, SignedCheckpoint
from safety_receipts.receipts.log.formats.cosignature import WitnessSigner, cosignatures
from safety_receipts.receipts.log.formats.note import (
    NoteKey,
    NoteSignature,
    SignatureKind,
    SignedNote,
)
from safety_receipts.receipts.log.formats.policy import load_log_policy
from safety_receipts.receipts.log.formats.proof import LogProof
from safety_receipts.receipts.merkle import (
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    merkle_root,
    verify_consistency,
)

theirs = pytest.importorskip("proofbundle.checkpoint", reason="proofbundle is not installed")
tlogproof = pytest.importorskip("proofbundle.tlogproof")
trees = pytest.importorskip("proofbundle.merkle")

ORIGIN = "example.com/log"
LEAVES = [b"entry %d" % number for number in range(700)]


@pytest.fixture
def log_signer() -> LogSigner:
    return LogSigner.of(ORIGIN, generate_key(), Path("key"))


@pytest.fixture
def log(log_signer: LogSigner, tmp_path: Path) -> LogFolder:
    """A log of ours."""
    init_log(tmp_path / "log", log_signer)
    opened = LogFolder(tmp_path / "log", log_signer.public)
    opened.add(LEAVES, log_signer)
    return opened


def ed25519_witness() -> WitnessSigner:
    return WitnessSigner.of("w.example/1", generate_key(), Path("key"))


def mldsa_witness() -> WitnessSigner:
    pytest.importorskip("cryptography.hazmat.primitives.asymmetric.mldsa")
    return WitnessSigner.of("w.example/2", generate_key(KeyType.ML_DSA_44), Path("key"))


WITNESSES = pytest.mark.parametrize("witness", [ed25519_witness, mldsa_witness])


def with_line(signed: SignedCheckpoint, line: NoteSignature) -> SignedCheckpoint:
    note = SignedNote(signed.note.text, (*signed.note.signatures, line))
    return SignedCheckpoint(note, signed.checkpoint)


def test_they_verify_our_checkpoints(log: LogFolder, log_signer: LogSigner) -> None:
    note = log.signed.note.to_bytes().decode()
    found = theirs.verify_checkpoint(note, log_signer.public.vkey)
    assert (found["ok"], found["origin"], found["tree_size"]) == (True, ORIGIN, 700)
    assert found["root"] == log.signed.checkpoint.root == trees.merkle_tree_hash(LEAVES)
    other = LogSigner.of(ORIGIN, generate_key(), Path("key")).public.vkey
    assert not theirs.verify_checkpoint(note, other)["ok"]
    assert not theirs.verify_checkpoint(note.replace("\n700\n", "\n701\n"), log_signer.public.vkey)[
        "ok"
    ]


def test_we_verify_their_checkpoints() -> None:
    key = Ed25519PrivateKey.generate()
    vkey = theirs.vkey(ORIGIN, key.public_key().public_bytes_raw())
    public = NoteKey.parse(vkey)
    assert public.vkey == vkey
    made = theirs.sign_checkpoint(ORIGIN, 3, merkle_root(LEAVES[:3]), key, ORIGIN)
    signed = SignedCheckpoint.parse(made.encode())
    assert signed.checkpoint == LogCheckpoint(ORIGIN, 3, merkle_root(LEAVES[:3]))
    assert signed.note.to_bytes() == made.encode()
    assert signed.note.signed_by([public]) == (public,)
    changed = SignedCheckpoint.parse(made.replace("\n3\n", "\n4\n").encode())
    with pytest.raises(IntegrityError):
        changed.note.signed_by([public])


@WITNESSES
def test_they_verify_our_cosignatures(
    witness: Callable[[], WitnessSigner], log: LogFolder, log_signer: LogSigner
) -> None:
    signer = witness()
    line = signer.cosign(log.signed.checkpoint, 1_700_000_000)
    note = with_line(log.signed, line).note.to_bytes().decode()
    found = theirs.verify_cosignature(note, signer.public.vkey)
    assert (found["ok"], found["timestamp"]) == (True, 1_700_000_000)
    other = witness().public.vkey
    assert not theirs.verify_cosignature(note, other)["ok"]
    late = NoteSignature(line.name, line.id, (9).to_bytes(8, "big") + line.signature[8:])
    moved = with_line(log.signed, late).note.to_bytes().decode()
    assert not theirs.verify_cosignature(moved, signer.public.vkey)["ok"]
    both = theirs.verify_witnessed_checkpoint(
        note, log_signer.public.vkey, [signer.public.vkey], threshold=1
    )
    assert both["ok"]


@WITNESSES
def test_we_verify_their_cosignatures(witness: Callable[[], WitnessSigner], log: LogFolder) -> None:
    signer = witness()
    is_ed25519 = signer.public.kind is SignatureKind.ED25519_COSIGNATURE
    cosign = theirs.cosign_checkpoint if is_ed25519 else theirs.cosign_checkpoint_mldsa
    name = signer.public.name
    made = cosign(log.signed.note.to_bytes().decode(), signer.key, name, 1_700_000_001)
    signed = SignedCheckpoint.parse(made.encode())
    [seen] = cosignatures(signed, [signer.public])
    assert (seen.key, seen.time) == (signer.public, 1_700_000_001)
    vkey = theirs.cosign_vkey if is_ed25519 else theirs.cosign_vkey_mldsa
    assert vkey(name, signer.public.material) == signer.public.vkey


@pytest.mark.parametrize("index", [0, 255, 256, 511, 512, 699])
def test_they_verify_our_proofs(index: int, log: LogFolder, log_signer: LogSigner) -> None:
    signers = [ed25519_witness(), mldsa_witness()]
    for signer in signers:
        line = signer.cosign(log.signed.checkpoint, 1_700_000_000)
        log.put_cosignatures(with_line(log.signed, line))
    text = log.prove(index).to_bytes().decode()
    vkeys = [signer.public.vkey for signer in signers]
    given: dict[str, Any] = {"threshold": 2, "expected_origin": ORIGIN}
    found = tlogproof.verify_tlog_proof(text, LEAVES[index], log_signer.public.vkey, vkeys, **given)
    assert (found["ok"], found["index"], found["tree_size"]) == (True, index, 700)
    assert tlogproof.parse_tlog_proof(text)["proof"] == trees.inclusion_proof(LEAVES, index)
    for leaf, log_key, witnesses, more in (
        (LEAVES[index - 1], log_signer.public.vkey, vkeys, given),
        (LEAVES[index], LogSigner.of(ORIGIN, generate_key(), Path("k")).public.vkey, vkeys, given),
        (LEAVES[index], log_signer.public.vkey, vkeys[:1], given),
        (LEAVES[index], log_signer.public.vkey, vkeys, {**given, "expected_origin": "another"}),
    ):
        assert not tlogproof.verify_tlog_proof(text, leaf, log_key, witnesses, **more)["ok"]


def test_their_command_verifies_a_proof_of_a_bundle(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], bundle: Path, log_signer: LogSigner
) -> None:
    """The payload is the entry: what is logged of a statement, and not the statement."""
    from proofbundle.cli import main

    from safety_receipts.receipts.log.bundle_proofs import loggable_statements, prove_bundle

    init_log(tmp_path / "log", log_signer)
    opened = LogFolder(tmp_path / "log", log_signer.public)
    statements = list(loggable_statements(bundle))
    opened.add([one.entry.leaf() for one in statements], log_signer)
    for proven in prove_bundle(opened.source, opened.signed, bundle).proven:
        payload = tmp_path / "payload"
        payload.write_bytes(proven.of.entry.leaf())
        words = ["verify-proof", str(proven.file), "--payload-file", str(payload)]
        words += ["--log-vkey", log_signer.public.vkey, "--expected-origin", ORIGIN, "--json"]
        assert main(words) == 0
        assert json.loads(capsys.readouterr().out)["ok"] is True
        payload.write_bytes(proven.of.entry.leaf() + b" ")
        assert main(words) != 0
        capsys.readouterr()


@pytest.mark.parametrize("size", [1, 2, 3, 256, 700])
def test_we_verify_their_proofs(size: int, tmp_path: Path) -> None:
    key, leaves = Ed25519PrivateKey.generate(), LEAVES[:size]
    signer = ed25519_witness()
    made = theirs.sign_checkpoint(ORIGIN, size, trees.merkle_tree_hash(leaves), key, ORIGIN)
    made = theirs.cosign_checkpoint(made, signer.key, signer.public.name, 1_700_000_002)
    vkey = theirs.vkey(ORIGIN, key.public_key().public_bytes_raw())
    policy = tmp_path / "policy"
    policy.write_text(f"log {vkey}\nwitness w {signer.public.vkey}\nquorum w\n", "utf-8")
    rules = load_log_policy(policy)
    for index in {0, size // 2, size - 1}:
        text = tlogproof.format_tlog_proof(
            index, trees.inclusion_proof(leaves, index), made, extra=b"more"
        )
        proof = LogProof.parse(text.encode())
        assert rules.accept(proof.signed).time == 1_700_000_002
        assert proof.holds(leaves[index])
        assert not proof.holds(leaves[index] + b"x")


def test_trees_are_the_same() -> None:
    """Proofs of theirs are ours, and either's are verified by the other."""
    for size in (1, 2, 5, 31, 64, 100):
        leaves = LEAVES[:size]
        hashes = [leaf_hash(leaf) for leaf in leaves]
        root = merkle_root(leaves)
        assert trees.merkle_tree_hash(leaves) == root
        for index in range(size):
            path = inclusion_proof(hashes, index)
            assert trees.inclusion_proof(leaves, index) == path
            assert trees.verify_inclusion(leaves[index], index, size, path, root)
        for old in range(1, size + 1):
            proof = consistency_proof(hashes, old)
            assert trees.consistency_proof(leaves, old) == proof
            assert verify_consistency(old, size, merkle_root(leaves[:old]), root, proof)
            assert trees.verify_consistency(old, size, proof, merkle_root(leaves[:old]), root)
