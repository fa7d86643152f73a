"""Growing a log's tiles on the disk.

What the last checkpoint names is never written again, and everything is synced together before the
next one.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from safety_receipts.receipts.errors import FileAccessError, IntegrityError
from safety_receipts.receipts.io.files import sync
from safety_receipts.receipts.log.formats.checkpoint import LogCheckpoint
from safety_receipts.receipts.log.formats.tiles import (
    HASH_BYTES,
    MAX_TILE_BYTES,
    TILE_WIDTH,
    bundle_name,
    pack_entries,
    read_entries,
    read_tile,
    root_of_tiles,
    tile_name,
    tile_root,
)
from safety_receipts.receipts.log.sources import FolderSource
from safety_receipts.receipts.merkle import leaf_hash


class TileAppender:
    """Grows the tiles of a log; what is full is written at once, the rest at the end.

    What is there has to have the root of the checkpoint: else a damaged tile would go into the next
    one, which everybody would take for a second view.
    """

    def __init__(self, folder: Path, source: FolderSource, checkpoint: LogCheckpoint) -> None:
        self._folder = folder
        size = checkpoint.size
        self.size = self._old = size
        self._levels: list[bytearray] = []
        """Hashes of the last, partial tile of each level."""
        self._entries = read_entries(source, *divmod(size, TILE_WIDTH)) if size % TILE_WIDTH else []
        self._files: list[Path] = []
        self._folders: set[Path] = set()
        level = 0
        while (hashes := size >> (8 * level)) > 0:
            index, width = divmod(hashes, TILE_WIDTH)
            tile = read_tile(source, level, index, width) if width else b""
            self._levels.append(bytearray(tile))
            level += 1
        last = b"".join(map(leaf_hash, self._entries))
        if self.root() != checkpoint.root or (self._levels and last != self._levels[0]):
            raise IntegrityError(
                "the last tiles do not have the root of the checkpoint",
                file=folder,
                hint="get them from a copy; receipts log verify says what is damaged",
            )

    def append(self, items: Sequence[tuple[bytes, bytes]]) -> None:
        """Add entries with their leaf hashes."""
        start = 0
        while start < len(items):
            some = items[start : start + TILE_WIDTH - len(self._entries)]
            self._entries += [entry for _, entry in some]
            start += len(some)
            self.size += len(some)
            if len(self._entries) == TILE_WIDTH:
                self._write(bundle_name(self.size // TILE_WIDTH - 1), pack_entries(self._entries))
                self._entries = []
            self._push(0, b"".join([digest for digest, _ in some]))
        if self._entries:
            name = bundle_name(self.size // TILE_WIDTH, len(self._entries))
            self._write(name, pack_entries(self._entries))
        for level, tile in enumerate(self._levels):
            # What the last checkpoint names is never written again: a kill would leave half of it.
            if tile and self.size >> (8 * level) != self._old >> (8 * level):
                index = (self.size >> (8 * level)) // TILE_WIDTH
                self._write(tile_name(level, index, len(tile) // HASH_BYTES), bytes(tile))

    def _push(self, level: int, digests: bytes) -> None:
        """Add hashes to the last tile of a level, which has room for them."""
        if level == len(self._levels):
            self._levels.append(bytearray())
        tile = self._levels[level]
        tile += digests
        if len(tile) == MAX_TILE_BYTES:
            self._write(tile_name(level, (self.size >> (8 * (level + 1))) - 1), bytes(tile))
            self._levels[level] = bytearray()
            self._push(level + 1, tile_root(bytes(tile)))

    def root(self) -> bytes:
        """Return the root of the tree with the new entries."""
        return root_of_tiles(self._levels)

    def _write(self, name: str, data: bytes) -> None:
        path = self._folder / name
        try:
            if path.parent not in self._folders:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._folders |= {path.parent, *path.parent.parents}
            with path.open("wb") as stream:
                stream.write(data)
        except OSError as error:
            raise FileAccessError.from_os(error, "write", path) from None
        self._files.append(path)

    def sync(self) -> None:
        """Have all that was written survive a power cut: files, and then their names.

        Together at the end, as a file system writes many files at once for what one costs.

        Raises:
            FileAccessError: Something cannot be written.
        """
        inside = [one for one in self._folders if one.is_relative_to(self._folder)]
        for path in (*self._files, *inside):
            try:
                sync(path)
            except OSError as error:
                raise FileAccessError.from_os(error, "write", path) from None

    def remove_partial(self) -> None:
        """Remove partial tiles whose full ones are there; whoever needs one takes the full one."""
        level = 0
        while (old := self._old >> (8 * level)) > 0:
            index, now = old // TILE_WIDTH, self.size >> (8 * level)
            if now >= (index + 1) * TILE_WIDTH:
                names = [tile_name(level, index)] + ([bundle_name(index)] if level == 0 else [])
                for name in names:
                    folder = self._folder / f"{name}.p"
                    with suppress(OSError):
                        for path in folder.iterdir():
                            path.unlink()
                        folder.rmdir()
            level += 1
