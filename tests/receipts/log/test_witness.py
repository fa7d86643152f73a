"""What a witness decides: every status of the specification, and its clock."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from witnessing import (
    NOW,
    ORIGIN,
    MemoryLog,
    keys_of,
    log_signer,
    new_witness,
    seen_by,
    witness_signer,
)

from safety_receipts.receipts.keys import KeyType
from safety_receipts.receipts.log.formats.checkpoint import LogCheckpoint, SignedCheckpoint
from safety_receipts.receipts.log.formats.cosignature import (
    WitnessSigner,
    cosigned_message,
    log_signed,
)
from safety_receipts.receipts.log.formats.note import NoteSignature, SignedNote
from safety_receipts.receipts.log.witnessing.witness import AddCheckpoint, Witness, init_witness
from safety_receipts.receipts.merkle import EMPTY_ROOT


def status(witness: Witness, body: bytes) -> int:
    return int(witness.add_checkpoint(body).status)


def test_both_kinds_of_keys_cosign(
    witness: Witness, memory: MemoryLog, signers: tuple[WitnessSigner, ...]
) -> None:
    for old, size in ((0, 3), (3, 3), (3, 20), (20, 21)):
        reply = witness.add_checkpoint(memory.asks(old, size))
        assert reply.status == 200
        assert seen_by(reply.body, memory.signed(size), keys_of(signers)) == [NOW, NOW]


def test_a_log_may_begin_empty(witness: Witness, memory: MemoryLog) -> None:
    assert status(witness, memory.asks(0, 0)) == 200
    assert status(witness, memory.asks(0, 0)) == 200
    other = memory.signer.sign(LogCheckpoint(ORIGIN, 0, bytes(32)))
    assert status(witness, AddCheckpoint(0, (), other).to_bytes()) == 422
    assert status(witness, memory.asks(0, 5)) == 200


def test_404_an_unknown_log(witness: Witness) -> None:
    other = MemoryLog(log_signer("example.com/other"))
    assert status(witness, other.asks(0, 3)) == 404


def test_403_no_signature_of_the_log(witness: Witness, memory: MemoryLog) -> None:
    stranger = MemoryLog(log_signer())
    assert status(witness, stranger.asks(0, 3)) == 403
    signed, wrong = memory.signed(3), memory.signed(4).note.signatures
    forged = SignedCheckpoint(SignedNote(signed.note.text, wrong), signed.checkpoint)
    assert status(witness, AddCheckpoint(0, (), forged).to_bytes()) == 403
    # A known key's line that does not verify makes the note false, whatever stands beside it.
    both = SignedNote(signed.note.text, (*signed.note.signatures, *wrong))
    half = SignedCheckpoint(both, signed.checkpoint)
    assert status(witness, AddCheckpoint(0, (), half).to_bytes()) == 403
    # One of an unknown key is ignored, and not passed on.
    unknown = NoteSignature(ORIGIN, b"1234", b"whatever")
    beside = SignedNote(signed.note.text, (unknown, *signed.note.signatures))
    body = AddCheckpoint(0, (), SignedCheckpoint(beside, signed.checkpoint)).to_bytes()
    assert status(witness, body) == 200
    newest = witness.newest(sha256(ORIGIN.encode()).hexdigest())
    assert newest is not None
    assert b"whatever" not in newest
    assert unknown not in SignedNote.parse(newest).signatures


def test_400_an_old_size_above_the_new_one(witness: Witness, memory: MemoryLog) -> None:
    assert status(witness, memory.asks(4, 3)) == 400


HASH = b64encode(bytes(32)).decode()


@pytest.mark.parametrize(
    "head",
    [
        "",
        "old\n",
        "old x\n",
        "old 00\n",
        "old -1\n",
        "old 1 \n",
        " old 1\n",
        "OLD 1\n",
        f"old {2**63}\n",
        "old ²\n",
        f"{HASH}\n",
        f"old 1\n{HASH[:-1]}\n",
        f"old 1\n{HASH} \n",
        f"old 1\n{HASH}\r\n",
        f"old 1\n{b64encode(bytes(33)).decode()}\n",
        f"old 1\nold 1\n{HASH}\n",
        "old 1\n" + f"{HASH}\n" * 64,
    ],
)
def test_400_what_is_no_request(head: str, witness: Witness, memory: MemoryLog) -> None:
    note = memory.signed(3).note.to_bytes()
    assert status(witness, head.encode() + b"\n" + note) == 400


def test_63_lines_of_proof_are_read(witness: Witness, memory: MemoryLog) -> None:
    note = memory.signed(3).note.to_bytes()
    assert status(witness, memory.asks(0, 1)) == 200
    # They are no proof, and that is what is said of them.
    assert status(witness, b"old 1\n" + f"{HASH}\n".encode() * 63 + b"\n" + note) == 422


@pytest.mark.parametrize("end", [0, 1, 10, -1])
def test_400_a_request_that_is_cut(end: int, witness: Witness, memory: MemoryLog) -> None:
    assert status(witness, memory.asks(0, 3)[:end]) == 400


def test_409_says_the_newest_size(witness: Witness, memory: MemoryLog) -> None:
    reply = witness.add_checkpoint(memory.asks(2, 3))
    assert (reply.status, reply.body) == (409, b"0\n")
    assert status(witness, memory.asks(0, 20)) == 200
    for old, size in ((0, 30), (19, 30), (10, 15), (0, 20), (21, 30)):
        reply = witness.add_checkpoint(memory.asks(old, size))
        assert (reply.status, reply.body) == (409, b"20\n")


def test_422_what_does_not_follow(witness: Witness, memory: MemoryLog) -> None:
    signed = memory.signed(3)
    assert status(witness, AddCheckpoint(0, (bytes(32),), signed).to_bytes()) == 422
    assert status(witness, memory.asks(0, 20)) == 200
    proof = list(memory.proof(20, 33))
    for wrong in (proof[:-1], [*proof, bytes(32)], [], proof[::-1], [bytes(32), *proof[1:]]):
        body = AddCheckpoint(20, tuple(wrong), memory.signed(33)).to_bytes()
        assert status(witness, body) == 422
    # From a size to itself there is no proof.
    assert status(witness, AddCheckpoint(20, (bytes(32),), memory.signed(20)).to_bytes()) == 422
    assert status(witness, memory.asks(20, 33)) == 200


def test_a_forked_log_is_refused(witness: Witness, memory: MemoryLog) -> None:
    assert status(witness, memory.asks(0, 20)) == 200
    fork = MemoryLog(memory.signer, fork=10)
    for size in (20, 21, 40):
        assert status(witness, fork.asks(20, size)) == 422
    assert witness.add_checkpoint(fork.asks(10, 20)).body == b"20\n"
    # What forks after what is known goes on in one of both, and the other is refused.
    later = MemoryLog(memory.signer, fork=25)
    assert status(witness, later.asks(20, 40)) == 200
    assert status(witness, memory.asks(40, 50)) == 422
    assert status(witness, later.asks(40, 50)) == 200


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.booleans(), st.integers(0, 12), st.integers(0, 12)), min_size=1, max_size=25
    )
)
def test_in_any_order_one_view_is_signed_and_it_grows(
    steps: list[tuple[bool, int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Against a model: the newest size and root, which only an honest request moves on."""
    signer, mine = log_signer(), witness_signer()
    logs = MemoryLog(signer), MemoryLog(signer, fork=4)
    witness = new_witness(tmp_path_factory.mktemp("w") / "state", (mine,), signer.public)
    size, root = 0, EMPTY_ROOT
    for forked, old, new in steps:
        log = logs[forked]
        reply = witness.add_checkpoint(log.asks(old, new))
        if old > new:
            assert reply.status == 400
        elif old != size:
            assert (reply.status, reply.body) == (409, f"{size}\n".encode())
        elif old and log.root(old) != root:
            assert reply.status == 422
        else:
            assert reply.status == 200
            seen_by(reply.body, log.signed(new), [mine.public])
            size, root = new, log.root(new)


