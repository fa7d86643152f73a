"""Bounded reads and atomic writes."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BufferedWriter, FileIO
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from safety_receipts.receipts.errors import FileAccessError, MalformedError
from safety_receipts.receipts.io.temporary import claim_file, claim_folder

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


@contextmanager
def open_regular(path: Path) -> Iterator[BinaryIO]:
    """Open a regular file for reading.

    A bundle comes from outside: a symbolic link in it could name any file of the reader's,
    and a pipe or device could block or never end.  Both are refused.

    Raises:
        FileAccessError: The file is missing, unreadable, a link or not a regular file.
    """
    # O_NONBLOCK: opening a pipe must not wait for a writer.  It means nothing to regular files.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise FileAccessError(
                "is a symbolic link", file=path, hint="replace it with the file it points to"
            ) from None
        raise FileAccessError.from_os(error, "open", path) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileAccessError("is not a regular file", file=path)
    with os.fdopen(descriptor, "rb") as stream:
        yield stream


def make_private(path: Path) -> None:
    """Let nobody but its owner read or write a file, whatever was allowed before.

    Where the file system knows no owners, or it is another's, it stays as it is.

    Raises:
        FileAccessError: As :func:`open_regular`.
    """
    try:
        status = path.lstat()
    except OSError as error:
        raise FileAccessError.from_os(error, "open", path) from None
    if stat.S_ISREG(status.st_mode) and not stat.S_IMODE(status.st_mode) & 0o077:
        return  # unopened: to close a file drops the locks that SQLite holds on it (POSIX)
    with open_regular(path) as stream, suppress(PermissionError):
        os.fchmod(stream.fileno(), 0o600)


def read_bounded(path: Path, limit: int) -> bytes:
    """Return the whole content of a regular file of at most ``limit`` bytes.

    Raises:
        FileAccessError: As :func:`open_regular`.
        MalformedError: The file is longer.
    """
    with open_regular(path) as stream:
        try:
            data = stream.read(limit + 1)
        except OSError as error:
            raise FileAccessError.from_os(error, "read", path) from None
    return _bounded(data, path, limit)


def read_own_file(path: Path, limit: int) -> bytes:
    """Return the content of a file that the user names: a key, a proof.

    Unlike the files inside a bundle it may be a link or a pipe, as mounted secrets and shell
    substitutions are.

    Raises:
        FileAccessError: The file cannot be read.
        MalformedError: It is longer than ``limit`` bytes.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(limit + 1)
    except OSError as error:
        raise FileAccessError.from_os(error, "read", path) from None
    return _bounded(data, path, limit)


def _bounded(data: bytes, path: Path, limit: int) -> bytes:
    if len(data) > limit:
        raise MalformedError(f"longer than the {limit:,} bytes allowed here", file=path)
    return data


@contextmanager
def atomic_writer(
    path: Path, *, mode: int = 0o644, check: Callable[[Path], None] | None = None
) -> Iterator[BinaryIO]:
    """Write a file that appears whole or not at all.

    The bytes go to a temporary file in the same folder, reach the disk (fsync), and are
    renamed over ``path``; then the folder itself is synced, so that the name survives a
    power cut too.  On any exception the temporary file is removed and ``path`` is untouched;
    one that a kill leaves is removed by whoever writes ``path`` next.

    Args:
        path: Where the file will be.
        mode: Permission bits, subject to the umask.
        check: Reads the temporary file when all is written; what it raises leaves ``path``
            untouched.  None: nobody does.

    Raises:
        FileAccessError: The folder cannot be written to, or the disk is full.
    """
    _check_name(path)
    try:
        temporary, descriptor = claim_file(path, mode)
    except OSError as error:
        raise FileAccessError.from_os(error, "write", path) from None
    try:
        with BufferedWriter(_Named(descriptor, path)) as stream:
            yield stream
            stream.flush()
            os.fsync(descriptor)
            if check is not None:
                check(temporary)
            temporary.replace(path)  # before it is closed, which ends its lock
        sync_folder(path.parent)
    except OSError as error:
        raise FileAccessError.from_os(error, "write", path) from None
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


class _Named(FileIO):
    """A file that is written to, and whose errors name what it will become.

    Whoever writes several files at once, one around the other, could not tell which was full.
    """

    def __init__(self, descriptor: int, path: Path) -> None:
        super().__init__(descriptor, "wb")
        self._path = path

    def write(self, data: ReadableBuffer, /) -> int:
        """Write bytes; FileAccessError where they cannot be."""
        try:
            return super().write(data)
        except OSError as error:
            raise FileAccessError.from_os(error, "write", self._path) from None


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Fill a folder that appears whole or not at all.

    Yields:
        A temporary folder in the same place, which gets its name when the block ends; on any
        exception it is removed, and one that a kill leaves by whoever makes ``path`` next.

    Raises:
        FileAccessError: It cannot be made, or there is something of its name.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary, descriptor = claim_folder(path)
    except OSError as error:
        raise FileAccessError.from_os(error, "write", path) from None
    try:
        yield temporary
        sync_folder(temporary)
        temporary.rename(path)
        sync_folder(path.parent)
    except OSError as error:
        raise FileAccessError.from_os(error, "write", path) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        os.close(descriptor)


def atomic_write(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Write ``data`` to ``path`` as :func:`atomic_writer` does."""
    with atomic_writer(path, mode=mode) as stream:
        stream.write(data)


def create_exclusive(path: Path, data: bytes, *, mode: int) -> None:
    """Create ``path`` with ``data``; never replace an existing file.

    Raises:
        FileAccessError: The file exists, or cannot be written (nothing is left behind).
    """
    _check_name(path)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    except OSError as error:
        hint = "name another, or move it away" if isinstance(error, FileExistsError) else None
        raise FileAccessError.from_os(error, "create", path, hint) from None
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(descriptor)
        sync_folder(path.parent)
    except BaseException as error:  # an interrupt too: half a key must not stay
        path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise FileAccessError.from_os(error, "write", path) from None
        raise


def _check_name(path: Path) -> None:
    if not path.name or path.is_dir():  # "." and "/" have no name to write a file under
        raise FileAccessError("is a folder", file=path, hint="name a file")


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut."""
    sync(folder, os.O_DIRECTORY)


def sync(path: Path, flags: int = 0) -> None:
    """Make what was written to a file survive a power cut, or the names in a folder."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
