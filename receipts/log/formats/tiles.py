"""The tree of a log as tiles: where hashes lie, and proofs from the few tiles that they need.

Source: https://c2sp.org/tlog-tiles.  A tile holds up to 256 hashes of one level; each hash of a
level above is that of a full tile below.  Trees are those of RFC 6962.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from hashlib import sha256
from typing import Final, Protocol

from safety_receipts.receipts.errors import IntegrityError
from safety_receipts.receipts.merkle import EMPTY_ROOT, node_hash

TILE_HEIGHT: Final = 8
"""Levels of the tree in one level of tiles."""
TILE_WIDTH: Final = 256
"""Hashes of a full tile."""
HASH_BYTES: Final = 32
MAX_ENTRY_BYTES: Final = 65_535
"""Longest entry."""
MAX_TILE_BYTES: Final = TILE_WIDTH * HASH_BYTES
MAX_BUNDLE_BYTES: Final = TILE_WIDTH * (2 + MAX_ENTRY_BYTES)
CHECKPOINT: Final = "checkpoint"
"""Name of a log's newest checkpoint."""
_KEPT: Final = 512
"""Tiles that are kept in memory: 4 MB."""


class TileSource(Protocol):
    """Where the files of a log come from: a folder, or a web server."""

    def read(self, name: str, limit: int) -> bytes | None:
        """Return a file of at most ``limit`` bytes; None: there is none."""


def tile_name(level: int, index: int, width: int = TILE_WIDTH) -> str:
    """Return the name of a tile: ``tile/0/x001/x234/067``, ``tile/1/000.p/17``.

    Args:
        level: Level of tiles, from 0.
        index: Place within the level, from 0.
        width: Hashes in it, 1 to 256.
    """
    return f"tile/{level}/{_place(index, width)}"


def bundle_name(index: int, width: int = TILE_WIDTH) -> str:
    """Return the name of a bundle of entries: ``tile/entries/000.p/5``."""
    return f"tile/entries/{_place(index, width)}"


def _place(index: int, width: int) -> str:
    groups = [f"{index % 1000:03}"]
    while index := index // 1000:
        groups.append(f"x{index % 1000:03}")
    partial = "" if width == TILE_WIDTH else f".p/{width}"
    return "/".join(reversed(groups)) + partial


def widths(size: int) -> Iterator[tuple[int, int, int]]:
    """Yield for each level of tiles its number, its full tiles, and the width of the partial one.

    Args:
        size: Entries of the tree.
    """
    level, hashes = 0, size
    while hashes:
        yield level, hashes // TILE_WIDTH, hashes % TILE_WIDTH
        level, hashes = level + 1, hashes // TILE_WIDTH


def pack_entries(entries: list[bytes]) -> bytes:
    """Return entries as a bundle: each after its length, 16 bits."""
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)


def unpack_entries(bundle: bytes, name: str) -> list[bytes]:
    """Return the entries of a bundle.

    Raises:
        IntegrityError: Its lengths do not fit.
    """
    found, at = [], 0
    while at < len(bundle):
        length = int.from_bytes(bundle[at : at + 2], "big")
        entry = bundle[at + 2 : at + 2 + length]
        if at + 2 > len(bundle) or len(entry) != length:
            raise IntegrityError("is cut within an entry", file=name)
        found.append(entry)
        at += 2 + length
    return found


