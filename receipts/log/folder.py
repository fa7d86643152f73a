"""A log in a folder, as its one writer sees it.

::

    checkpoint                    the newest one, signed
    tile/0/000, tile/1/000.p/3    hashes
    tile/entries/000              entries
    .lock                         held by whoever writes

Entries and tiles reach the disk before the checkpoint that names them, which appears at once or not
at all: a kill at any moment leaves a log that goes on, without anything that was acknowledged lost.
What a killed writer left beyond the checkpoint nobody was told of, and the next one writes over.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from safety_receipts.receipts.errors import (
    FileAccessError,
    IntegrityError,
    KeyFileError,
    UsageError,
)
from safety_receipts.receipts.io.files import atomic_write, read_bounded
from safety_receipts.receipts.io.locks import lock_file
from safety_receipts.receipts.keys import Signer
from safety_receipts.receipts.log.checkpoint import Checkpoint, SignedCheckpoint
from safety_receipts.receipts.log.note import (
    MAX_NOTE_BYTES,
    NoteKey,
    NoteSignature,
    SignatureKind,
    SignedNote,
    is_key_name,
)
from safety_receipts.receipts.log.proof import LogProof
from safety_receipts.receipts.log.sources import FolderSource
from safety_receipts.receipts.log.tiles import (
    CHECKPOINT,
    HASH_BYTES,
    MAX_ENTRY_BYTES,
    TILE_WIDTH,
    TileTree,
    bundle_name,
    pack_entries,
    read_entries,
    read_tile,
    tile_name,
    tile_root,
)
from safety_receipts.receipts.merkle import EMPTY_ROOT, leaf_hash, node_hash

_LOCK: Final = ".lock"
_BATCH: Final = 1 << 16
"""Entries that are written before a checkpoint; a million take sixteen."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class LogSigner:
    """What signs a log's checkpoints."""

    origin: str
    """The log's origin, which is the name of its key."""
    key: Ed25519PrivateKey
    """The private key."""

    @classmethod
    def of(cls, origin: str, signer: Signer, file: Path) -> LogSigner:
        """Return a key as that of a log.

        Args:
            origin: The log's origin: a URL without its scheme, as ``example.com/log``.
            signer: The key.
            file: Its file, for errors.

        Raises:
            UsageError: The origin can be no key's name.
            KeyFileError: The key is no Ed25519 key.
        """
        if not is_key_name(origin):
            raise UsageError(
                "the origin of a log is not empty, and holds no blank and no plus",
                hint="--origin example.com/log",
            )
        if not isinstance(signer.key, Ed25519PrivateKey):
            raise KeyFileError("a log is signed with an Ed25519 key", file=file)
        return cls(origin, signer.key)

    @property
    def public(self) -> NoteKey:
        """The public key."""
        material = self.key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return NoteKey(self.origin, SignatureKind.ED25519, material)

    def sign(self, checkpoint: Checkpoint) -> SignedCheckpoint:
        """Sign a checkpoint."""
        text = checkpoint.text()
        key = self.public
        line = NoteSignature(key.name, key.id, self.key.sign(text.encode("utf-8")))
        return SignedCheckpoint(SignedNote(text, (line,)), checkpoint)


@dataclass(frozen=True)
class Added:
    """What became of entries that were to be added."""

    places: tuple[int, ...]
    """Place of each in the log, in the order given."""
    new: int
    """How many were not there before."""