def test_extension_lines_are_signed_by_ed25519_alone(
    witness: Witness, memory: MemoryLog, signers: tuple[WitnessSigner, ...]
) -> None:
    signed = memory.signer.sign(LogCheckpoint(ORIGIN, 3, memory.root(3), ("an extension",)))
    reply = witness.add_checkpoint(AddCheckpoint(0, (), signed).to_bytes())
    assert seen_by(reply.body, signed, keys_of(signers)) == [NOW, NOW]
    texts = [cosigned_message(key, signed.checkpoint, NOW) for key in keys_of(signers)]
    assert [b"an extension" in text for text in texts] == [True, False]


def test_a_log_with_two_keys_of_two_kinds(tmp_path: Path, memory: MemoryLog) -> None:
    """A log may sign with ML-DSA-44, and an old key is known beside a new one."""
    quantum = witness_signer(KeyType.ML_DSA_44, ORIGIN)
    keys = (memory.signer.public, quantum.public)
    witness = new_witness(tmp_path / "w", (witness_signer(),), *keys)
    plain = memory.signed(3)
    line = quantum.cosign(plain.checkpoint, 5)
    signed = SignedCheckpoint(SignedNote(plain.note.text, (line,)), plain.checkpoint)
    assert log_signed(signed, keys)
    assert not log_signed(signed, keys[:1])
    assert status(witness, AddCheckpoint(0, (), signed).to_bytes()) == 200
    assert status(witness, memory.asks(3, 4)) == 200
    moved = NoteSignature(line.name, line.id, bytes(8) + line.signature[8:])
    forged = SignedCheckpoint(SignedNote(plain.note.text, (moved,)), plain.checkpoint)
    assert status(witness, AddCheckpoint(4, (), forged).to_bytes()) == 403