class TileTree:
    """The tree of a log at one size; tiles are read when they are needed, and kept.

    Args:
        source: Where the tiles are.
        size: Entries of the tree.
    """

    def __init__(self, source: TileSource, size: int) -> None:
        self._source = source
        self.size = size
        self._tile = lru_cache(_KEPT)(self._read_tile)

    def root(self) -> bytes:
        """Return the root, 32 bytes.

        Raises:
            IntegrityError: A tile is missing, or has another length than it should.
            FileAccessError: A tile cannot be read.
        """
        return self._range(0, self.size)

    def leaf(self, index: int) -> bytes:
        """Return the hash of an entry; errors as of :meth:`root`."""
        return self._node(0, index)

    def inclusion(self, index: int) -> list[bytes]:
        """Return the audit path of an entry, from the leaf upward (RFC 6962, section 2.1.1).

        Raises:
            IndexError: There is no such entry.
            IntegrityError, FileAccessError: As :meth:`root`.
        """
        if not 0 <= index < self.size:
            raise IndexError(f"entry {index} is not in a log of {self.size}")
        path: list[bytes] = []
        start, stop = 0, self.size
        while stop - start > 1:
            middle = start + _split(stop - start)
            if index < middle:
                path.append(self._range(middle, stop))
                stop = middle
            else:
                path.append(self._range(start, middle))
                start = middle
        return path[::-1]

    def consistency(self, old: int) -> list[bytes]:
        """Return the proof that the first ``old`` entries are unchanged (section 2.1.2).

        Raises:
            ValueError: ``old`` is not from 1 to the size.
            IntegrityError, FileAccessError: As :meth:`root`.
        """
        if not 0 < old <= self.size:
            raise ValueError(f"no consistency proof from size {old} to {self.size}")
        proof: list[bytes] = []
        start, stop, whole = 0, self.size, True
        while (size := old - start) != stop - start:
            middle = start + _split(stop - start)
            if size <= middle - start:
                proof.append(self._range(middle, stop))
                stop = middle
            else:
                proof.append(self._range(start, middle))
                start, whole = middle, False
        return (proof if whole else [*proof, self._range(start, stop)])[::-1]

    def _range(self, start: int, stop: int) -> bytes:
        """Return the hash of entries; ``start`` is a multiple of the power of two above them."""
        size = stop - start
        if size == 0:
            return EMPTY_ROOT
        if size & (size - 1) == 0:
            height = size.bit_length() - 1
            return self._node(height, start >> height)
        middle = start + _split(size)
        return node_hash(self._range(start, middle), self._range(middle, stop))

    def _node(self, height: int, index: int) -> bytes:
        """Return the hash of a whole subtree of 2^height entries."""
        level, below = divmod(height, TILE_HEIGHT)
        first = index << below
        tile = self._tile(level, first // TILE_WIDTH)
        place = first % TILE_WIDTH * HASH_BYTES
        return tile_root(tile[place : place + (HASH_BYTES << below)])

    def _read_tile(self, level: int, index: int) -> bytes:
        hashes = (self.size >> (TILE_HEIGHT * level)) - index * TILE_WIDTH
        width = min(TILE_WIDTH, hashes)
        return read_tile(self._source, level, index, width)


def tile_root(tile: bytes) -> bytes:
    """Return the root of a tile whose width is a power of two."""
    # Two hashes side by side are what their parent is the hash of: nothing is cut and joined.
    while len(tile) > HASH_BYTES:
        pairs = range(0, len(tile), 2 * HASH_BYTES)
        tile = b"".join([sha256(b"\x01" + tile[at : at + 2 * HASH_BYTES]).digest() for at in pairs])
    return tile


def root_of_tiles(levels: Sequence[bytes | bytearray]) -> bytes:
    """Return the root of a tree from the last, partial tile of each of its levels.

    Args:
        levels: Hashes of these tiles, level 0 first; empty where all tiles of a level are full.
    """
    peaks: list[bytes] = []  # roots of the complete subtrees, largest first
    for tile in reversed(levels):
        at = 0
        while (left := (len(tile) - at) // HASH_BYTES) > 0:
            width = HASH_BYTES << (left.bit_length() - 1)
            peaks.append(tile_root(bytes(tile[at : at + width])))
            at += width
    if not peaks:
        return EMPTY_ROOT
    node = peaks[-1]
    for peak in reversed(peaks[:-1]):
        node = node_hash(peak, node)
    return node


def read_tile(source: TileSource, level: int, index: int, width: int) -> bytes:
    """Return the hashes of a tile; in the place of a partial one that is gone, of the full one.

    Raises:
        IntegrityError: It is missing, or has another length than it should.
        FileAccessError: It cannot be read.
    """
    name = tile_name(level, index, width)
    data = source.read(name, MAX_TILE_BYTES)
    if data is None and width < TILE_WIDTH:
        name = tile_name(level, index)
        data = source.read(name, MAX_TILE_BYTES)
        data = None if data is None or len(data) != MAX_TILE_BYTES else data[: width * HASH_BYTES]
    if data is None:
        raise IntegrityError("is missing in the log", file=name)
    if len(data) != width * HASH_BYTES:
        raise IntegrityError(f"has {len(data):,} bytes, and not {width * HASH_BYTES:,}", file=name)
    return data


def read_entries(source: TileSource, index: int, width: int) -> list[bytes]:
    """Return the entries of a bundle, as :func:`read_tile` does the hashes of a tile.

    Raises:
        IntegrityError: It is missing, or does not hold so many entries.
        FileAccessError: It cannot be read.
    """
    name = bundle_name(index, width)
    data = source.read(name, MAX_BUNDLE_BYTES)
    if data is None and width < TILE_WIDTH:
        name = bundle_name(index)
        data = source.read(name, MAX_BUNDLE_BYTES)
        if data is not None:
            return unpack_entries(data, name)[:width]
    if data is None:
        raise IntegrityError("is missing in the log", file=name)
    entries = unpack_entries(data, name)
    if len(entries) != width:
        raise IntegrityError(f"has {len(entries):,} entries, and not {width:,}", file=name)
    return entries


def _split(size: int) -> int:
    """Largest power of two smaller than ``size``."""
    return 1 << ((size - 1).bit_length() - 1)
