"""Workers for tests: what they load is light, and a test says when they die.

Everything here is pickled and sent to processes of their own.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from safety_receipts.receipts.errors import IncompleteError
from safety_receipts.runner.pool.messages import Opened, Reply
from safety_receipts.runner.pool.places import Link, WorkerPlaces
from safety_receipts.runner.pool.processes import Processes

LATE = 0.05
"""Seconds after its answer at which a worker dies that dies of it."""


@dataclass(frozen=True)
class Deaths:
    """Has workers die, each time once for each of some names.

    Args:
        folder: Holds what has happened.
        names: Of what they die.
        times: How often, of each.
        late: They die a moment after it.
    """

    folder: Path
    names: frozenset[str]
    times: int = 1
    late: bool = False

    def of(self, name: str) -> None:
        """Die, if it is time."""
        if not self.due(name):
            return
        if self.late:
            threading.Timer(LATE, _die).start()
        else:
            _die()

    def due(self, name: str) -> bool:
        """Say whether it is time, and note that it was."""
        if name not in self.names:
            return False
        for number in range(self.times):
            mark = self.folder / f"{name}-{number}"
            try:
                mark.touch(exist_ok=False)
            except FileExistsError:
                continue
            return True
        return False

    @property
    def happened(self) -> int:
        """How many died."""
        return len(list(self.folder.iterdir()))


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class PlainRecipe:
    """Loads nothing."""

    deaths: Deaths | None = None
    settled: bool = True
    odd: tuple[int, str] | None = None
    """A worker's number, and its thread count."""

    def after(self, facts: Any) -> PlainRecipe:
        return self

    def open(self, place: int) -> Opened:
        if self.deaths is not None:
            self.deaths.of(f"loading-{place}")
        odd = self.odd is not None and self.odd[0] == place
        identity = {"threads": self.odd[1] if odd and self.odd else "1"}
        return Opened(None, identity, "plain")


@dataclass(frozen=True)
class SquareJob:
    """Squares numbers; some of them kill."""

    deaths: Deaths | None = None
    hang: Deaths | None = None
    """When a worker comes to no end instead of dying."""
    seconds: float = 0.0
    facts: Any = 7
    unlike: bool = False
    """Whether every worker cuts its own way."""

    def begin(self, hand: Any) -> SquareWork:
        facts = os.getpid() if self.unlike else self.facts
        return SquareWork(replace(self, facts=facts))


@dataclass(frozen=True)
class SquareWork:
    """Squares them, in a worker."""

    job: SquareJob

    @property
    def facts(self) -> Any:
        return self.job.facts

    def do(self, part: Any) -> Any:
        time.sleep(self.job.seconds)
        if self.job.deaths is not None:
            self.job.deaths.of(f"part-{part}")
        while self.job.hang is not None and self.job.hang.due(f"part-{part}"):
            time.sleep(3600)
        match part:
            case "refused":
                raise IncompleteError("nothing can be squared", hint="ask for another")
            case "fault":
                raise ZeroDivisionError("the part's own words")
            case "full":
                raise MemoryError
        return part * part, os.getpid()


@dataclass(frozen=True)
class LongJob:
    """A job that is long to tell of, with answers that are."""

    payload: bytes
    answer: int
    """Length of an answer, in bytes."""

    def begin(self, hand: Any) -> LongWork:
        return LongWork(self.answer)


@dataclass(frozen=True)
class LongWork:
    """Gives long answers, in a worker."""

    answer: int
    facts: None = None

    def do(self, part: Any) -> bytes:
        return b"a" * self.answer


class Meddled:
    """WorkerPlaces whose replies a test meddles with.

    Args:
        meddle: Given each worker's reply, returns what the pool hears.
    """

    def __init__(self, meddle: Callable[[Reply], Sequence[Reply]]) -> None:
        self._places: WorkerPlaces = Processes()
        self._meddle = meddle
        self.links: list[Link] = []
        """All workers that were started."""

    def launch(self, number: int) -> Link:
        self.links.append(self._places.launch(number))
        return self.links[-1]

    def wait(self, links: Sequence[Link], seconds: float) -> Sequence[tuple[Link, Reply]]:
        heard = self._places.wait(links, seconds)
        return [(link, each) for link, reply in heard for each in self._meddle(reply)]

    def close(self) -> None:
        self._places.close()
