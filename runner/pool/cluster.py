"""Workers as actors of a Ray cluster.

Ray's own retries are off: a restarted actor would run its calls in another order and repeat what
was finished, and whatever is killed for want of memory would be tried without end.  What is lost
comes back as :class:`~runner.pool.messages.Lost`, whatever Ray calls it, and the pool starts
another worker.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from safety_receipts.receipts.errors import IncompleteError, UsageError
from safety_receipts.receipts.extras import install
from safety_receipts.runner.pool.messages import Lost, Reply, WorkerMessage
from safety_receipts.runner.pool.places import Link
from safety_receipts.runner.pool.worker import Worker

try:
    import ray
    from ray.exceptions import ActorDiedError, RayError, RayTaskError
except ImportError:
    raise IncompleteError(
        "ray is not installed, and --ray runs workers on its clusters", hint=install("pool")
    ) from None

LOCAL_CLUSTER: Final = "local"
"""The address of a new cluster on this host alone."""
_SECONDS_TO_ANSWER: Final = 10.0
_PAUSE: Final = 1.0
"""Seconds before an actor is made again."""
CLUSTER_PATIENCE: Final = 120.0
"""Seconds after which a worker that the cluster has no room for is given up, where none runs."""


class ActorLink:
    """A worker in an actor.

    Ray counts on a node for a while after it has died, and places actors there: one that dies
    before it is anywhere is made again for as long as a worker may wait for room.

    Args:
        make: Makes an actor, as soon as the cluster has room for it, and returns its handle.
    """

    place = 0
    """Ray shows each actor the devices that it was given, and no others."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._since = time.monotonic()
        self.placed = False
        """Whether it runs somewhere."""
        self._sent: list[WorkerMessage] = []
        """What it was sent before it did."""
        self._replies: deque[Any] = deque()
        self._lost = False
        self._begin()

    def _begin(self) -> None:
        self._actor = self._make()
        self._here = self._actor.here.remote()
        self._replies.clear()
        for message in self._sent:
            self._replies.append(self._actor.answer.remote(message))

    @property
    def called(self) -> str:
        """Its actor."""
        return f"Ray's actor {self._actor._actor_id.hex()}"

    def send(self, message: WorkerMessage) -> None:
        """Send a message."""
        if not self.placed:
            self._sent.append(message)
        try:
            self._replies.append(self._actor.answer.remote(message))
        except RayError:
            self._lost = True

    @property
    def waits_for(self) -> Any | None:
        """What Ray is to wait for next; None: nothing comes any more."""
        if self._lost:
            return None
        if not self.placed:
            return self._here
        return self._replies[0] if self._replies else None

    @property
    def lost(self) -> bool:
        """Whether it is no more."""
        return self._lost

    def receive(self) -> Reply | None:
        """Return what has come; None: only that it runs."""
        try:
            if not self.placed:
                ray.get(self._here)
                self.placed = True
                self._sent.clear()
                return None
            reply: Reply = ray.get(self._replies.popleft())
        except RayError as error:
            if not self.placed and not self.overdue(time.monotonic()) and _of_its_node(error):
                time.sleep(_PAUSE)
                self._begin()
                return None
            self._lost = True
            why = f"Ray says {type(error).__name__}"
            if isinstance(error, RayTaskError):  # what it was sent cannot be read there
                why += ", so that another version of this program may be installed there"
            return Lost(why)
        return reply

    def overdue(self, now: float) -> bool:
        """Say whether it has waited for room for too long."""
        return not self.placed and now - self._since > CLUSTER_PATIENCE

    def close(self) -> None:
        """End the actor."""
        with contextlib.suppress(RayError, ValueError):
            ray.kill(self._actor, no_restart=True)


def _of_its_node(error: RayError) -> bool:
    """Say whether an actor died of where it was, and not of what it is."""
    return isinstance(error, ActorDiedError) and "creation task" not in str(error)


