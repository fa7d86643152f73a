"""Workers as processes of this host, started anew (spawned) by :mod:`multiprocessing`.

A worker ends when its driver does, whatever ended that: a thread in it waits for the end of a pipe
whose other end the driver alone holds.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import ForkingPickler
from typing import Final

from safety_receipts.receipts.errors import DEBUG, IncompleteError
from safety_receipts.runner.pool.messages import Lost, Reply, WorkerMessage
from safety_receipts.runner.pool.places import Link
from safety_receipts.runner.pool.worker import Worker

_SECONDS_TO_END: Final = 10


class ProcessLink:
    """A worker in a process of its own.

    Args:
        number: Its number, and which of the devices of its kind it is to take.

    Raises:
        OSError: It cannot be started.
    """

    def __init__(self, number: int) -> None:
        self.place = number
        context = get_context("spawn")
        self.pipe, theirs = context.Pipe()
        lifeline, self._lifeline = context.Pipe(duplex=False)
        self.process = context.Process(
            target=serve, args=(theirs, lifeline), name=f"worker {number}", daemon=True
        )
        try:
            self.process.start()
        finally:
            theirs.close()
            lifeline.close()
        # A worker that is sending a long reply reads nothing meanwhile: whoever waited here until a
        # long message is through would read nothing either, for ever.
        self._sender = ThreadPoolExecutor(1, thread_name_prefix=f"to worker {number}")

    @property
    def called(self) -> str:
        """Its process."""
        return f"process {self.process.pid}"

    def send(self, message: WorkerMessage) -> None:
        """Send a message, after those before; who sends does not wait."""
        self._sender.submit(self._send, ForkingPickler.dumps(message))

    def _send(self, pickled: memoryview) -> None:
        with suppress(OSError):  # the process has ended, which waiting tells
            self.pipe.send_bytes(pickled)

    def receive(self) -> Reply | None:
        """Return what has come; None: nothing yet."""
        try:
            if self.pipe.poll():
                reply: Reply = self.pipe.recv()
                return reply
        except (EOFError, OSError):
            self.process.join(_SECONDS_TO_END)
            return Lost(_ended(self.process.exitcode))
        return None

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.join(_SECONDS_TO_END)
        self._sender.shutdown(cancel_futures=True)  # nobody reads any more: what is under way fails
        for pipe in (self.pipe, self._lifeline):
            pipe.close()


class Processes:
    """Starts workers on this host."""

    def launch(self, number: int) -> ProcessLink:
        """Start a process.

        Raises:
            IncompleteError: None can be started.
        """
        try:
            return ProcessLink(number)
        except OSError as error:
            raise IncompleteError(
                f"a worker cannot be started: {error.strerror or type(error).__name__}",
                hint="give this program leave to start processes, or fewer --workers",
            ) from None

    def wait(self, links: Sequence[Link], seconds: float) -> Sequence[tuple[Link, Reply]]:
        """Wait for replies and for processes' ends."""
        by_pipe = {link.pipe: link for link in links if isinstance(link, ProcessLink)}
        found: list[tuple[Link, Reply]] = []
        for pipe in wait(list(by_pipe), seconds):
            assert isinstance(pipe, Connection)
            link = by_pipe[pipe]
            reply = link.receive()
            if reply is not None:
                found.append((link, reply))
        return found

    def close(self) -> None:
        """Nothing is held beside the processes."""


def serve(pipe: Connection, lifeline: Connection) -> None:
    """Answer messages until there are no more, or the driver has ended: the worker's main program.

    Args:
        pipe: Brings messages and takes replies.
        lifeline: Ends with the driver.
    """
    # Ctrl-C reaches every process of a terminal: the driver ends its workers by itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()
    if not os.environ.get(DEBUG):
        _be_quiet()
    worker = Worker()
    while True:
        try:
            message: WorkerMessage = pipe.recv()
        except (EOFError, OSError):
            return
        reply = worker.answer(message)
        del message
        pipe.send(reply)


def _end_with(lifeline: Connection) -> None:
    """End this process, in the middle of whatever it does, when the driver's end of a pipe does."""
    with suppress(EOFError, OSError):
        lifeline.recv_bytes()
    os._exit(1)


def _be_quiet() -> None:
    """Keep what libraries print from the driver's terminal, and from documents that it prints."""
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)


def _ended(code: int | None) -> str:
    """Return how a process ended, as the end of a sentence."""
    if code is None:
        return "it closed its pipe"
    if code < 0:
        return f"it was ended by {signal.Signals(-code).name}"
    return f"it ended with {code}"
