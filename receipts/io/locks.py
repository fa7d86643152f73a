"""Locks between processes, which end with whoever holds them, however that ends.

They are ``flock``'s: a process that dies, killed or not, holds none, and nothing has to be cleaned
up before another can go on.
"""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from safety_receipts.receipts.errors import FileAccessError, UsageError
from safety_receipts.receipts.io.temporary import is_at
from safety_receipts.receipts.io.text import printable

_MAX_HOLDER: Final = 200
"""Longest text that says who holds a lock."""


class LockHeldError(UsageError):
    """Another process holds a lock."""


_WAIT: Final = "wait for it to end, or stop it"


@contextmanager
def lock_file(path: Path, what: str) -> Iterator[None]:
    """Hold a lock file for a block; it says who does, and goes away with the block.

    One that a killed process left is taken over.  Folders that are made for it, and stay empty, go
    away as well.

    Args:
        path: The file.
        what: What holds it, for others: ``audit``.

    Raises:
        LockHeldError: Another process holds it; the message says which.
        FileAccessError: It cannot be made or locked.
    """
    try:
        made = _make_folders(path.parent)
    except OSError as error:
        raise FileAccessError.from_os(error, "create", path.parent) from None
    try:
        descriptor = _locked(path, what)
        try:
            yield
        finally:
            # While it is locked: whoever opened it before finds that it is gone, and makes another.
            with suppress(OSError):
                path.unlink()
            os.close(descriptor)
    finally:
        for folder in made:
            with suppress(OSError):  # not empty
                folder.rmdir()


@contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Hold a file that is there, and stays there, for a block.

    Where the file system knows no locks on files that are open to read, nothing is held.

    Args:
        path: The file.
        what: What holds it, for others.

    Raises:
        LockHeldError: Another process holds it.
        FileAccessError: It cannot be opened.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise FileAccessError.from_os(error, "open", path) from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LockHeldError(f"another {what} is using it", file=path, hint=_WAIT) from None
        except OSError:
            pass
        yield
    finally:
        os.close(descriptor)


def _make_folders(folder: Path) -> list[Path]:
    """Make a folder with its parents, and return those that were made, deepest first."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return missing


def _locked(path: Path, what: str) -> int:
    """Return a descriptor of a lock file that is there, and locked."""
    while True:
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(path, flags, 0o600)
        except OSError as error:
            raise FileAccessError.from_os(error, "create", path) from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if is_at(descriptor, path):
                now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
                told = f"process {os.getpid()} on {socket.gethostname()} since {now}"
                with suppress(OSError):  # on a full disk it holds all the same
                    os.ftruncate(descriptor, 0)
                    os.pwrite(descriptor, told.encode(), 0)
                return descriptor
        except BlockingIOError:
            told = _holder(descriptor)
            os.close(descriptor)
            raise LockHeldError(
                f"another {what} is using it{told}", file=path, hint=_WAIT
            ) from None
        except OSError as error:
            os.close(descriptor)
            raise FileAccessError.from_os(error, "lock", path) from None
        os.close(descriptor)  # its holder removed it in between


def _holder(descriptor: int) -> str:
    """Return what a lock file says of its holder; empty where it says nothing yet."""
    try:
        text = os.pread(descriptor, _MAX_HOLDER, 0).decode("utf-8", "replace")
    except OSError:
        return ""
    return f": {printable(text)}" if text else ""
