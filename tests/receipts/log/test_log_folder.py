"""A log in a folder: its tiles, proofs and checkpoints, one writer, kills, damage."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import pytest

from safety_receipts.receipts.errors import (
    FileAccessError,
    IntegrityError,
    KeyFileError,
    UsageError,
)
from safety_receipts.receipts.keys import KeyType, generate_key, load_signer, write_key_pair
from safety_receipts.receipts.log.folder import LogFolder, LogSigner, init_log
from safety_receipts.receipts.log.formats.proof import LogProof
from safety_receipts.receipts.log.formats.tiles import (
    HASH_BYTES,
    TileTree,
    bundle_name,
    tile_name,
    widths,
)
from safety_receipts.receipts.log.sources import FolderSource
from safety_receipts.receipts.log.survey import check_growth, check_log
from safety_receipts.receipts.merkle import (
    EMPTY_ROOT,
    leaf_hash,
    merkle_root,
    node_hash,
    verify_consistency,
    verify_inclusion,
)


def leaves(number: int, start: int = 0) -> list[bytes]:
    return [b"entry %d" % index for index in range(start, start + number)]


def test_names_of_tiles_are_the_specification_s() -> None:
    assert tile_name(0, 1234067) == "tile/0/x001/x234/067"
    assert tile_name(1, 0, 17) == "tile/1/000.p/17"
    assert bundle_name(999) == "tile/entries/999"
    assert bundle_name(1000, 1) == "tile/entries/x001/000.p/1"
    # A tree of 70,000: 273 full tiles and one of 112; one full and one of 17; one of 1.
    assert list(widths(70_000)) == [(0, 273, 112), (1, 1, 17), (2, 0, 1)]
    assert list(widths(256)) == [(0, 1, 0), (1, 0, 1)]


@pytest.mark.long
def test_a_log_of_70_000_has_exactly_the_listed_tiles(
    log: LogFolder, log_signer: LogSigner
) -> None:
    log.add(leaves(70_000), log_signer)
    found = {
        str(path.relative_to(log.folder))
        for path in (log.folder / "tile").rglob("*")
        if path.is_file()
    }
    wanted = {tile_name(0, index) for index in range(273)} | {tile_name(0, 273, 112)}
    wanted |= {tile_name(1, 0), tile_name(1, 1, 17), tile_name(2, 0, 1)}
    wanted |= {bundle_name(index) for index in range(273)} | {bundle_name(273, 112)}
    # Partial tiles of the checkpoint between, at 65,536, were full at every level but the last.
    assert found - wanted <= {tile_name(2, 0, 1), tile_name(1, 1, 0)}
    assert wanted <= found
    check_log(FolderSource(log.folder), log.signed)
    assert log.signed.checkpoint.root == merkle_root(leaves(70_000))


class Cut:
    """A log that has every partial tile: what is not there is cut from the widest one that is.

    A log keeps partial tiles of sizes that had a checkpoint alone, and no reader asks for others.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._source = folder, FolderSource(folder)

    def read(self, name: str, limit: int) -> bytes | None:
        whole, partial, width = name.partition(".p/")
        if not partial or (self._folder / name).exists() or (self._folder / whole).exists():
            return self._source.read(name, limit)
        widest = max((self._folder / f"{whole}.p").iterdir(), key=lambda path: int(path.name))
        data = self._source.read(f"{whole}.p/{widest.name}", limit)
        return None if data is None else data[: int(width) * HASH_BYTES]


class BruteForce:
    """A tree as RFC 6962 defines it, section 2.1, and nothing is made faster but by remembering."""

    def __init__(self, hashes: list[bytes]) -> None:
        @cache
        def root(start: int, stop: int) -> bytes:
            if stop - start < 2:
                return hashes[start] if start < stop else EMPTY_ROOT
            middle = start + split(stop - start)
            return node_hash(root(start, middle), root(middle, stop))

        self.root = root

    def inclusion(self, index: int, start: int, stop: int) -> list[bytes]:
        if stop - start == 1:
            return []
        middle = start + split(stop - start)
        if index < middle:
            return [*self.inclusion(index, start, middle), self.root(middle, stop)]
        return [*self.inclusion(index, middle, stop), self.root(start, middle)]

    def consistency(self, old: int, start: int, stop: int, whole: bool = True) -> list[bytes]:
        if old == stop:
            return [] if whole else [self.root(start, stop)]
        middle = start + split(stop - start)
        if old <= middle:
            return [*self.consistency(old, start, middle, whole), self.root(middle, stop)]
        return [*self.consistency(old, middle, stop, False), self.root(start, middle)]


