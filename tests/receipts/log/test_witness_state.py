"""A witness's keys and its state, which belong together."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from witnessing import (
    NAME,
    NOW,
    ORIGIN,
    TWO_KINDS,
    MemoryLog,
    log_signer,
    new_witness,
    witness_signer,
)

from safety_receipts.receipts.errors import (
    FileAccessError,
    KeyFileError,
    MalformedError,
    UsageError,
)
from safety_receipts.receipts.keys import KeyType, generate_key
from safety_receipts.receipts.log.folder import LogSigner
from safety_receipts.receipts.log.formats.cosignature import WitnessSigner
from safety_receipts.receipts.log.formats.note import NoteKey, SignatureKind
from safety_receipts.receipts.log.witnessing.witness import Witness, init_witness


@pytest.fixture
def memory() -> MemoryLog:
    return MemoryLog(log_signer())


def status(witness: Witness, body: bytes) -> int:
    return int(witness.add_checkpoint(body).status)


def test_a_state_is_kept(tmp_path: Path, memory: MemoryLog) -> None:
    signers, logs = (witness_signer(),), {ORIGIN: (memory.signer.public,)}
    assert (
        status(new_witness(tmp_path / "w", signers, memory.signer.public), memory.asks(0, 7)) == 200
    )
    again = Witness(tmp_path / "w", signers, logs, lambda: NOW)
    assert again.add_checkpoint(memory.asks(0, 9)).body == b"7\n"
    assert status(again, MemoryLog(memory.signer, fork=2).asks(7, 7)) == 422
    assert status(again, memory.asks(7, 9)) == 200
    # Two that run at once on one state are one witness.
    both = [Witness(tmp_path / "w", signers, logs, lambda: NOW) for _ in range(2)]
    assert status(both[0], memory.asks(9, 11)) == 200
    assert both[1].add_checkpoint(memory.asks(9, 12)).body == b"11\n"


def test_a_state_belongs_to_its_keys(tmp_path: Path, memory: MemoryLog) -> None:
    """One state under two names would count as two witnesses, and be one view."""
    one, other, quantum = witness_signer(), witness_signer(), witness_signer(KeyType.ML_DSA_44)
    renamed = WitnessSigner(NoteKey("example.com/v", one.public.kind, one.public.material), one.key)
    init_witness(tmp_path / "w", [one.public, quantum.public])
    logs = {ORIGIN: (memory.signer.public,)}
    for signers in ((other, quantum), (renamed, quantum), (one,), (), (one, quantum, other)):
        with pytest.raises(UsageError, match=r"belongs to other keys: example\.com/witness\+"):
            Witness(tmp_path / "w", tuple(signers), logs, lambda: NOW)
    Witness(tmp_path / "w", (quantum, one), logs, lambda: NOW)


def test_what_is_no_state(tmp_path: Path) -> None:
    signers = (witness_signer(),)
    with pytest.raises(FileAccessError, match="cannot be opened"):
        Witness(tmp_path / "none", signers, {}, lambda: NOW)
    assert not (tmp_path / "none").exists()
    (tmp_path / "text").write_text("no database at all, and long enough to be read as one")
    with pytest.raises(FileAccessError, match="cannot be used"):
        Witness(tmp_path / "text", signers, {}, lambda: NOW)
    (tmp_path / "empty").touch()
    with pytest.raises(MalformedError, match="no state of a witness"):
        Witness(tmp_path / "empty", signers, {}, lambda: NOW)


def test_a_state_is_made_once(tmp_path: Path) -> None:
    key, state = witness_signer().public, tmp_path / "w"
    init_witness(state, [key])
    before = state.read_bytes()
    with pytest.raises(FileAccessError, match="already exists"):
        init_witness(state, [key])
    assert state.read_bytes() == before
    with pytest.raises(FileAccessError, match="cannot create"):
        init_witness(tmp_path / "no" / "w", [key])
    elsewhere = witness_signer(KeyType.ML_DSA_44, "example.com/v").public
    for keys in ([], [key, key], [key, witness_signer().public], [key, elsewhere]):
        with pytest.raises(UsageError, match="one name, and of each kind one key"):
            init_witness(tmp_path / "v", keys)
    assert [path.name for path in tmp_path.iterdir()] == ["w"]


def test_a_full_disk_cosigns_nothing(tmp_path: Path, memory: MemoryLog) -> None:
    """What cannot be stored is not answered, and what was stored before stays."""
    state, signers = tmp_path / "w", (witness_signer(),)
    witness = new_witness(state, signers, memory.signer.public)
    assert status(witness, memory.asks(0, 3)) == 200
    database = sqlite3.connect(state, isolation_level=None)
    database.execute("BEGIN IMMEDIATE")
    database.execute(
        "CREATE TRIGGER full BEFORE UPDATE ON log BEGIN SELECT RAISE(ABORT, 'full'); END"
    )
    database.execute("COMMIT")
    with pytest.raises(FileAccessError, match="cannot be used: full"):
        witness.add_checkpoint(memory.asks(3, 4))
    database.execute("DROP TRIGGER full")
    database.close()
    assert witness.add_checkpoint(memory.asks(0, 4)).body == b"3\n"
    assert status(witness, memory.asks(3, 4)) == 200


def test_a_key_is_for_the_witness_alone(tmp_path: Path) -> None:
    key = generate_key()
    log = LogSigner.of(ORIGIN, key, Path("key"))
    mine = WitnessSigner.of(NAME, key, Path("key"))
    with pytest.raises(UsageError, match="is a key of the log"):
        new_witness(tmp_path / "w", (mine,), log.public)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "é" * 128])
def test_names_of_witnesses(name: str) -> None:
    with pytest.raises(UsageError, match="the name of a witness"):
        WitnessSigner.of(name, generate_key(), Path("key"))
    assert witness_signer(name="é" * 127).public.name


@pytest.mark.parametrize("kind", [KeyType.P256, KeyType.ML_DSA_65])
def test_kinds_of_keys(kind: KeyType) -> None:
    with pytest.raises(KeyFileError, match="Ed25519 or an ML-DSA-44"):
        WitnessSigner.of(NAME, generate_key(kind), Path("key"))
    assert {witness_signer(one).public.kind for one in TWO_KINDS} == {
        SignatureKind.ED25519_COSIGNATURE,
        SignatureKind.MLDSA44_COSIGNATURE,
    }


def test_an_origin_that_ml_dsa_cannot_sign(tmp_path: Path) -> None:
    log = log_signer("a" * 256)
    with pytest.raises(UsageError, match="255"):
        new_witness(tmp_path / "w", (witness_signer(KeyType.ML_DSA_44),), log.public)
    witness = new_witness(tmp_path / "v", (witness_signer(),), log.public)
    assert status(witness, MemoryLog(log).asks(0, 1)) == 200


def test_no_text_holds_a_private_key() -> None:
    signer = witness_signer()
    assert "key=" not in repr(signer)