class Cluster:
    """Starts workers on a Ray cluster.

    Args:
        address: ``HOST:PORT`` or ``auto``, of one that runs; ``local``: a new one, here.
        workers: How many there will be.
        threads: Threads of each: the cores that it takes.
        gpu: Whether each takes a GPU.

    Raises:
        UsageError: There is no such cluster, or it is too small.
    """

    def __init__(self, address: str, workers: int, *, threads: int, gpu: bool) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        self._began = not ray.is_initialized()
        more = {} if address != LOCAL_CLUSTER else {"include_dashboard": False, "num_cpus": None}
        if self._began:
            _refuse_silent(address)
            try:
                with _signals_kept():
                    # Never without an address: it would join whatever cluster is about.
                    ray.init(address=address, log_to_driver=False, logging_level="error", **more)
            except (ConnectionError, ValueError, RuntimeError) as error:
                raise _not_joined(address, " ".join(str(error).split())[:200]) from None
        self._options: dict[str, Any] = {
            "max_restarts": 0,
            "max_task_retries": 0,
            "num_cpus": 1 if gpu else threads,
            "num_gpus": 1 if gpu else 0,
        }
        try:
            self._refuse_small(workers)
        except UsageError:
            self.close()
            raise

    def _refuse_small(self, workers: int) -> None:
        there = ray.cluster_resources()
        for name, option in (("CPU", "num_cpus"), ("GPU", "num_gpus")):
            wanted = workers * self._options[option]
            if wanted > there.get(name, 0):
                raise UsageError(
                    f"{workers} workers take {wanted} {name}s, and the cluster has "
                    f"{there.get(name, 0):g}",
                    hint="ask for fewer --workers, or set OMP_NUM_THREADS: each takes a core a "
                    "thread",
                )

    def launch(self, number: int) -> ActorLink:
        """Start an actor, as soon as the cluster has room for it."""
        return ActorLink(ray.remote(Actor).options(**self._options).remote)

    def wait(self, links: Sequence[Link], seconds: float) -> Sequence[tuple[Link, Reply]]:
        """Wait for replies and for actors' ends."""
        mine = [link for link in links if isinstance(link, ActorLink)]
        if dead := [link for link in mine if link.lost]:
            return [(link, Lost("Ray has lost it")) for link in dead]
        by_ref = {link.waits_for: link for link in mine if link.waits_for is not None}
        ready: Sequence[Any] = ()
        if by_ref:
            ready, _ = ray.wait(list(by_ref), num_returns=1, timeout=seconds)
        else:
            time.sleep(seconds)
        found: list[tuple[Link, Reply]] = []
        for ref in ready:
            reply = by_ref[ref].receive()
            if reply is not None:
                found.append((by_ref[ref], reply))
        if not ready and not any(link.placed for link in mine):
            # A cluster that lost a node may have room for fewer: those that run go on.
            now = time.monotonic()
            found += [
                (link, Lost(f"the cluster had no room for it in {CLUSTER_PATIENCE:.0f} s"))
                for link in mine
                if link.overdue(now)
            ]
        return found

    def close(self) -> None:
        """Leave the cluster; end it, where it was begun here."""
        if self._began:
            with _signals_kept():
                ray.shutdown()


class Actor:
    """What an actor does: a worker's answers."""

    def __init__(self) -> None:
        self._worker = Worker()

    def here(self) -> None:
        """Be somewhere."""

    def answer(self, message: WorkerMessage) -> Reply:
        """Answer a message."""
        return self._worker.answer(message)


def _refuse_silent(address: str) -> None:
    """Refuse an address where nobody listens: Ray would wait there for minutes.

    Raises:
        UsageError: Nobody does.
    """
    if address in (LOCAL_CLUSTER, "auto"):
        return
    host, _, port = address.rpartition(":")
    if not host or not (port.isascii() and port.isdecimal()) or "/" in host:
        raise UsageError(f"{address!r} is no address of a Ray cluster", hint="write HOST:PORT")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _SECONDS_TO_ANSWER).close()
    except (OSError, OverflowError) as error:
        raise _not_joined(address, getattr(error, "strerror", None) or str(error)) from None


def _not_joined(address: str, why: str) -> UsageError:
    return UsageError(
        f"no Ray cluster can be joined at {address}: {why}",
        hint="start one with `ray start`, or give --ray local",
    )


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Keep what SIGTERM and SIGINT do: Ray has the first end the process at once."""
    kept = {which: signal.getsignal(which) for which in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for which, handler in kept.items():
            signal.signal(which, handler)
