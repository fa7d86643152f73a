"""Whose server takes requests at a port of this machine, as Linux tells it in ``/proc``.

A free port may be taken by any process before the started server takes it: so nothing that answers
there is believed before it is known to be the started process, or one that this started.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from enum import Enum
from pathlib import Path
from typing import Final

from safety_receipts.runner.engines.served.started.watcher import descendants

_TABLES: Final = (Path("/proc/self/net/tcp"), Path("/proc/self/net/tcp6"))
_LISTENS: Final = "0A"


class Listening(Enum):
    """Whose sockets take connections at a port."""

    NOBODY = "nobody"
    """None does."""
    OWN = "own"
    """All of them are the process's, or of what it started."""
    FOREIGN = "foreign"
    """At least one is another process's."""


def can_tell() -> bool:
    """Say whether this system tells whose a socket is."""
    return sys.platform == "linux" and _TABLES[0].exists()


def listening(process: int, port: int) -> Listening:
    """Return whose sockets take connections at a port of 127.0.0.1.

    Args:
        process: Id of a process.
        port: The port.

    Raises:
        OSError: The system does not tell.
    """
    found = set(_listeners(port))
    if not found:
        return Listening.NOBODY
    own = set(_sockets({process, *descendants(process)}))
    return Listening.OWN if found <= own else Listening.FOREIGN


def _listeners(port: int) -> Iterator[str]:
    """Yield the inodes of sockets that take connections to 127.0.0.1 at a port."""
    reached = {f"{address}:{port:04X}" for address in _REACHED}
    for table in _TABLES:
        if table is not _TABLES[0] and not table.exists():
            continue  # a system without IPv6
        for line in table.read_text("ascii").splitlines()[1:]:
            fields = line.split()
            if fields[1] in reached and fields[3] == _LISTENS:
                yield fields[9]


def _sockets(processes: Iterable[int]) -> Iterator[str]:
    """Yield the inodes of processes' sockets."""
    for process in processes:
        folder = f"/proc/{process}/fd"
        with suppress(OSError):  # it has ended, or is another user's
            for name in os.listdir(folder):  # noqa: PTH208 -- many
                with suppress(OSError):
                    target = os.readlink(f"{folder}/{name}")  # noqa: PTH115
                    if target.startswith("socket:["):
                        yield target[len("socket:[") : -1]


def _spelt(address: str) -> str:
    """Return an address as the tables spell it: words of 32 bits in this machine's byte order."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    packed = socket.inet_pton(family, address)
    words = (packed[start : start + 4] for start in range(0, len(packed), 4))
    return "".join(f"{int.from_bytes(word, sys.byteorder):08X}" for word in words)


_REACHED: Final = frozenset(
    _spelt(address)
    for address in ("127.0.0.1", "0.0.0.0", "::", "::ffff:127.0.0.1", "::ffff:0.0.0.0")
)
"""What a socket may be bound to that connections to 127.0.0.1 reach."""
