"""The process between the tool and a server: when either ends, it ends everything of the server.

It is started by the path of this file, with ``python -I -S``, and imports nothing of the project.
Its standard input is a pipe whose other end the tool alone holds: that ends with the tool, whatever
ends that, and a byte in it asks for an end at once.  Whatever the server starts has this process as
an ancestor (``PR_SET_CHILD_SUBREAPER``, Linux), in whatever session and group it runs.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress

_GRACE = 3.0
"""Seconds in which a server ends that is told to, where the tool is gone."""
_ROUNDS = 200
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def descendants(ancestor: int) -> set[int]:
    """Return the processes that a process started, and those that these did; Linux alone.

    Args:
        ancestor: Its process id.

    Returns:
        Ids of those that run: one that has ended and is not waited for is none.
    """
    children: dict[int, list[int]] = {}
    ended = set()
    for name in os.listdir("/proc"):  # noqa: PTH208 -- thousands, perhaps
        if not name.isdecimal():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as stat:  # noqa: PTH123
                state, parent = stat.read().rpartition(b")")[2].split()[:2]
        except (OSError, ValueError):
            continue  # it has ended by now
        children.setdefault(int(parent), []).append(int(name))
        if state in (b"Z", b"X"):
            ended.add(int(name))
    found: set[int] = set()
    waiting = [ancestor]
    while waiting:
        new = [pid for pid in children.get(waiting.pop(), ()) if pid not in found]
        found.update(new)
        waiting += new
    return found - ended


def keep_watch(program: Sequence[str]) -> int:
    """Run a program until it ends, or the tool does; leave nothing behind.

    Args:
        program: What is run.

    Returns:
        The exit code of this process: the program's, 128 and the signal's number where one ended
        it, and 127 where it could not be started.
    """
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)  # the program gets it too, and ends by it
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    try:
        # No other thread runs yet that could hold a lock.
        server = subprocess.Popen(
            program,
            stdin=subprocess.DEVNULL,
            preexec_fn=_end_with_watcher,  # noqa: PLW1509
        )
    except OSError as error:
        print(f"Error: {program[0]} cannot be started: {error.strerror}", flush=True)
        return 127
    threading.Thread(target=_end_with_tool, daemon=True).start()
    code = server.wait()
    _end_all()
    return code if code >= 0 else 128 - code


def _end_with_watcher() -> None:
    """Ask Linux to end this process when the watcher ends, however that does."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _end_with_tool() -> None:
    """End the program when the tool has ended, or says so."""
    if not os.read(0, 1):
        _signal_all(signal.SIGTERM)
        time.sleep(_GRACE)
    _end_all()


def _signal_all(number: int) -> bool:
    """Send a signal to everything of the server, and say whether there was anything."""
    found = descendants(os.getpid())
    for pid in found:
        with suppress(OSError):
            os.kill(pid, number)
    return bool(found)


def _end_all() -> None:
    """Kill everything of the server, also what it starts meanwhile."""
    for _ in range(_ROUNDS):
        if not _signal_all(signal.SIGKILL):
            return
        time.sleep(0.02)


if __name__ == "__main__":
    sys.exit(keep_watch(sys.argv[1:]))
