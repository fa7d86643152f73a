"""What is read of logs from outside raises what its callers expect, whatever it is given."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest
from fuzzing.mutations import mutate_bytes
from hypothesis import given
from hypothesis import strategies as st

from safety_receipts.receipts.errors import IntegrityError, MalformedError, ReceiptsError
from safety_receipts.receipts.keys import generate_key
from safety_receipts.receipts.log.folder import LogSigner
from safety_receipts.receipts.log.formats.checkpoint import LogCheckpoint, SignedCheckpoint
from safety_receipts.receipts.log.formats.cosignature import WitnessSigner
from safety_receipts.receipts.log.formats.entry import EntryKind, LogEntry
from safety_receipts.receipts.log.formats.note import NoteKey, SignedNote, parse_signature
from safety_receipts.receipts.log.formats.policy import LogPolicy, load_log_policy
from safety_receipts.receipts.log.formats.proof import LogProof
from safety_receipts.receipts.log.formats.tiles import pack_entries, unpack_entries
from safety_receipts.receipts.log.witnessing.witness import AddCheckpoint
from safety_receipts.receipts.merkle import merkle_root

SIGNER = LogSigner.of("example.com/log", generate_key(), Path("key"))
WITNESS = WitnessSigner.of("w.example/1", generate_key(), Path("key"))
LEAVES = [b"a", b"b", b"c"]
ENTRY = LogEntry(
    type=EntryKind.PLAN, digest="ab" * 32, keyid="k", checkpoint="cd" * 32, plan=None, receipt=None
)
_BARE = SIGNER.sign(LogCheckpoint("example.com/log", 3, merkle_root(LEAVES), ("more",)))
SIGNED = SignedCheckpoint(
    SignedNote(_BARE.note.text, (*_BARE.note.signatures, WITNESS.cosign(_BARE.checkpoint, 7))),
    _BARE.checkpoint,
)
PROOF = LogProof(1, (bytes(32), bytes(range(32))), SIGNED)
POLICY = (
    f"# who counts\nlog {SIGNER.public.vkey} https://example.com/log\n"
    f"witness w {WITNESS.public.vkey} https://w.example/1\ngroup g any w\nquorum g\n"
)


def read_policy(data: bytes, folder: Path) -> LogPolicy:
    path = folder / "policy"
    path.write_bytes(data)
    return load_log_policy(path)


def text_of(read: Callable[[str], Any]) -> Callable[[bytes], Any]:
    """Let a reader of text, as a command line gives it, take bytes."""
    return lambda data: read(data.decode("utf-8", "surrogateescape"))


READERS: dict[str, tuple[bytes, Callable[[bytes], Any]]] = {
    "note": (SIGNED.note.to_bytes(), SignedNote.parse),
    "checkpoint": (SIGNED.note.to_bytes(), SignedCheckpoint.parse),
    "checkpoint's text": (SIGNED.note.text.encode(), text_of(LogCheckpoint.parse)),
    "signature": (SIGNED.note.signatures[0].line()[:-1].encode(), text_of(parse_signature)),
    "vkey": (WITNESS.public.vkey.encode(), text_of(NoteKey.parse)),
    "proof": (PROOF.to_bytes(), LogProof.parse),
    "request": (AddCheckpoint(1, (bytes(32),), SIGNED).to_bytes(), AddCheckpoint.parse),
}
each_reader = pytest.mark.parametrize("name", READERS)


@each_reader
def test_what_is_changed_is_good(name: str) -> None:
    data, read = READERS[name]
    read(data)


@each_reader
@given(seed=st.integers(0, 2**32))
def test_a_change_makes_it_malformed_or_nothing(name: str, seed: int) -> None:
    data, read = READERS[name]
    with suppress(MalformedError):
        read(mutate_bytes(data, Random(seed)))


@each_reader
@given(data=st.one_of(st.binary(max_size=200), st.text(max_size=80).map(str.encode)))
def test_anything_is_malformed(name: str, data: bytes) -> None:
    _, read = READERS[name]
    with suppress(MalformedError):
        read(data)


@each_reader
@given(data=st.data())
def test_lines_in_any_order_and_number(name: str, data: st.DataObject) -> None:
    good, read = READERS[name]
    lines = good.split(b"\n")
    some = data.draw(st.lists(st.sampled_from([*lines, b"", b" ", b"\xe2\x80\x94 "]), max_size=12))
    with suppress(MalformedError):
        read(b"\n".join(some))


@given(seed=st.integers(0, 2**32), own=st.booleans())
def test_what_was_read_is_held_to_a_policy(
    seed: int, own: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever was read can be asked; a checkpoint that its log signed may say anything, too."""
    policy = read_policy(POLICY.encode(), tmp_path_factory.getbasetemp())
    data = PROOF.to_bytes()
    if own:
        text = mutate_bytes(SIGNED.note.text.encode(), Random(seed))
        with suppress(UnicodeDecodeError, MalformedError):
            checkpoint = LogCheckpoint.parse(text.decode())
            data = LogProof(0, (), SIGNER.sign(checkpoint)).to_bytes()
    else:
        data = mutate_bytes(data, Random(seed))
    with suppress(ReceiptsError):
        proof = LogProof.parse(data)
        assert proof.holds(b"a") in (True, False)
        policy.has_quorum(proof.signed)
        policy.accept(proof.signed)


@given(seed=st.integers(0, 2**32))
def test_policies(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    with suppress(MalformedError):
        read_policy(mutate_bytes(POLICY.encode(), Random(seed)), tmp_path_factory.getbasetemp())


@given(data=st.data())
def test_lines_of_policies(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    words = [*POLICY.split(), "all", "2", "0", "none", "x", "é", "\t", "1" * 5_000]
    line = st.lists(st.sampled_from(words), max_size=5).map(" ".join)
    text = "\n".join(data.draw(st.lists(line, max_size=8)))
    with suppress(MalformedError):
        read_policy(text.encode(), tmp_path_factory.getbasetemp())


@given(seed=st.integers(0, 2**32))
def test_an_entry_is_one_or_somebody_else_s(seed: int) -> None:
    assert LogEntry.parse(ENTRY.leaf()) == ENTRY
    changed = mutate_bytes(ENTRY.leaf(), Random(seed))
    found = LogEntry.parse(changed)
    assert found is None or found.leaf() == changed


@pytest.mark.parametrize(
    "leaf",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"\xff",
        b"[" * 60_000,
        b'{"a":' * 10_000,
        b"1" * 60_000,
        ENTRY.leaf().replace(b'"k"', b'"\\ud800"'),
        ENTRY.leaf().replace(b'"k"', b'"k" '),
        ENTRY.leaf().replace(b'"type"', b'"type":"plan","type"'),
        ENTRY.leaf().replace(b'"k"', b'"' + b"k" * 257 + b'"'),
    ],
    ids=lambda leaf: str(leaf[:20]),
)
def test_entries_of_another_form(leaf: bytes) -> None:
    assert LogEntry.parse(leaf) is None


@given(entries=st.lists(st.binary(max_size=40), max_size=8), seed=st.integers(0, 2**32))
def test_bundles_of_entries(entries: list[bytes], seed: int) -> None:
    packed = pack_entries(entries)
    assert unpack_entries(packed, "name") == entries
    with suppress(IntegrityError):
        unpack_entries(mutate_bytes(packed, Random(seed)), "name")
