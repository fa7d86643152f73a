"""RFC 6962 trees, against published vectors and against the definition."""

from __future__ import annotations

import hashlib
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safety_receipts.receipts import merkle

# The reference tree of the certificate-transparency project (merkle_tree_test.cc).
CT_LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
CT_ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
CT_INCLUSION: list[tuple[int, int, list[str]]] = [
    (0, 1, []),
    (
        0,
        8,
        [
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        5,
        8,
        [
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    (2, 3, ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
    (
        1,
        5,
        [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ],
    ),
]
CT_CONSISTENCY: list[tuple[int, int, list[str]]] = [
    (1, 1, []),
    (
        1,
        8,
        [
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        6,
        8,
        [
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    (
        2,
        5,
        [
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ],
    ),
]

LARGEST = 130
LEAVES = [b"leaf %d" % i for i in range(LARGEST)]
HASHES = [hashlib.sha256(b"\x00" + leaf).digest() for leaf in LEAVES]


# The definition, as RFC 6962 section 2.1 writes it, over D[start:stop] of one list of leaves.


@cache
def defined_root(start: int, stop: int) -> bytes:
    """MTH(D[start:stop])."""
    if start == stop:
        return hashlib.sha256().digest()
    if stop - start == 1:
        return HASHES[start]
    k = _power_below(stop - start)
    left, right = defined_root(start, start + k), defined_root(start + k, stop)
    return hashlib.sha256(b"\x01" + left + right).digest()


def defined_path(m: int, start: int, stop: int) -> list[bytes]:
    """PATH(m, D[start:stop])."""
    n = stop - start
    if n == 1:
        return []
    k = _power_below(n)
    if m < k:
        return [*defined_path(m, start, start + k), defined_root(start + k, stop)]
    return [*defined_path(m - k, start + k, stop), defined_root(start, start + k)]


def defined_subproof(m: int, start: int, stop: int, whole: bool) -> list[bytes]:
    """SUBPROOF(m, D[start:stop], whole), where ``whole`` is the RFC's b."""
    n = stop - start
    if m == n:
        return [] if whole else [defined_root(start, stop)]
    k = _power_below(n)
    if m <= k:
        return [
            *defined_subproof(m, start, start + k, whole),
            defined_root(start + k, stop),
        ]
    return [*defined_subproof(m - k, start + k, stop, False), defined_root(start, start + k)]


def _power_below(n: int) -> int:
    k = 1
    while k * 2 < n:
        k *= 2
    return k


def flipped(data: bytes) -> bytes:
    """Return ``data`` with its last bit changed."""
    return data[:-1] + bytes([data[-1] ^ 1])


@pytest.mark.parametrize("size", range(9))
def test_reference_roots(size: int) -> None:
    assert merkle.merkle_root(CT_LEAVES[:size]).hex() == CT_ROOTS[size]


@pytest.mark.parametrize(("index", "size", "path"), CT_INCLUSION)
def test_reference_inclusion_proofs(index: int, size: int, path: list[str]) -> None:
    hashes = [merkle.leaf_hash(leaf) for leaf in CT_LEAVES[:size]]
    proof = merkle.inclusion_proof(hashes, index)
    assert [node.hex() for node in proof] == path
    root = bytes.fromhex(CT_ROOTS[size])
    assert merkle.verify_inclusion(hashes[index], index, size, proof, root)


@pytest.mark.parametrize(("old_size", "new_size", "nodes"), CT_CONSISTENCY)
def test_reference_consistency_proofs(old_size: int, new_size: int, nodes: list[str]) -> None:
    hashes = [merkle.leaf_hash(leaf) for leaf in CT_LEAVES[:new_size]]
    proof = merkle.consistency_proof(hashes, old_size)
    assert [node.hex() for node in proof] == nodes
    old, new = bytes.fromhex(CT_ROOTS[old_size]), bytes.fromhex(CT_ROOTS[new_size])
    assert merkle.verify_consistency(old_size, new_size, old, new, proof)


def test_the_empty_tree() -> None:
    assert hashlib.sha256(b"").digest() == merkle.EMPTY_ROOT
    assert merkle.RootAccumulator().root() == merkle.EMPTY_ROOT


def test_the_accumulator_gives_the_root_of_every_size_on_its_way() -> None:
    accumulator = merkle.RootAccumulator()
    for size, leaf in enumerate(LEAVES):
        assert accumulator.size == size
        assert accumulator.root() == defined_root(0, size)
        accumulator.append(leaf)
    assert accumulator.root() == defined_root(0, LARGEST)


@given(st.lists(st.binary(max_size=70), max_size=40))
@settings(deadline=None)
def test_the_accumulator_equals_the_definition_for_any_leaves(leaves: list[bytes]) -> None:
    def mth(data: list[bytes]) -> bytes:
        if len(data) < 2:
            return hashlib.sha256(b"\x00" + data[0] if data else b"").digest()
        k = _power_below(len(data))
        return hashlib.sha256(b"\x01" + mth(data[:k]) + mth(data[k:])).digest()

    assert merkle.merkle_root(leaves) == mth(leaves)


def test_inclusion_proofs_of_all_sizes_and_indices() -> None:
    for size in range(1, LARGEST + 1):
        hashes, root = HASHES[:size], defined_root(0, size)
        for index in range(size):
            path = defined_path(index, 0, size)
            assert merkle.inclusion_proof(hashes, index) == path
            assert merkle.verify_inclusion(hashes[index], index, size, path, root)


def test_consistency_proofs_of_all_sizes() -> None:
    for size in range(1, LARGEST + 1):
        hashes, root = HASHES[:size], defined_root(0, size)
        for old in range(1, size + 1):
            proof = defined_subproof(old, 0, size, True)
            assert merkle.consistency_proof(hashes, old) == proof
            assert merkle.verify_consistency(old, size, defined_root(0, old), root, proof)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 8, 9, 16, 21, 33])
def test_no_altered_inclusion_proof_verifies(size: int) -> None:
    root = defined_root(0, size)
    for index in range(size):
        leaf, path = HASHES[index], defined_path(index, 0, size)
        assert not merkle.verify_inclusion(flipped(leaf), index, size, path, root)
        assert not merkle.verify_inclusion(leaf, index, size, path, flipped(root))
        for other in range(-1, size + 2):
            assert merkle.verify_inclusion(leaf, other, size, path, root) == (other == index)
        for place, node in enumerate(path):
            altered = [*path[:place], flipped(node), *path[place + 1 :]]
            assert not merkle.verify_inclusion(leaf, index, size, altered, root)
            shorter = path[:place] + path[place + 1 :]
            assert not merkle.verify_inclusion(leaf, index, size, shorter, root)
        for place in range(len(path) + 1):
            longer = [*path[:place], HASHES[0], *path[place:]]
            assert not merkle.verify_inclusion(leaf, index, size, longer, root)


@pytest.mark.parametrize("size", [2, 3, 4, 5, 7, 8, 9, 16, 21, 33])
def test_no_altered_consistency_proof_verifies(size: int) -> None:
    new_root = defined_root(0, size)
    for old in range(1, size):
        proof, old_root = defined_subproof(old, 0, size, True), defined_root(0, old)
        assert not merkle.verify_consistency(old, size, flipped(old_root), new_root, proof)
        assert not merkle.verify_consistency(old, size, old_root, flipped(new_root), proof)
        for place, node in enumerate(proof):
            altered = [*proof[:place], flipped(node), *proof[place + 1 :]]
            assert not merkle.verify_consistency(old, size, old_root, new_root, altered)
            shorter = proof[:place] + proof[place + 1 :]
            assert not merkle.verify_consistency(old, size, old_root, new_root, shorter)
        for place in range(len(proof) + 1):
            longer = [*proof[:place], HASHES[0], *proof[place:]]
            assert not merkle.verify_consistency(old, size, old_root, new_root, longer)


def test_a_tree_is_consistent_with_itself_by_the_empty_proof_only() -> None:
    root = defined_root(0, 5)
    assert merkle.verify_consistency(5, 5, root, root, [])
    assert not merkle.verify_consistency(5, 5, root, root, [root])
    assert not merkle.verify_consistency(5, 5, flipped(root), root, [])


@pytest.mark.parametrize(("old", "new"), [(0, 4), (5, 4), (-1, 4), (0, 0)])
def test_sizes_that_prove_nothing(old: int, new: int) -> None:
    root = merkle.EMPTY_ROOT
    assert not merkle.verify_consistency(old, new, root, root, [])


def test_rewritten_history_has_no_consistency_proof() -> None:
    changed = [merkle.leaf_hash(b"another"), *HASHES[1:9]]
    proof = merkle.consistency_proof(changed, 5)
    new_root = merkle.merkle_root([b"another", *LEAVES[1:9]])
    assert not merkle.verify_consistency(5, 9, defined_root(0, 5), new_root, proof)


def test_an_inner_node_is_no_leaf() -> None:
    """Without the two prefixes, the concatenation of two hashes would be a leaf."""
    pretender = HASHES[0] + HASHES[1]
    assert merkle.merkle_root([pretender]) != defined_root(0, 2)
    assert not merkle.verify_inclusion(merkle.leaf_hash(pretender), 0, 1, [], defined_root(0, 2))


@pytest.mark.parametrize(("size", "index"), [(0, 0), (3, 3), (3, -1)])
def test_no_inclusion_proof_of_what_is_not_there(size: int, index: int) -> None:
    with pytest.raises(IndexError):
        merkle.inclusion_proof(HASHES[:size], index)


@pytest.mark.parametrize("old_size", [0, -1, 4])
def test_no_consistency_proof_from_other_sizes(old_size: int) -> None:
    with pytest.raises(ValueError, match="no consistency proof"):
        merkle.consistency_proof(HASHES[:3], old_size)