def test_the_newest_checkpoint_has_the_log_s_line_and_ours(
    witness: Witness, memory: MemoryLog, signers: tuple[WitnessSigner, ...]
) -> None:
    place = sha256(ORIGIN.encode()).hexdigest()
    assert witness.newest(place) is None
    assert witness.newest("0" * 64) is None
    for old, size in ((0, 3), (3, 9)):
        reply = witness.add_checkpoint(memory.asks(old, size))
        newest = SignedNote.parse(witness.newest(place) or b"")
        assert newest.text == memory.signed(size).note.text
        assert newest.signed_by([memory.signer.public])
        assert "".join(line.line() for line in newest.signatures[1:]).encode() == reply.body


# clock


def test_times_never_go_back(tmp_path: Path, memory: MemoryLog) -> None:
    signer, times = witness_signer(), [NOW, NOW - 30, NOW + 1, NOW - 61, NOW + 2]
    init_witness(tmp_path / "w", [signer.public])
    logs = {ORIGIN: (memory.signer.public,)}
    witness = Witness(tmp_path / "w", (signer,), logs, lambda: times.pop(0))
    told = []
    for size in range(1, 6):
        old = size - 1 if size < 5 else 3
        reply = witness.add_checkpoint(memory.asks(old, size))
        told.append(
            seen_by(reply.body, memory.signed(size), [signer.public])[0]
            if reply.status == 200
            else int(reply.status)
        )
    # A little is caught up; more is refused until the clock is right, and nothing is stored.
    assert told == [NOW, NOW, NOW + 1, 503, NOW + 2]


def test_no_cosignature_is_of_no_time(tmp_path: Path, memory: MemoryLog) -> None:
    signer = witness_signer(KeyType.ML_DSA_44)
    witness = new_witness(tmp_path / "w", (signer,), memory.signer.public, clock=0)
    reply = witness.add_checkpoint(memory.asks(0, 1))
    assert seen_by(reply.body, memory.signed(1), [signer.public]) == [1]


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_whatever_is_sent_has_an_answer(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A changed request is refused, or what is signed is what the log signed."""
    signer, mine = log_signer(), witness_signer()
    memory = MemoryLog(signer)
    witness = new_witness(tmp_path_factory.mktemp("w") / "state", (mine,), signer.public)
    assert status(witness, memory.asks(0, 3)) == 200
    body = bytearray(memory.asks(3, 7))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(body) - 1))
        much = data.draw(st.integers(0, 3))
        body[place : place + much] = data.draw(
            st.binary(max_size=3) | st.sampled_from([b"\n", b" "])
        )
    reply = witness.add_checkpoint(bytes(body))
    assert reply.status in {200, 400, 403, 404, 409, 422}
    if reply.status == 200:
        seen_by(reply.body, memory.signed(7), [mine.public])
