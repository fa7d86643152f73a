"""Temporary files and folders: they lie beside what they become, and a killed command's go.

A name is ``.NAME.XXXXXXXX.tmp``, eight hex digits at random.  Whoever writes one holds a lock on it
(``flock``) until it has its name or is gone, so that whatever is not locked was left by a process
that is no more.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

_TRIES: Final = 100
"""Names that are tried: two that meet by chance are one in billions."""
_FORM: Final = re.compile(r"\.(.+)\.[0-9a-f]{8}\.tmp", re.DOTALL)


def claim_file(path: Path, mode: int) -> tuple[Path, int]:
    """Make a temporary file that will become ``path``; return its path and a descriptor.

    The descriptor, open to write, holds the lock: it has to stay open until the file is renamed.

    Args:
        path: What it will become; files that killed commands left for it are removed.
        mode: Permission bits, subject to the umask.

    Raises:
        OSError: It cannot be made.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    return _claimed(path, lambda temporary: os.open(temporary, flags, mode))


def claim_folder(path: Path) -> tuple[Path, int]:
    """Make a temporary folder that will become ``path``, as :func:`claim_file` makes a file."""

    def make(temporary: Path) -> int:
        temporary.mkdir()
        return os.open(temporary, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    return _claimed(path, make)


def remove_leftovers(folder: Path, name: str | None = None) -> None:
    """Remove what killed commands left in a folder; what cannot be removed stays.

    Args:
        folder: The folder.
        name: What the files or folders were to become; None: anything, in a folder that is ours
            alone, such as a bundle.
    """
    try:
        found = list(folder.iterdir())
    except OSError:
        return  # whoever writes there says why it cannot be
    for path in found:
        match = _FORM.fullmatch(path.name)
        if match is not None and name in (None, match[1]):
            with suppress(OSError):
                _remove(path)


def _claimed(path: Path, make: Callable[[Path], int]) -> tuple[Path, int]:
    remove_leftovers(path.parent, path.name)
    for number in range(_TRIES):
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
        try:
            descriptor = make(temporary)
        except FileExistsError:
            continue
        except FileNotFoundError:
            # There are folders in which nothing can be made, and which say it so: /proc.
            if not path.parent.is_dir() or number == _TRIES - 1:
                raise
            continue  # a folder that another command took for a leftover before it was locked
        # Where a file system knows no locks nothing is ever taken for a leftover.
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if is_at(descriptor, temporary):
            return temporary, descriptor
        os.close(descriptor)  # another command took it for a leftover before it was locked
    raise FileExistsError(errno.EEXIST, "every name that was tried is taken", str(path))


def _remove(path: Path) -> None:
    """Remove a file or folder of ours that no process holds."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if status.st_uid != os.geteuid():
            return
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not is_at(descriptor, path):  # it has its name by now
            return
        if stat.S_ISREG(status.st_mode):
            path.unlink()
        elif stat.S_ISDIR(status.st_mode):
            shutil.rmtree(path)
    finally:
        os.close(descriptor)


def is_at(descriptor: int, path: Path) -> bool:
    """Say whether an open file or folder is the one that lies at a path."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False