def init_log(folder: Path, signer: LogSigner) -> None:
    """Make an empty log in a new folder.

    Raises:
        FileAccessError: There is something of its name, or it cannot be made.
    """
    if folder.is_symlink() or (folder.exists() and any(folder.iterdir())):
        raise FileAccessError("already exists", file=folder, hint="name a new folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileAccessError.from_os(error, "create", folder) from None
    signed = signer.sign(Checkpoint(signer.origin, 0, EMPTY_ROOT))
    atomic_write(folder / CHECKPOINT, signed.note.to_bytes())


def read_checkpoint(folder: Path) -> SignedCheckpoint:
    """Return the newest checkpoint of a log; no signature is verified.

    Raises:
        FileAccessError: There is none.
        MalformedError: It is none.
    """
    path = folder / CHECKPOINT
    return SignedCheckpoint.parse(read_bounded(path, MAX_NOTE_BYTES), file=path)


class LogFolder:
    """A log that is read, and written while it is locked.

    Args:
        folder: The folder.
        key: The log's public key; its checkpoint has to be signed by it.  None: whoever reads the
            log verifies that.

    Raises:
        FileAccessError, MalformedError: There is no checkpoint.
        IntegrityError: Its checkpoint is of another log, or not signed by the key.
    """

    def __init__(self, folder: Path, key: NoteKey | None = None) -> None:
        self.folder = folder
        self._key = key
        self._source = FolderSource(folder)
        self.signed = self._read()

    def _read(self) -> SignedCheckpoint:
        signed = read_checkpoint(self.folder)
        path = self.folder / CHECKPOINT
        if self._key is None:
            return signed
        if signed.checkpoint.origin != self._key.name:
            raise IntegrityError(f"is of the log {signed.checkpoint.origin}", file=path)
        if not signed.note.signed_by([self._key]) or not signed.checkpoint.is_possible:
            raise IntegrityError("is not signed with this key, or of no tree", file=path)
        return signed

    @property
    def size(self) -> int:
        """How many entries the newest checkpoint has."""
        return self.signed.checkpoint.size

    def tree(self) -> TileTree:
        """Return the tree of the newest checkpoint."""
        return TileTree(self._source, self.size)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Be the one writer for a block, which sees the newest checkpoint.

        Raises:
            UsageError: Another process writes; the message says which.
            FileAccessError, MalformedError, IntegrityError: As when it is opened.
        """
        with lock_file(self.folder / _LOCK, "log"):
            self.signed = self._read()
            yield

    def add(
        self, leaves: Sequence[bytes], signer: LogSigner, progress: Progress | None = None
    ) -> Added:
        """Add entries, each once; one that is there already keeps its place.

        Args:
            leaves: The entries, each of at most 65,535 bytes.
            signer: Signs the checkpoint.
            progress: Told how many are done, and of how many.

        Raises:
            UsageError: Another process writes, an entry is too long, or the key is another log's.
            FileAccessError: Something cannot be written; the log is as it was.
            IntegrityError, MalformedError: The log is damaged.
        """
        if any(len(leaf) > MAX_ENTRY_BYTES for leaf in leaves):
            raise UsageError(f"an entry is longer than {MAX_ENTRY_BYTES:,} bytes")
        if signer.public != self._key:
            raise UsageError("the key is not this log's", file=self.folder)
        with self.locked():
            hashes = [leaf_hash(leaf) for leaf in leaves]
            known = self._find(set(hashes))
            fresh: dict[bytes, bytes] = {}
            for leaf, digest in zip(leaves, hashes, strict=True):
                if digest not in known:
                    fresh.setdefault(digest, leaf)
            known |= {digest: self.size + place for place, digest in enumerate(fresh)}
            items = list(fresh.items())
            for start in range(0, len(items), _BATCH):
                self._append(items[start : start + _BATCH], signer)
                if progress is not None:
                    progress(min(start + _BATCH, len(items)), len(items))
        return Added(tuple(known[digest] for digest in hashes), len(fresh))

    def _append(self, items: Sequence[tuple[bytes, bytes]], signer: LogSigner) -> None:
        """Write new entries, then the tiles, then the checkpoint."""
        writer = _Appender(self.folder, self._source, self.size)
        writer.append(items)
        checkpoint = Checkpoint(signer.origin, writer.size, writer.root())
        writer.sync()
        signed = signer.sign(checkpoint)
        atomic_write(self.folder / CHECKPOINT, signed.note.to_bytes())
        self.signed = signed
        writer.remove_partial()

    def put_cosignatures(self, signed: SignedCheckpoint) -> bool:
        """Store the newest checkpoint with more signatures; say whether it still is the newest.

        Raises:
            UsageError: Another process writes.
            FileAccessError: It cannot be written.
        """
        with self.locked():
            if self.signed.checkpoint != signed.checkpoint:
                return False
            note = self.signed.note.with_lines(signed.note.signatures)
            atomic_write(self.folder / CHECKPOINT, note.to_bytes())
            self.signed = SignedCheckpoint(note, signed.checkpoint)
        return True

    def find(self, leaf: bytes) -> int | None:
        """Return the place of an entry; None: it is not in the log.

        Raises:
            IntegrityError, FileAccessError: A tile is damaged or cannot be read.
        """
        digest = leaf_hash(leaf)
        return self._find({digest}).get(digest)

    def prove(self, index: int) -> LogProof:
        """Return the proof of an entry, from the tiles that it needs alone.

        Raises:
            IndexError: There is no such entry.
            IntegrityError, FileAccessError: A tile is damaged or cannot be read.
        """
        return LogProof(index, tuple(self.tree().inclusion(index)), self.signed)

    def _find(self, wanted: set[bytes]) -> dict[bytes, int]:
        """Return the first place of each hash that is among the leaves, in one pass."""
        found: dict[bytes, int] = {}
        for index in range(-(-self.size // TILE_WIDTH)):
            if len(found) == len(wanted):
                break
            width = min(TILE_WIDTH, self.size - index * TILE_WIDTH)
            tile = read_tile(self._source, 0, index, width)
            for place in range(width):
                digest = tile[place * HASH_BYTES : (place + 1) * HASH_BYTES]
                if digest in wanted:
                    found.setdefault(digest, index * TILE_WIDTH + place)
        return found


class _Appender:
    """Grows the tiles of a log; what is full is written at once, the rest at the end."""

    def __init__(self, folder: Path, source: FolderSource, size: int) -> None:
        self._folder = folder
        self.size = self._old = size
        self._levels: list[bytearray] = []
        """Hashes of the last, partial tile of each level."""
        self._entries = read_entries(source, *divmod(size, TILE_WIDTH)) if size % TILE_WIDTH else []
        self._written: set[Path] = set()
        level = 0
        while (hashes := size >> (8 * level)) > 0:
            index, width = divmod(hashes, TILE_WIDTH)
            tile = read_tile(source, level, index, width) if width else b""
            self._levels.append(bytearray(tile))
            level += 1

    def append(self, items: Iterable[tuple[bytes, bytes]]) -> None:
        """Add entries with their leaf hashes."""
        for digest, entry in items:
            self._entries.append(entry)
            self._push(0, digest)
            self.size += 1
            if self.size % TILE_WIDTH == 0:
                self._write(bundle_name(self.size // TILE_WIDTH - 1), pack_entries(self._entries))
                self._entries = []
        if self._entries:
            name = bundle_name(self.size // TILE_WIDTH, len(self._entries))
            self._write(name, pack_entries(self._entries))
        for level, tile in enumerate(self._levels):
            # What the last checkpoint names is never written again: a kill would leave half of it.
            if tile and self.size >> (8 * level) != self._old >> (8 * level):
                index = (self.size >> (8 * level)) // TILE_WIDTH
                self._write(tile_name(level, index, len(tile) // HASH_BYTES), bytes(tile))

    def _push(self, level: int, digest: bytes) -> None:
        if level == len(self._levels):
            self._levels.append(bytearray())
        tile = self._levels[level]
        tile += digest
        if len(tile) == TILE_WIDTH * HASH_BYTES:
            # The entry that fills it is not counted yet at level 0.
            done = (self.size + 1) >> (8 * (level + 1))
            self._write(tile_name(level, done - 1), bytes(tile))
            self._levels[level] = bytearray()
            self._push(level + 1, tile_root(bytes(tile)))

    def root(self) -> bytes:
        """Return the root of the tree with the new entries."""
        peaks: list[bytes] = []
        for tile in reversed(self._levels):
            nodes = [bytes(tile[at : at + HASH_BYTES]) for at in range(0, len(tile), HASH_BYTES)]
            peaks += _peaks(nodes)
        if not peaks:
            return EMPTY_ROOT
        node = peaks[-1]
        for peak in reversed(peaks[:-1]):
            node = node_hash(peak, node)
        return node

    def _write(self, name: str, data: bytes) -> None:
        path = self._folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise FileAccessError.from_os(error, "write", path) from None
        self._written.add(path.parent)

    def sync(self) -> None:
        """Make the names of all that was written survive a power cut."""
        folders = {folder for path in self._written for folder in (path, *path.parents)}
        for folder in folders:
            if folder == self._folder or self._folder in folder.parents:
                descriptor = os.open(folder, os.O_RDONLY)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)

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


def _peaks(nodes: list[bytes]) -> list[bytes]:
    """Return the roots of the complete subtrees that some nodes of one level split into."""
    peaks: list[bytes] = []
    while nodes:
        width = 1 << (len(nodes).bit_length() - 1)
        peaks.append(tile_root(b"".join(nodes[:width])))
        nodes = nodes[width:]
    return peaks
