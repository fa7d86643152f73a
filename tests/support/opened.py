"""Which files of a folder are opened, by this process, its children and compiled libraries alike.

Asked of the system (inotify, Linux): Python's own audit events do not know of files that a compiled
library opens, and weights and tokenizers are read by such.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

LINUX: Final = sys.platform == "linux"
_OPEN: Final = 0x20
_IS_FOLDER: Final = 0x40000000
_EVENT: Final = struct.Struct("iIII")


@contextmanager
def opened_files(folder: Path) -> Iterator[set[str]]:
    """Yield a set that holds, after the block, the paths of the folder's files that were opened.

    Args:
        folder: The folder; files and folders in it must not be added meanwhile.
    """
    system = ctypes.CDLL(None, use_errno=True)
    descriptor = system.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    assert descriptor >= 0, os.strerror(ctypes.get_errno())
    try:
        watched = {}
        for place in [folder, *(path for path in folder.rglob("*") if path.is_dir())]:
            watch = system.inotify_add_watch(descriptor, os.fsencode(place), _OPEN)
            assert watch >= 0, os.strerror(ctypes.get_errno())
            watched[watch] = place.relative_to(folder)
        found: set[str] = set()
        yield found
        for watch, name in _events(descriptor):
            found.add((watched[watch] / name).as_posix())
    finally:
        os.close(descriptor)


def _events(descriptor: int) -> Iterator[tuple[int, str]]:
    while True:
        try:
            data = os.read(descriptor, 2**20)
        except BlockingIOError:
            return
        while data:
            watch, mask, _, length = _EVENT.unpack_from(data)
            end = _EVENT.size + length
            name = data[_EVENT.size : end].rstrip(b"\0")
            if not mask & _IS_FOLDER:
                yield watch, os.fsdecode(name)
            data = data[end:]
