"""Entries of a log for its benchmark, and the Merkle trees that they go into: ours and others'.

What is measured is imported where it is used: each tree is measured in a process of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, Final

ORIGIN: Final = "example.com/log"
Result = dict[str, Any]
"""What a measurement found, as JSON."""


def made(start: int, stop: int) -> list[bytes]:
    """Return entries as plans have them."""
    text = (
        '{"checkpoint":"%064x","digest":"%064x","keyid":"%064x","plan":null,"receipt":null,'
        '"type":"plan"}'
    )
    return [(text % (number % 997, number, number % 7)).encode() for number in range(start, stop)]


def opened(folder: str) -> tuple[Any, Any]:
    """Open a log, which is made with a new key where there is none; return its signer as well."""
    from safety_receipts.receipts.keys import generate_key, load_signer, write_key_pair
    from safety_receipts.receipts.log.folder import LogFolder, LogSigner, init_log

    key = Path(f"{folder}.key")
    new = not key.exists()
    if new:
        write_key_pair(key, generate_key())
    signer = LogSigner.of(ORIGIN, load_signer(key), key)
    if new:
        init_log(Path(folder), signer)
    return LogFolder(Path(folder), signer.public), signer


def tree(folder: str, which: str, entries: int, proofs: int) -> Result:
    """Make one tree, its root, and proofs."""
    leaves = made(0, entries)
    random = Random(2)
    places = [random.randrange(entries) for _ in range(proofs)]
    build, prover, check = TREES[which](folder)
    began, worked = time.perf_counter(), time.process_time()
    root = build(leaves)
    built = time.perf_counter() - began
    made_ = [prover(place) for place in places]
    seconds, cpu = time.perf_counter() - began, time.process_time() - worked
    assert all(
        check(leaves[place], place, proof, root) for place, proof in zip(places, made_, strict=True)
    )
    return {"built": built, "proving": seconds - built, "cpu": cpu, "root": root.hex()}


Tree = tuple[
    Callable[[list[bytes]], bytes],
    Callable[[int], Any],
    Callable[[bytes, int, Any, bytes], bool],
]
"""What makes the root of entries; what proves one, by its place; and what checks a proof."""


def _ours(folder: str) -> Tree:
    log, signer = opened(folder)

    def build(leaves: list[bytes]) -> bytes:
        log.add(leaves, signer)
        root: bytes = log.signed.checkpoint.root
        return root

    return build, log.prove, lambda leaf, _, proof, __: proof.holds(leaf)


def _in_memory(_: str) -> Tree:
    from safety_receipts.receipts.log.formats.tiles import (
        TILE_WIDTH,
        TileTree,
        tile_name,
        tile_root,
    )
    from safety_receipts.receipts.merkle import leaf_hash, verify_inclusion

    files: dict[str, bytes] = {}
    kept: list[TileTree] = []

    class Tiles:
        """The tiles of a log in a dictionary, in the place of a folder."""

        def read(self, name: str, _: int) -> bytes | None:
            return files.get(name)

    def build(leaves: list[bytes]) -> bytes:
        hashes, level = list(map(leaf_hash, leaves)), 0
        while hashes:
            above = []
            for start in range(0, len(hashes), TILE_WIDTH):
                some = hashes[start : start + TILE_WIDTH]
                tile = b"".join(some)
                files[tile_name(level, start // TILE_WIDTH, len(some))] = tile
                above += [tile_root(tile)] if len(some) == TILE_WIDTH else []
            hashes, level = above, level + 1
        kept.append(TileTree(Tiles(), len(leaves)))
        return kept[0].root()

    def check(leaf: bytes, place: int, proof: Any, root: bytes) -> bool:
        return verify_inclusion(leaf_hash(leaf), place, kept[0].size, proof, root)

    def proven(place: int) -> list[bytes]:
        return kept[0].inclusion(place)  # of the tree that is there by then

    return build, proven, check


def _pymerkle(folder: str, *, sqlite: bool = False) -> Tree:
    from hashlib import sha256

    from pymerkle import InmemoryTree, SqliteTree, verify_inclusion

    tree_ = SqliteTree(folder) if sqlite else InmemoryTree()

    def build(leaves: list[bytes]) -> bytes:
        tree_.append_entries(leaves)
        root: bytes = tree_.get_root()
        return root

    def check(leaf: bytes, _: int, proof: Any, root: bytes) -> bool:
        verify_inclusion(
            sha256(b"\0" + leaf).digest(), root, proof
        )  # raises where it does not hold
        return True

    return build, lambda place: tree_.prove_inclusion(place + 1), check


def _proofbundle(_: str) -> Tree:
    from proofbundle import merkle

    kept: list[bytes] = []

    def build(leaves: list[bytes]) -> bytes:
        kept[:] = leaves
        root: bytes = merkle.merkle_tree_hash(kept)
        return root

    def check(leaf: bytes, place: int, proof: Any, root: bytes) -> bool:
        found: bytes = merkle.root_from_inclusion(place, len(kept), merkle.leaf_hash(leaf), proof)
        return found == root

    return build, lambda place: merkle.inclusion_proof(kept, place), check


TREES: Final[dict[str, Callable[[str], Tree]]] = {
    "ours, on the disk": _ours,
    "ours, in memory": _in_memory,
    "pymerkle": _pymerkle,
    "pymerkle, SQLite": lambda folder: _pymerkle(folder, sqlite=True),
    "proofbundle": _proofbundle,
}
