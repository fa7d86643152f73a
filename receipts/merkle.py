"""RFC 6962 Merkle trees: roots, inclusion proofs, consistency proofs.

Pure functions over leaf *hashes* (32 bytes each) and one streaming accumulator.  Section
numbers refer to RFC 6962; the verification algorithms are those of RFC 9162, sections
2.1.3.2 and 2.1.4.2, which state them more explicitly for the same tree.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

ALGORITHM = "rfc6962-sha256"
EMPTY_ROOT = hashlib.sha256(b"").digest()
"""Root of a tree without leaves (section 2.1)."""


def leaf_hash(data: bytes) -> bytes:
    """Return H(0x00 ‖ data), the hash of one leaf."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return H(0x01 ‖ left ‖ right), the hash of an inner node."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class RootAccumulator:
    """Root of a growing tree, one leaf at a time, in O(log n) memory.

    ``_peaks`` holds the roots of the complete subtrees that the leaves so far split into,
    largest first: one for each set bit of the size.
    """

    def __init__(self) -> None:
        self.size = 0
        self._peaks: list[bytes] = []

    def append(self, data: bytes) -> None:
        """Add one leaf's data (not its hash)."""
        sha256 = hashlib.sha256
        node = sha256(b"\x00" + data).digest()
        size = self.size
        peaks = self._peaks
        while size & 1:  # as in binary counting, each carry joins two equal subtrees
            node = sha256(b"\x01" + peaks.pop() + node).digest()
            size >>= 1
        peaks.append(node)
        self.size += 1

    def root(self) -> bytes:
        """Return the root over all leaves added so far, 32 bytes."""
        if not self._peaks:
            return EMPTY_ROOT
        node = self._peaks[-1]
        for peak in reversed(self._peaks[:-1]):
            node = node_hash(peak, node)
        return node


def merkle_root(leaves: Iterable[bytes]) -> bytes:
    """Return the root over ``leaves`` (data, not hashes), 32 bytes."""
    accumulator = RootAccumulator()
    for data in leaves:
        accumulator.append(data)
    return accumulator.root()


def _split(size: int) -> int:
    """Largest power of two smaller than ``size`` (section 2.1)."""
    return 1 << ((size - 1).bit_length() - 1)


def _subtree_root(hashes: Sequence[bytes], start: int, stop: int) -> bytes:
    if start == stop:
        return EMPTY_ROOT
    if stop - start == 1:
        return hashes[start]
    middle = start + _split(stop - start)
    return node_hash(_subtree_root(hashes, start, middle), _subtree_root(hashes, middle, stop))


def inclusion_proof(hashes: Sequence[bytes], index: int) -> list[bytes]:
    """Return the audit path of leaf ``index``, from the leaf upward (section 2.1.1).

    Args:
        hashes: Leaf hashes of the whole tree.
        index: 0-based place of the leaf.

    Raises:
        IndexError: ``index`` is outside the tree.
    """
    if not 0 <= index < len(hashes):
        raise IndexError(f"leaf {index} is not in a tree of {len(hashes)}")
    path: list[bytes] = []
    start, stop = 0, len(hashes)
    while stop - start > 1:
        middle = start + _split(stop - start)
        if index < middle:
            path.append(_subtree_root(hashes, middle, stop))
            stop = middle
        else:
            path.append(_subtree_root(hashes, start, middle))
            start = middle
    return path[::-1]


def verify_inclusion(
    leaf: bytes, index: int, size: int, path: Sequence[bytes], expected_root: bytes
) -> bool:
    """Say whether ``path`` proves that leaf hash ``leaf`` is number ``index`` of ``size``."""
    if not 0 <= index < size:
        return False
    position, last = index, size - 1
    node = leaf
    for sibling in path:
        if last == 0:
            return False
        if position & 1 or position == last:
            node = node_hash(sibling, node)
            while not position & 1 and position:
                position >>= 1
                last >>= 1
        else:
            node = node_hash(node, sibling)
        position >>= 1
        last >>= 1
    return last == 0 and node == expected_root


def consistency_proof(hashes: Sequence[bytes], old_size: int) -> list[bytes]:
    """Return the proof that the first ``old_size`` leaves are unchanged (section 2.1.2).

    Args:
        hashes: Leaf hashes of the newer, larger tree.
        old_size: Size of the older tree, 1 … ``len(hashes)``.

    Raises:
        ValueError: ``old_size`` is out of range.
    """
    if not 0 < old_size <= len(hashes):
        raise ValueError(f"no consistency proof from size {old_size} to {len(hashes)}")
    return _consistency(hashes, 0, len(hashes), old_size, whole=True)


def _consistency(
    hashes: Sequence[bytes], start: int, stop: int, old_size: int, *, whole: bool
) -> list[bytes]:
    size = stop - start
    if old_size == size:
        return [] if whole else [_subtree_root(hashes, start, stop)]
    middle = start + _split(size)
    if old_size <= middle - start:
        proof = _consistency(hashes, start, middle, old_size, whole=whole)
        return [*proof, _subtree_root(hashes, middle, stop)]
    proof = _consistency(hashes, middle, stop, old_size - (middle - start), whole=False)
    return [*proof, _subtree_root(hashes, start, middle)]


def verify_consistency(
    old_size: int, new_size: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]
) -> bool:
    """Say whether ``proof`` shows that the old tree is a prefix of the new one."""
    if not 0 < old_size <= new_size:
        return False
    if old_size == new_size:
        return not proof and old_root == new_root
    nodes = list(proof)
    if old_size & (old_size - 1) == 0:  # the old tree is one complete subtree of the new
        nodes.insert(0, old_root)
    if not nodes:
        return False
    position, last = old_size - 1, new_size - 1
    while position & 1:
        position >>= 1
        last >>= 1
    old_node = new_node = nodes[0]
    for sibling in nodes[1:]:
        if last == 0:
            return False
        if position & 1 or position == last:
            old_node = node_hash(sibling, old_node)
            new_node = node_hash(sibling, new_node)
            while not position & 1 and position:
                position >>= 1
                last >>= 1
        else:
            new_node = node_hash(new_node, sibling)
        position >>= 1
        last >>= 1
    return last == 0 and old_node == old_root and new_node == new_root
