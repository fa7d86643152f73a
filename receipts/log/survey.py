"""Reading a whole log: is every hash that of its entries, and what is in it?

Memory does not grow with the log: a tile of each level is held, and one bundle of entries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass
from struct import Struct
from typing import Final

from safety_receipts.receipts.errors import FileAccessError, IntegrityError
from safety_receipts.receipts.log.formats.checkpoint import SignedCheckpoint
from safety_receipts.receipts.log.formats.entry import EntryKind, LogEntry
from safety_receipts.receipts.log.formats.note import MAX_NOTE_BYTES
from safety_receipts.receipts.log.formats.tiles import (
    CHECKPOINT,
    HASH_BYTES,
    TILE_WIDTH,
    TileSource,
    TileTree,
    read_entries,
    read_tile,
    tile_name,
    tile_root,
)
from safety_receipts.receipts.merkle import RootAccumulator, leaf_hash, verify_consistency

_TILE: Final = Struct(f"{HASH_BYTES}s" * TILE_WIDTH)


@dataclass(frozen=True)
class FoundEntry:
    """An entry of a log."""

    index: int
    """Its place."""
    entry: LogEntry
    """What it says."""


def newest_checkpoint(source: TileSource) -> SignedCheckpoint:
    """Return the newest checkpoint of a log; no signature is verified.

    Raises:
        FileAccessError: There is none, or it cannot be read.
        MalformedError: It is none.
    """
    data = source.read(CHECKPOINT, MAX_NOTE_BYTES)
    if data is None:
        raise FileAccessError("is not there: this is no log", file=CHECKPOINT)
    return SignedCheckpoint.parse(data, file=CHECKPOINT)


def find_leaves(source: TileSource, size: int, wanted: Set[bytes]) -> dict[bytes, int]:
    """Return the first place of each hash that is among the leaves of a log.

    Tiles of hashes are read up to where the last one is found, and no entry: 32 MB of a million.

    Args:
        source: The log.
        size: How many entries it has.
        wanted: Hashes of leaves, 32 bytes each.

    Raises:
        IntegrityError: A tile is missing, or has another length than it should.
        FileAccessError: One cannot be read.
    """
    found: dict[bytes, int] = {}
    for index in range(-(-size // TILE_WIDTH)):
        if len(found) == len(wanted):
            break
        width = min(TILE_WIDTH, size - index * TILE_WIDTH)
        form = _TILE if width == TILE_WIDTH else Struct(f"{HASH_BYTES}s" * width)
        hashes = form.unpack(read_tile(source, 0, index, width))
        if wanted.isdisjoint(hashes):  # of nearly every tile
            continue
        for place, digest in enumerate(hashes):
            if digest in wanted:
                found.setdefault(digest, index * TILE_WIDTH + place)
    return found


def entries_of(
    source: TileSource, size: int, progress: Callable[[int, int], None] | None = None
) -> Iterator[bytes]:
    """Yield the entries of a log in order, each held to its leaf hash.

    Args:
        source: The log.
        size: How many there are.
        progress: Told how many are done, and of how many.

    Raises:
        IntegrityError: A tile or a bundle is missing, or an entry has another hash than its leaf.
        FileAccessError: One cannot be read.
    """
    for index in range(-(-size // TILE_WIDTH)):
        width = min(TILE_WIDTH, size - index * TILE_WIDTH)
        tile = read_tile(source, 0, index, width)
        for place, entry in enumerate(read_entries(source, index, width)):
            if leaf_hash(entry) != tile[place * HASH_BYTES : (place + 1) * HASH_BYTES]:
                number = index * TILE_WIDTH + place
                raise IntegrityError(f"entry {number:,} has another hash", file=tile_name(0, index))
            yield entry
        if progress is not None:
            progress(index * TILE_WIDTH + width, size)


def searched(
    source: TileSource,
    signed: SignedCheckpoint,
    checkpoint: str,
    *,
    keyid: str | None = None,
    receipt: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[FoundEntry]:
    """Yield the plans and receipts of a model's checkpoint, and audits of these receipts, in order.

    Args:
        source: The log.
        signed: Its checkpoint: the entries have to have its root.
        checkpoint: Root of the model's checkpoint, 64 hex digits.
        keyid: Only plans and receipts that name this key; None: any.
        receipt: Digest of a receipt whose audits are wanted wherever the receipt itself stands;
            None: of those found alone, from their place on.
        progress: Told how many entries are done, and of how many.

    Raises:
        IntegrityError: After the last one, too: the entries are not those of the checkpoint.
        FileAccessError: A file cannot be read.
    """
    whole = RootAccumulator()
    receipts = set() if receipt is None else {receipt}
    for index, leaf in enumerate(entries_of(source, signed.checkpoint.size, progress)):
        whole.append(leaf)
        entry = LogEntry.parse(leaf)
        if entry is None:
            continue
        mine = entry.checkpoint == checkpoint and keyid in (None, entry.keyid)
        if mine and entry.type is EntryKind.RECEIPT:
            receipts.add(entry.digest)
        if mine or entry.receipt in receipts:
            yield FoundEntry(index, entry)
    if whole.root() != signed.checkpoint.root:
        raise IntegrityError("the entries do not have the root of the checkpoint")


def check_log(
    source: TileSource,
    signed: SignedCheckpoint,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Hash every entry and every tile of a log again, up to a checkpoint.

    Args:
        source: The log.
        signed: The checkpoint; its signature is for who calls to verify.
        progress: Told how many entries are done, and of how many.

    Raises:
        IntegrityError: Something is missing, or does not have the hash that it should.
        FileAccessError: A file cannot be read.
    """
    size = signed.checkpoint.size
    whole = RootAccumulator()
    for entry in entries_of(source, size, progress):
        whole.append(entry)
    if whole.root() != signed.checkpoint.root:
        raise IntegrityError("the entries do not have the root of the checkpoint")
    _check_levels(source, size)


