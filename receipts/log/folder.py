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

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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
from safety_receipts.receipts.log.appending import TileAppender
from safety_receipts.receipts.log.formats.checkpoint import LogCheckpoint, SignedCheckpoint
from safety_receipts.receipts.log.formats.note import (
    MAX_NOTE_BYTES,
    NoteKey,
    NoteSignature,
    SignatureKind,
    SignedNote,
    is_key_name,
)
from safety_receipts.receipts.log.formats.proof import LogProof
from safety_receipts.receipts.log.formats.tiles import (
    CHECKPOINT,
    MAX_ENTRY_BYTES,
    TileTree,
)
from safety_receipts.receipts.log.sources import FolderSource
from safety_receipts.receipts.log.survey import find_leaves
from safety_receipts.receipts.merkle import EMPTY_ROOT, leaf_hash

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

    def sign(self, checkpoint: LogCheckpoint) -> SignedCheckpoint:
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
    try:
        taken = folder.is_symlink() or (
            folder.exists() and not (folder.is_dir() and not any(folder.iterdir()))
        )
        if taken:
            raise FileAccessError("already exists", file=folder, hint="name a new folder")
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileAccessError.from_os(error, "create", folder) from None
    signed = signer.sign(LogCheckpoint(signer.origin, 0, EMPTY_ROOT))
    with lock_file(folder / _LOCK, "log"):
        if (folder / CHECKPOINT).exists():
            raise FileAccessError("already exists", file=folder, hint="name a new folder")
        atomic_write(folder / CHECKPOINT, signed.note.to_bytes())


def read_checkpoint(folder: Path) -> SignedCheckpoint:
    """Return the newest checkpoint of a log; no signature is verified.

    Raises:
        FileAccessError: There is none.
        MalformedError: It is none.
    """
    path = folder / CHECKPOINT
    try:
        there = path.is_symlink() or path.exists()
    except OSError as error:  # a name that is too long, among others
        raise FileAccessError.from_os(error, "open", folder) from None
    if not there:
        raise FileAccessError(
            "is no log: it holds no checkpoint", file=folder, hint="receipts log init makes one"
        )
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
        self.source = FolderSource(folder)
        """Its files."""
        self.signed = self._read()

    def _read(self) -> SignedCheckpoint:
        signed = read_checkpoint(self.folder)
        path = self.folder / CHECKPOINT
        if self._key is None:
            return signed
        if signed.checkpoint.origin != self._key.name:
            raise IntegrityError(f"is of the log {signed.checkpoint.origin}", file=path)
        if not signed.checkpoint.is_possible:
            raise IntegrityError("is of no tree: no entries have one root alone", file=path)
        if not signed.note.signed_by([self._key]):
            # Far more often the key is another one than the log is damaged.
            raise UsageError(
                "is not signed with this key", file=path, hint="give --key the log's own key"
            )
        return signed

    def refresh(self) -> bool:
        """Read the newest checkpoint again; say whether it is another.

        Raises:
            FileAccessError, MalformedError, IntegrityError: As when the log is opened.
        """
        before = self.signed.checkpoint
        self.signed = self._read()
        return self.signed.checkpoint != before

    @property
    def size(self) -> int:
        """How many entries the newest checkpoint has."""
        return self.signed.checkpoint.size

    def tree(self) -> TileTree:
        """Return the tree of the newest checkpoint."""
        return TileTree(self.source, self.size)

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
            hashes = list(map(leaf_hash, leaves))
            known = find_leaves(self.source, self.size, set(hashes))
            pairs = zip(hashes, leaves, strict=True)
            fresh = {digest: leaf for digest, leaf in pairs if digest not in known}
            known |= zip(fresh, range(self.size, self.size + len(fresh)), strict=True)
            items = list(fresh.items())
            for start in range(0, len(items), _BATCH):
                self._append(items[start : start + _BATCH], signer)
                if progress is not None:
                    progress(min(start + _BATCH, len(items)), len(items))
        return Added(tuple(known[digest] for digest in hashes), len(fresh))

    def _append(self, items: Sequence[tuple[bytes, bytes]], signer: LogSigner) -> None:
        """Write new entries, then the tiles, then the checkpoint."""
        writer = TileAppender(self.folder, self.source, self.signed.checkpoint)
        writer.append(items)
        checkpoint = LogCheckpoint(signer.origin, writer.size, writer.root())
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
        return find_leaves(self.source, self.size, {digest}).get(digest)

    def prove(self, index: int) -> LogProof:
        """Return the proof of an entry, from the tiles that it needs alone.

        Raises:
            IndexError: There is no such entry.
            IntegrityError, FileAccessError: A tile is damaged or cannot be read.
        """
        return LogProof(index, tuple(self.tree().inclusion(index)), self.signed)
