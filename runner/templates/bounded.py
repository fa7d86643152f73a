"""Work that may not end, or take all memory, done in this process within bounds.

A chat template was tried in a process of its own (:mod:`runner.checkpoint.folder_trial`), on a
conversation of ours; on another one it may do something else.  In the main thread a timer
interrupts it, and on Linux a limit on address space is lowered while it works.  Elsewhere neither
is there.

What a timer cannot interrupt is one step of a library written in C, such as the sum of a long
range.  After some more seconds of processor time the system ends the process for it, by SIGVTALRM.
"""

from __future__ import annotations

import os
import resource
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

_AGAIN: Final = 0.5
"""Seconds after which the work is interrupted again, where something caught the interruption."""
_GRACE: Final = 10.0
"""Seconds of processor time after which the system ends what no interruption reached."""
_STATM: Final = "/proc/self/statm"
_STATM_LENGTH: Final = 256
"""Bytes that it has at most: seven numbers."""


class OutOfTimeError(BaseException):
    """Work took longer than it may.  No :class:`Exception`: nothing takes it for its own."""


@contextmanager
def bounded(seconds: float, memory: int) -> Iterator[None]:
    """Bound what is done inside.

    Args:
        seconds: By the clock.
        memory: Bytes of address space beyond those in use.

    Raises:
        OutOfTimeError: It took longer.
        MemoryError: It took more memory, where that is bounded.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = resource.getrlimit(resource.RLIMIT_AS)
    handler = signal.signal(signal.SIGALRM, _interrupt)
    left, interval = signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN)
    # Nothing here takes SIGVTALRM, so that the system does.
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds + _GRACE)
    try:
        try:
            _lower(before, memory)
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    finally:  # reached even if the timer went off in the line before
        signal.setitimer(signal.ITIMER_REAL, left, interval)
        signal.signal(signal.SIGALRM, handler if handler is not None else signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_AS, before)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise OutOfTimeError


def _lower(before: tuple[int, int], memory: int) -> None:
    """Lower the limit on address space to so many bytes beyond those in use."""
    try:
        used = _used()
        soft, hard = before
        wanted = used + memory
        if soft == resource.RLIM_INFINITY or wanted < soft:
            resource.setrlimit(resource.RLIMIT_AS, (wanted, hard))
    except (OSError, ValueError, IndexError):
        return  # not Linux: memory is not bounded here


def _used() -> int:
    """Return how many bytes of address space this process uses."""
    descriptor = os.open(_STATM, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return int(os.read(descriptor, _STATM_LENGTH).split()[0]) * resource.getpagesize()
    finally:
        os.close(descriptor)