def _check_levels(source: TileSource, size: int) -> None:
    """Hold each hash of an upper level of tiles to the tile below it."""
    level, below = 1, size
    while full := below // TILE_WIDTH:
        for index in range(-(-full // TILE_WIDTH)):
            width = min(TILE_WIDTH, full - index * TILE_WIDTH)
            tile = read_tile(source, level, index, width)
            for place in range(width):
                child = read_tile(source, level - 1, index * TILE_WIDTH + place, TILE_WIDTH)
                if tile_root(child) != tile[place * HASH_BYTES : (place + 1) * HASH_BYTES]:
                    raise IntegrityError(
                        f"hash {place} is not that of the tile below",
                        file=tile_name(level, index, width),
                    )
        level, below = level + 1, full


def check_growth(source: TileSource, old: SignedCheckpoint, new: SignedCheckpoint) -> None:
    """Hold a log to an earlier checkpoint of it: nothing of what was there may have changed.

    Args:
        source: The log.
        old: The earlier checkpoint.
        new: The newest one.

    Raises:
        IntegrityError: They are of two logs, or the log was rewritten.
        FileAccessError: A tile cannot be read.
    """
    before, after = old.checkpoint, new.checkpoint
    if before.origin != after.origin:
        raise IntegrityError(f"the earlier checkpoint is of another log, {before.origin}")
    if before.size > after.size:
        raise IntegrityError(
            f"the log has {after.size:,} entries, and had {before.size:,}: it was cut"
        )
    if before.size == 0:
        return
    proof = TileTree(source, after.size).consistency(before.size)
    if not verify_consistency(before.size, after.size, before.root, after.root, proof):
        raise IntegrityError(
            f"the first {before.size:,} entries are not those of the earlier checkpoint: the log "
            "was rewritten, or shows two views"
        )
