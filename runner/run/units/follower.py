"""A thread that follows another: it does what it is handed, in order, while the other goes on."""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from types import TracebackType
from typing import Self

FOLLOWING = 2
"""Most units behind the engine: one that is worked on, and one that waits for it."""


class Follower:
    """Does jobs one after the other, behind whoever hands them over; use it as a context manager.

    What one job raises, an interrupt included, is raised by whoever hands over the next one, or
    where the block ends; no job after it is done.  Where the block ends with an error, or an
    interrupt, the jobs that were handed over before are done first: they came before it.  If one
    of them fails, it is that failure which is raised, as it is the earlier one.  An interrupt while
    they are waited for drops those that were not begun.  When the block has ended, no job goes on.

    Jobs take turns with the thread that hands them over wherever Python runs; they overlap with
    it where it waits or computes outside Python: kernels, sockets, files, hashes.

    Args:
        ahead: Most jobs, at least 1, that were handed over and are not done.
    """

    def __init__(self, ahead: int = FOLLOWING) -> None:
        # Queues in C, as an interrupt may come at any moment: no lock is left locked by one.
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._room: SimpleQueue[None] = SimpleQueue()
        for _ in range(ahead):
            self._room.put(None)
        self._ended: SimpleQueue[None] = SimpleQueue()
        self._failure: BaseException | None = None
        self._dropped = False
        # Whatever it does is whole or undone on the disk: nothing waits for it if all else ends.
        self._thread = Thread(target=self._follow, name="follower", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._jobs.put(None)
        interrupt: KeyboardInterrupt | None = None
        while self._thread.is_alive():
            try:
                # Not ``join``: interrupted, it would take the thread for ended (CPython 3.11).
                self._ended.get()
                break
            except KeyboardInterrupt as again:
                self._dropped, interrupt = True, again
        if self._failure is not None and self._failure is not error:
            raise self._failure
        if interrupt is not None and error is None:
            raise interrupt

    def do(self, job: Callable[[], None]) -> None:
        """Hand over a job; wait while there is no room for it.

        Raises:
            BaseException: What an earlier job raised.
        """
        self._room.get()
        if self._failure is not None:
            raise self._failure
        self._jobs.put(job)

    def _follow(self) -> None:
        while (job := self._jobs.get()) is not None:
            if self._failure is None and not self._dropped:
                try:
                    job()
                except BaseException as failure:  # raised again by the other thread
                    self._failure = failure
            del job  # its memory may be needed for the next one
            self._room.put(None)
        self._ended.put(None)
