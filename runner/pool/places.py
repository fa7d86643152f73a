"""Where workers run: the seam between a pool and processes or a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from safety_receipts.runner.pool.messages import Reply, WorkerMessage


class Link(Protocol):
    """A worker, as its driver has it in hand."""

    @property
    def place(self) -> int:
        """Which of the devices of its kind on its host it is to take."""

    @property
    def called(self) -> str:
        """What people find it by."""

    def send(self, message: WorkerMessage) -> None:
        """Send a message; one that cannot be sent is found out when replies are waited for."""

    def close(self) -> None:
        """End the worker, at once."""


class WorkerPlaces(Protocol):
    """Starts workers."""

    def launch(self, number: int) -> Link:
        """Start a worker.

        Args:
            number: From 0; a worker that takes another's place has its number.

        Raises:
            ReceiptsError: None can be started here.
        """

    def wait(self, links: Sequence[Link], seconds: float) -> Sequence[tuple[Link, Reply]]:
        """Wait for replies and for workers' ends.

        A worker's replies come in the order of its messages; what it replied before its end
        comes before :class:`~runner.pool.messages.Lost`.

        Args:
            links: Workers.
            seconds: For how long.

        Returns:
            At least one reply of a worker, or none if there was none in that time.
        """

    def close(self) -> None:
        """Give back what workers ran on; all are closed before."""
