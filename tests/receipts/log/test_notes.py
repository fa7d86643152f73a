"""Signed notes, checkpoints, cosignatures and proofs: the specifications' vectors and rules."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from safety_receipts.receipts.errors import IntegrityError, MalformedError
from safety_receipts.receipts.keys import generate_key
from safety_receipts.receipts.log.folder import LogSigner
from safety_receipts.receipts.log.formats.checkpoint import LogCheckpoint, SignedCheckpoint
from safety_receipts.receipts.log.formats.cosignature import (
    cosignature_line,
    cosignatures,
    cosigned_message,
    mldsa,
)
from safety_receipts.receipts.log.formats.note import (
    NoteKey,
    NoteSignature,
    SignatureKind,
    SignedNote,
)
from safety_receipts.receipts.log.formats.proof import LogProof
from safety_receipts.receipts.merkle import EMPTY_ROOT

# https://c2sp.org/signed-note, example
VKEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
NOTE = (
    "This is an example message.\n\n"
    "— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKu"
    "wHjG1Yu72IneyaQM=\n"
).encode()
# https://c2sp.org/tlog-cosignature, example: the text that is cosigned
BEHIND = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"


def test_the_vector_of_the_specification() -> None:
    key = NoteKey.parse(VKEY)
    assert (key.name, key.kind, key.id.hex(), key.vkey) == (
        "example.com/foo",
        SignatureKind.ED25519,
        "530d903a",
        VKEY,
    )
    note = SignedNote.parse(NOTE)
    assert note.signed_by([key]) == (key,)
    assert note.to_bytes() == NOTE


def test_a_known_key_that_did_not_sign_makes_the_note_false() -> None:
    note = SignedNote.parse(NOTE)
    forged = SignedNote(note.text.replace("example", "other"), note.signatures)
    with pytest.raises(IntegrityError, match="does not verify"):
        forged.signed_by([NoteKey.parse(VKEY)])
    # What nobody here knows is ignored, whoever it names.
    unknown = NoteSignature("example.com/foo", b"1234", b"whatever")
    beside = SignedNote(note.text, (unknown, *note.signatures))
    assert len(beside.signed_by([NoteKey.parse(VKEY)])) == 1
    assert SignedNote(note.text, (unknown,)).signed_by([NoteKey.parse(VKEY)]) == ()


@pytest.mark.parametrize(
    "vkey",
    [
        "",
        "example.com/foo",
        VKEY.replace("530d903a", "530d903b"),
        VKEY.replace("530d903a", "530D903A"),
        VKEY[:-4],
        VKEY.replace("example.com/foo", "example.com /foo"),
        VKEY.replace("example.com/foo", ""),
        VKEY + "\n",
        "example.com/foo+530d903a+/ekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
    ],
)
def test_a_vkey_has_one_form(vkey: str) -> None:
    with pytest.raises(MalformedError, match="not a vkey"):
        NoteKey.parse(vkey)


def test_a_plus_in_the_key_is_no_separator() -> None:
    for number in range(200):
        material = bytes([number]) * 31 + b"\xfb"
        key = NoteKey("example.com/w", SignatureKind.ED25519_COSIGNATURE, material)
        assert NoteKey.parse(key.vkey) == key
    assert any("+" in NoteKey("a", SignatureKind(1), bytes([n]) * 32).vkey[12:] for n in range(256))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"text\n",
        NOTE.replace(b"\n\n", b"\n"),
        NOTE[:-1],
        NOTE.replace("— ".encode(), b"- "),
        NOTE.replace(b"example message", b"example\tmessage"),
        NOTE.replace(b"example message", b"\xff"),
        NOTE + NOTE.rpartition(b"\n\n")[2] * 100,
        NOTE.replace(b"=\n", b"\n"),
        NOTE.replace(b"Uw2QOkn8", b"Uw2QOkn8 "),
    ],
)
def test_what_is_no_note(data: bytes) -> None:
    with pytest.raises(MalformedError):
        SignedNote.parse(data)


def test_the_blank_line_before_the_signatures_is_the_last_one() -> None:
    key = Ed25519PrivateKey.generate()
    text = "a\n\nb\n"
    public = NoteKey("x", SignatureKind.ED25519, key.public_key().public_bytes_raw())
    note = SignedNote(text, (NoteSignature("x", public.id, key.sign(text.encode())),))
    assert SignedNote.parse(note.to_bytes()).text == text


@given(
    size=st.integers(0, 2**63 - 1),
    root=st.binary(min_size=32, max_size=32),
    extensions=st.lists(st.text("abc +/=", min_size=1), max_size=3),
)
def test_checkpoints_come_back(size: int, root: bytes, extensions: list[str]) -> None:
    made = LogCheckpoint("example.com/log", size, root, tuple(extensions))
    assert LogCheckpoint.parse(made.text()) == made
    assert made.is_possible is (size > 0 or root == EMPTY_ROOT)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a\n1\n",
        BEHIND.replace("20852163", "020852163"),
        BEHIND.replace("20852163", "-1"),
        BEHIND.replace("20852163", str(2**63)),
        BEHIND.replace("q2I=", "q2J="),
        BEHIND.replace("q2I=\n", "q2I=\n\n"),
        BEHIND[1:].replace("xample.com/behind-the-sofa", "", 1),
        BEHIND[:-1],
    ],
)
def test_what_is_no_checkpoint(text: str) -> None:
    with pytest.raises(MalformedError, match="not a checkpoint"):
        LogCheckpoint.parse(text)


def test_what_is_cosigned_is_the_specification_s() -> None:
    checkpoint = LogCheckpoint.parse(BEHIND)
    key = NoteKey("witness.example.com/w1", SignatureKind.ED25519_COSIGNATURE, bytes(32))
    assert cosigned_message(key, checkpoint, 1679315147) == (
        b"cosignature/v1\ntime 1679315147\n" + BEHIND.encode()
    )
    other = NoteKey("w", SignatureKind.MLDSA44_COSIGNATURE, bytes(1312))
    message = cosigned_message(other, checkpoint, 1679315147)
    assert message == (
        b"subtree/v1\n\0"
        + b"\x01w"
        + (1679315147).to_bytes(8, "big")
        + b"\x1b"
        + b"example.com/behind-the-sofa"
        + bytes(8)
        + (20852163).to_bytes(8, "big")
        + checkpoint.root
    )
    with pytest.raises(ValueError, match="no cosignatures"):
        cosigned_message(NoteKey.parse(VKEY), checkpoint, 1)


def test_cosignatures_hold_to_time_text_and_key() -> None:
    key = Ed25519PrivateKey.generate()
    public = NoteKey("w", SignatureKind.ED25519_COSIGNATURE, key.public_key().public_bytes_raw())
    signer = LogSigner.of("example.com/log", generate_key(), Path("key"))
    signed = signer.sign(LogCheckpoint("example.com/log", 3, bytes(32)))

    def with_line(line: NoteSignature) -> SignedCheckpoint:
        note = SignedNote(signed.note.text, (*signed.note.signatures, line))
        return SignedCheckpoint(note, signed.checkpoint)

    good = cosignature_line(public, 7, key.sign(cosigned_message(public, signed.checkpoint, 7)))
    [seen] = cosignatures(with_line(good), [public])
    assert (seen.key, seen.time) == (public, 7)
    assert cosignatures(signed, [public]) == ()
    moved = cosignature_line(public, 8, good.signature[8:])
    late = cosignature_line(public, 2**63, good.signature[8:])
    for line in (moved, late, NoteSignature("w", public.id, good.signature[:40])):
        with pytest.raises(IntegrityError, match="does not verify"):
            cosignatures(with_line(line), [public])


def test_cosignatures_of_ml_dsa_commit_to_the_name() -> None:
    module = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.mldsa")
    key = module.MLDSA44PrivateKey.generate()
    material = key.public_key().public_bytes_raw()
    public = NoteKey("w", SignatureKind.MLDSA44_COSIGNATURE, material)
    signer = LogSigner.of("example.com/log", generate_key(), Path("key"))
    signed = signer.sign(LogCheckpoint("example.com/log", 3, bytes(32), ("an extension",)))
    signature = key.sign(cosigned_message(public, signed.checkpoint, 9))
    assert len(signature) == 2420
    note = SignedNote(signed.note.text, (cosignature_line(public, 9, signature),))
    [seen] = cosignatures(SignedCheckpoint(note, signed.checkpoint), [public])
    assert seen.time == 9
    renamed = NoteKey("v", SignatureKind.MLDSA44_COSIGNATURE, material)
    line = NoteSignature("v", renamed.id, (9).to_bytes(8, "big") + signature)
    with pytest.raises(IntegrityError):
        cosignatures(
            SignedCheckpoint(SignedNote(signed.note.text, (line,)), signed.checkpoint), [renamed]
        )
    assert mldsa() is module


PROOF = (
    b"c2sp.org/tlog-proof@v1\nindex 0\n\n"
    + LogCheckpoint("example.com/log", 1, bytes(32)).text().encode()
    + b"\n"
    + "— x AAAAAAE=\n".encode()
)


def test_a_proof_comes_back_and_its_extra_line_is_of_no_account() -> None:
    proof = LogProof.parse(PROOF)
    assert (proof.index, proof.path, proof.to_bytes()) == (0, (), PROOF)
    with_extra = PROOF.replace(b"index 0", b"extra YWJj\nindex 0")
    assert LogProof.parse(with_extra) == proof


@pytest.mark.parametrize(
    "data",
    [
        b"",
        PROOF.replace(b"@v1", b"@v2"),
        PROOF.replace(b"index 0", b"index 00"),
        PROOF.replace(b"index 0\n", b""),
        PROOF.replace(b"index 0\n", b"index 0\nAAAA\n"),
        PROOF.replace(b"index 0", b"index 0\nindex 1"),
        PROOF.replace(
            b"index 0\n", b"index 0\n" + b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n" * 64
        ),
        PROOF[:-8],
    ],
)
def test_what_is_no_proof(data: bytes) -> None:
    with pytest.raises(MalformedError):
        LogProof.parse(data)