def split(size: int) -> int:
    power = 1
    while power * 2 < size:
        power *= 2
    return power


@pytest.mark.parametrize("part", range(3))
def test_proofs_of_all_sizes_to_300_are_those_of_a_tree_in_memory(
    part: int, log: LogFolder, log_signer: LogSigner
) -> None:
    everything = leaves(300)
    hashes = [leaf_hash(leaf) for leaf in everything]
    log.add(everything, log_signer)
    source, brute = Cut(log.folder), BruteForce(hashes)
    assert TileTree(source, 0).root() == EMPTY_ROOT
    for size in range(1 + part, 301, 3):
        tree = TileTree(source, size)
        root = tree.root()
        assert root == brute.root(0, size)
        for index in range(size):
            path = tree.inclusion(index)
            assert path == brute.inclusion(index, 0, size)
            assert verify_inclusion(hashes[index], index, size, path, root)
        for old in range(1, size + 1):
            proof = tree.consistency(old)
            assert proof == brute.consistency(old, 0, size)
            assert verify_consistency(old, size, brute.root(0, old), root, proof)
        with pytest.raises(IndexError):
            tree.inclusion(size)
        for wrong in (0, size + 1):
            with pytest.raises(ValueError, match="no consistency proof"):
                tree.consistency(wrong)


def test_growing_in_any_steps_gives_one_log(log: LogFolder, log_signer: LogSigner) -> None:
    everything, steps = leaves(1_000), random.Random(7)
    done = 0
    while done < len(everything):
        step = steps.choice((1, 2, 7, 60, 255, 256, 257))
        before = log.signed
        log.add(everything[done : done + step], log_signer)
        done = min(len(everything), done + step)
        assert (log.size, log.signed.checkpoint.root) == (done, merkle_root(everything[:done]))
        if before.checkpoint.size:
            check_growth(FolderSource(log.folder), before, log.signed)
    check_log(FolderSource(log.folder), log.signed)
    for index in (0, 255, 256, 999):
        proof = log.prove(index)
        assert LogProof.parse(proof.to_bytes()) == proof
        assert proof.holds(everything[index])
        assert not proof.holds(everything[index - 1])


def test_an_entry_is_added_once(log: LogFolder, log_signer: LogSigner) -> None:
    first = log.add([b"a", b"b", b"a"], log_signer)
    assert (first.places, first.new, log.size) == ((0, 1, 0), 2, 2)
    before = (log.folder / "checkpoint").read_bytes()
    again = log.add([b"b", b"a"], log_signer)
    assert (again.places, again.new, log.size) == ((1, 0), 0, 2)
    assert (log.folder / "checkpoint").read_bytes() == before


def test_a_proof_reads_the_tiles_that_it_needs_alone(log: LogFolder, log_signer: LogSigner) -> None:
    log.add(leaves(5_000), log_signer)
    read: list[str] = []

    class Counted(FolderSource):
        def read(self, name: str, limit: int) -> bytes | None:
            read.append(name)
            return super().read(name, limit)

    TileTree(Counted(log.folder), 5_000).inclusion(1_234)
    assert len(read) <= 3


def test_a_log_is_of_one_key_and_made_once(
    log: LogFolder, log_signer: LogSigner, tmp_path: Path
) -> None:
    with pytest.raises(FileAccessError, match="already exists"):
        init_log(log.folder, log_signer)
    other = LogSigner.of(log_signer.origin, generate_key(), Path("key"))
    with pytest.raises(UsageError, match="not this log's"):
        log.add([b"a"], other)
    with pytest.raises(UsageError, match="not signed with this key"):
        LogFolder(log.folder, other.public)
    elsewhere = LogSigner.of("example.com/other", log_signer_key(log_signer), Path("key"))
    with pytest.raises(IntegrityError, match=r"is of the log example\.com/log"):
        LogFolder(log.folder, elsewhere.public)
    with pytest.raises(UsageError):
        LogSigner.of("with a blank", generate_key(), Path("key"))
    with pytest.raises(KeyFileError, match="Ed25519"):
        LogSigner.of("example.com/log", generate_key(KeyType.P256), Path("key"))
    with pytest.raises(UsageError, match="longer"):
        log.add([bytes(65_536)], log_signer)
    assert log.size == 0


