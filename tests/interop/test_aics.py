"""Logs and witnesses of aics-tlog and aics-witness, with ours: each reads what the other wrote.

They implement the same specifications (C2SP), with no line of ours, and know Ed25519 alone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from peers import peer
from witnessing import (
    NAME,
    ORIGIN,
    TWO_KINDS,
    MemoryLog,
    Serving,
    keys_of,
    log_signer,
    new_witness,
    post,
    served,
    witness_signer,
)

from safety_receipts.receipts.errors import IntegrityError
from safety_receipts.receipts.keys import Signer, generate_key, write_key_pair
from safety_receipts.receipts.log.folder import LogFolder, LogSigner, init_log
from safety_receipts.receipts.log.formats.checkpoint import SignedCheckpoint
from safety_receipts.receipts.log.formats.cosignature import WitnessSigner, cosignatures
from safety_receipts.receipts.log.formats.note import NoteKey, SignedNote
from safety_receipts.receipts.log.formats.policy import load_log_policy
from safety_receipts.receipts.log.formats.proof import LogProof
from safety_receipts.receipts.log.formats.tiles import TileTree
from safety_receipts.receipts.log.sources import FolderSource
from safety_receipts.receipts.log.survey import check_growth, check_log, newest_checkpoint
from safety_receipts.receipts.log.witnessing.cosigning import ask_witness

tlog = peer("aics_tlog")
theirs = peer("aics_witness")

Receipts = Callable[..., Any]
THEIR_NAME = "witness.example.org/theirs"


@pytest.fixture
def signer() -> LogSigner:
    return log_signer()


@pytest.fixture
def log(tmp_path: Path, signer: LogSigner) -> LogFolder:
    """A log of ours, of more than one tile."""
    init_log(tmp_path / "log", signer)
    log = LogFolder(tmp_path / "log", signer.public)
    log.add([b"entry %d" % number for number in range(300)], signer)
    return log


@contextmanager
def their_witness(folder: Path, key: Ed25519PrivateKey, log: NoteKey) -> Iterator[str]:
    """Serve aics-witness for one log, and yield its address."""
    known = theirs.LogConfig.from_strings(log.name, [log.vkey])
    with theirs.WitnessStore(folder / "theirs.db", create=True) as store:
        witness = theirs.Witness(THEIR_NAME, key, store, [known])
        with theirs.make_server(witness) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            try:
                yield str(server.url)
            finally:
                server.shutdown()
                thread.join()


# their witness, our log


def test_their_witness_cosigns_our_log(
    log: LogFolder, signer: LogSigner, tmp_path: Path, receipts: Receipts
) -> None:
    key = Ed25519PrivateKey.generate()
    vkey = tlog.format_vkey(tlog.cosignature_vkey(THEIR_NAME, key.public_key()))
    with their_witness(tmp_path, key, signer.public) as url:
        rules = tmp_path / "policy"
        rules.write_text(f"log {signer.public.vkey}\nwitness w {vkey} {url}\nquorum w\n")
        policy = load_log_policy(rules)
        with pytest.raises(IntegrityError, match="too few"):
            policy.accept(log.signed)
        for _ in range(2):  # the second time it goes on from the size that it knows
            finished = receipts("log", "cosign", log.folder, "--policy", rules)
            assert (finished.code, finished.err) == (0, "")
            assert finished.out == "w: cosigned\nenough witnesses have seen it\n"
            stored = newest_checkpoint(FolderSource(log.folder))
            accepted = policy.accept(stored)
            assert [one.key.vkey for one in accepted.seen] == [vkey]
            assert accepted.time is not None
            assert receipts("log", "verify", log.folder, "--policy", rules).code == 0
            LogFolder(log.folder, signer.public).add([b"one more"], signer)
        # A fork of it they refuse, and it stays as it is.
        init_log(tmp_path / "fork", signer)
        fork = LogFolder(tmp_path / "fork", signer.public)
        fork.add([b"other %d" % number for number in range(400)], signer)
        finished = receipts("log", "cosign", fork.folder, "--policy", rules)
        assert finished.code == 5
        assert "w: it answered with 422" in finished.out
        assert len(newest_checkpoint(FolderSource(fork.folder)).note.signatures) == 1


@pytest.mark.parametrize(
    ("status", "old", "size"), [(200, 0, 3), (409, 1, 3), (400, 4, 3), (422, 0, 0), (404, 0, 3)]
)
def test_both_witnesses_answer_alike(
    status: int, old: int, size: int, signer: LogSigner, tmp_path: Path
) -> None:
    memory = MemoryLog(signer)
    body = memory.asks(old, size)
    if status == 422:  # a proof where there is nothing to prove
        body = body.replace(b"old 0\n", b"old 0\n" + b"A" * 43 + b"=\n")
    if status == 404:
        body = MemoryLog(log_signer("example.com/other")).asks(old, size)
    ours = new_witness(tmp_path / "ours", (witness_signer(),), signer.public)
    with (
        served(ours) as url,
        their_witness(tmp_path, Ed25519PrivateKey.generate(), signer.public) as their_url,
    ):
        mine, other = post(url, body), post(their_url, body)
    assert (mine.status, other.status) == (status, status)
    if status == 409:
        assert (mine.kind, mine.body) == (other.kind, other.body) == ("text/x.tlog.size", b"0\n")


# our witness, their log


class TheirLog:
    """A log that aics-tlog writes."""

    def __init__(self, folder: Path) -> None:
        self.key = Ed25519PrivateKey.generate()
        self.store = tlog.DirectoryTileStore(folder)
        self.writer = tlog.IncrementalTileWriter(self.store)
        self.vkey = tlog.vkey_from_ed25519(ORIGIN, self.key.public_key())
        self.public = NoteKey.parse(tlog.format_vkey(self.vkey))

    def grow(self, number: int) -> bytes:
        size = self.writer.size
        self.writer.append([b"theirs %d" % index for index in range(size, size + number)])
        checkpoint = tlog.Checkpoint(ORIGIN, self.writer.size, self.writer.root())
        note = tlog.sign_checkpoint(checkpoint, self.key, ORIGIN).to_bytes()
        self.store.write_checkpoint(note)
        return bytes(note)

    def proof(self, old: int, new: int) -> list[bytes]:
        return list(tlog.consistency_proof_from_tiles(self.store, old, new, self.writer.size))


@pytest.fixture
def their_log(tmp_path: Path) -> TheirLog:
    return TheirLog(tmp_path / "their-log")


def test_our_witness_cosigns_their_log_by_their_feeder(
    their_log: TheirLog, tmp_path: Path, receipts: Receipts
) -> None:
    """Served as it is in earnest: a process of its own, with the clock of the machine."""
    write_key_pair(tmp_path / "wkey", generate_key())
    words: list[str | Path] = [tmp_path / "state", "--name", NAME, "--key", tmp_path / "wkey"]
    assert receipts("log", "witness", "init", *words).code == 0
    (tmp_path / "logs").write_text(f"log {their_log.public.vkey}\nquorum none\n")
    with Serving(*words, "--policy", tmp_path / "logs") as serving:
        [vkey] = serving.document["vkeys"]
        witness_key = tlog.parse_vkey(vkey)
        with theirs.WitnessClient(serving.url, vkey, max_attempts=1) as client:
            for number in (3, 0, 260, 40):
                note = their_log.grow(number)
                lines = client.submit(note, their_log.proof)
                whole = tlog.parse_note(theirs.merge_cosignatures(note, lines))
                policy = tlog.WitnessPolicy(1, (witness_key,), 600)
                result = tlog.verify_checkpoint(whole, their_log.vkey, policy=policy)
                assert (result.ok, result.witnesses, result.error) == (True, [NAME], None)
            # Whoever begins anew learns the size.
        with theirs.WitnessClient(serving.url, vkey, max_attempts=1) as fresh:
            assert fresh.submit(their_log.grow(1), their_log.proof)
            forked = TheirLog(tmp_path / "forked")
            forked.key = their_log.key
            forked.grow(0)
            forked.writer.append([b"another"] * 500)
            with pytest.raises(theirs.WitnessRejected) as refused:
                fresh.submit(forked.grow(1), forked.proof)
            assert refused.value.status == 422
        assert serving.end() == (0, "")


@pytest.mark.parametrize("kind", TWO_KINDS)
def test_our_witness_cosigns_their_log_by_our_request(
    kind: Any, their_log: TheirLog, tmp_path: Path
) -> None:
    signer = witness_signer(kind)
    with served(new_witness(tmp_path / "state", (signer,), their_log.public)) as url:
        for number in (5, 300):
            signed = SignedCheckpoint.parse(their_log.grow(number))
            tree = TileTree(FolderSource(tmp_path / "their-log"), signed.checkpoint.size)
            asked = ask_witness(url, (signer.public,), signed, tree)
            assert asked.problem is None
            lines = (*signed.note.signatures, *asked.lines)
            whole = SignedNote(signed.note.text, lines)
            assert cosignatures(SignedCheckpoint(whole, signed.checkpoint), keys_of([signer]))
            # A line of ML-DSA-44 is of an unknown key to them, and leaves the note good.
            note = tlog.parse_note(whole.to_bytes())
            assert tlog.verify_checkpoint(note, their_log.vkey).ok


# what each writes, the other reads


def test_they_verify_our_log(log: LogFolder, signer: LogSigner) -> None:
    source = tlog.FileSystemTileReader(log.folder)
    note = tlog.parse_note((log.folder / "checkpoint").read_bytes())
    key = tlog.parse_vkey(signer.public.vkey)
    result = tlog.verify_checkpoint(note, key, expected_origin=ORIGIN)
    assert (result.ok, result.error) == (True, None)
    checkpoint = log.signed.checkpoint
    assert tlog.parse_checkpoint(note.text).root == checkpoint.root
    report = tlog.audit_tiles(source, checkpoint.size, checkpoint.root)
    assert report is not None
    assert tlog.read_entry(source, 299, 300) == b"entry 299"
    changed = tlog.Note(note.text.replace("300", "301"), note.signatures)
    assert not tlog.verify_checkpoint(changed, key).ok


def test_we_verify_their_log(their_log: TheirLog, tmp_path: Path) -> None:
    source = FolderSource(tmp_path / "their-log")
    old = SignedCheckpoint.parse(their_log.grow(70))
    their_log.grow(256)
    signed = newest_checkpoint(source)
    assert signed.checkpoint.size == 326
    for one in (old, signed):
        assert one.note.signed_by([their_log.public])
    check_log(source, signed)
    check_growth(source, old, signed)
    for index in (0, 69, 255, 256, 325):
        path = tlog.inclusion_proof_from_tiles(their_log.store, index, 326)
        assert LogProof(index, tuple(path), signed).holds(b"theirs %d" % index)
        assert list(path) == TileTree(source, 326).inclusion(index)


def test_they_verify_our_proofs(log: LogFolder, signer: LogSigner) -> None:
    """Of our file they read the hashes and the checkpoint; its head they have no reader of."""
    for index in (0, 17, 255, 256, 299):
        data = log.prove(index).to_bytes()
        head, _, note = data.partition(b"\n\n")
        result = tlog.verify_checkpoint(tlog.parse_note(note), tlog.parse_vkey(signer.public.vkey))
        assert result.ok
        checkpoint = tlog.parse_checkpoint(tlog.parse_note(note).text)
        path = [tlog.note.b64_decode(line) for line in head.decode().split("\n")[2:]]
        leaf = b"entry %d" % index
        size, root = checkpoint.size, checkpoint.root
        assert tlog.verify_leaf_inclusion(leaf, index, size, path, root)
        assert not tlog.verify_leaf_inclusion(leaf + b"0", index, size, path, root)


def test_cosignatures_are_the_same_bytes(log: LogFolder) -> None:
    """Ed25519 has one signature a message: if ours is theirs, so is all that leads to it."""
    key, checkpoint = Ed25519PrivateKey.generate(), log.signed.checkpoint
    ours = WitnessSigner.of(NAME, Signer(key), Path("key"))
    vkey = tlog.cosignature_vkey(NAME, key.public_key())
    assert tlog.format_vkey(vkey) == ours.public.vkey
    line = ours.cosign(checkpoint, 1_790_000_000)
    blob, theirs_line = tlog.sign_cosignature(
        key, NAME, 1_790_000_000, ORIGIN, checkpoint.size, checkpoint.root
    )
    assert (line.signature, line.id, line.name) == (blob, theirs_line.key_id, theirs_line.name)
    said = (key.public_key(), ORIGIN, checkpoint.size, checkpoint.root)
    assert tlog.verify_cosignature(line.signature, NAME, *said)
    wrong = bytes([*line.signature[:-1], line.signature[-1] ^ 1])
    assert not tlog.verify_cosignature(wrong, NAME, *said)


def test_a_checkpoint_that_was_cosigned_twice_is_one_that_they_read(
    log: LogFolder, signer: LogSigner
) -> None:
    """They refuse two lines of one key, so ours holds one."""
    mine = witness_signer()
    for time in (1_790_000_000, 1_790_000_100):
        line = mine.cosign(log.signed.checkpoint, time)
        note = SignedNote(log.signed.note.text, (*log.signed.note.signatures, line))
        assert log.put_cosignatures(SignedCheckpoint(note, log.signed.checkpoint))
    note = tlog.parse_note((log.folder / "checkpoint").read_bytes())
    key, witness = map(tlog.parse_vkey, (signer.public.vkey, mine.public.vkey))
    result = tlog.verify_checkpoint(note, key, [witness], 1)
    assert (result.ok, result.timestamps) == (True, {NAME: 1_790_000_000})