def log_signer_key(signer: LogSigner) -> object:
    from safety_receipts.receipts.keys import Signer

    return Signer(signer.key)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("tile/0/000", "another hash"),
        ("tile/entries/000", "another hash|cut|entries"),
        ("tile/0/001.p/144", "another hash"),
        ("tile/1/000.p/1", "not that of the tile below"),
    ],
)
def test_damage_is_found(name: str, why: str, log: LogFolder, log_signer: LogSigner) -> None:
    log.add(leaves(400), log_signer)
    source = FolderSource(log.folder)
    check_log(source, log.signed)
    path = log.folder / name
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(IntegrityError, match=why):
        check_log(source, log.signed)
    path.write_bytes(bytes(data[:-1]))
    with pytest.raises(IntegrityError):
        check_log(source, log.signed)
    path.unlink()
    with pytest.raises(IntegrityError, match="is missing"):
        check_log(source, log.signed)


def test_a_log_that_was_rewritten_or_cut_is_found(
    log: LogFolder, log_signer: LogSigner, tmp_path: Path
) -> None:
    log.add(leaves(300), log_signer)
    init_log(tmp_path / "fork", log_signer)
    fork = LogFolder(tmp_path / "fork", log_signer.public)
    fork.add([b"another", *leaves(400)[1:]], log_signer)
    with pytest.raises(IntegrityError, match="rewritten, or shows two views"):
        check_growth(FolderSource(fork.folder), log.signed, fork.signed)
    with pytest.raises(IntegrityError, match="was cut"):
        check_growth(FolderSource(log.folder), fork.signed, log.signed)


WRITER = """\
import sys
from pathlib import Path
from safety_receipts.receipts.keys import load_signer
from safety_receipts.receipts.log.folder import LogFolder, LogSigner
signer = LogSigner.of("example.com/log", load_signer(Path(sys.argv[2])), Path(sys.argv[2]))
start = int(sys.argv[3])
for batch in range(10_000):
    log = LogFolder(Path(sys.argv[1]), signer.public)
    entries = [b"%d.%d.%d" % (start, batch, n) for n in range(97)]
    log.add(entries, signer)
    print(batch, log.size, flush=True)
"""


@pytest.mark.long
def test_a_kill_at_any_moment_leaves_a_log_that_goes_on(tmp_path: Path) -> None:
    """Forty kills: what was acknowledged is there, and the log never went back."""
    write_key_pair(tmp_path / "key", generate_key())
    signer = LogSigner.of("example.com/log", load_signer(tmp_path / "key"), tmp_path / "key")
    init_log(tmp_path / "log", signer)
    moments, size = random.Random(3), 0
    known = LogFolder(tmp_path / "log", signer.public).signed
    for start in range(40):
        arguments = [sys.executable, "-c", WRITER, str(tmp_path / "log"), str(tmp_path / "key")]
        with subprocess.Popen(
            [*arguments, str(start)], stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout is not None
            told = [writer.stdout.readline()]
            time.sleep(moments.random() * 0.08)
            os.kill(writer.pid, signal.SIGKILL)
            told += writer.stdout.readlines()
        acknowledged = [line.split() for line in told if line.endswith("\n") and line.strip()]
        log = LogFolder(tmp_path / "log", signer.public)
        source = FolderSource(log.folder)
        check_log(source, log.signed)
        check_growth(source, known, log.signed)
        known = log.signed
        batch, said = map(int, acknowledged[-1])
        assert size < said <= log.size
        assert log.find(b"%d.%d.96" % (start, batch)) is not None
        size = log.size
    assert log.add([b"on it goes"], signer).new == 1


@pytest.mark.long
def test_two_writers_make_one_order(tmp_path: Path) -> None:
    write_key_pair(tmp_path / "key", generate_key())
    signer = LogSigner.of("example.com/log", load_signer(tmp_path / "key"), tmp_path / "key")
    init_log(tmp_path / "log", signer)
    script = WRITER.replace("range(10_000)", "range(12)").replace(
        "    log.add(entries, signer)\n",
        "    from safety_receipts.receipts.errors import UsageError\n"
        "    while True:\n"
        "        try:\n"
        "            log.add(entries, signer)\n"
        "        except UsageError:\n"
        "            continue\n"
        "        break\n",
    )
    arguments = [sys.executable, "-c", script, str(tmp_path / "log"), str(tmp_path / "key")]
    writers = [subprocess.Popen([*arguments, str(n)], stdout=subprocess.PIPE) for n in range(2)]
    for writer in writers:
        writer.communicate()
        assert writer.returncode == 0
    log = LogFolder(tmp_path / "log", signer.public)
    assert log.size == 2 * 12 * 97
    check_log(FolderSource(log.folder), log.signed)
