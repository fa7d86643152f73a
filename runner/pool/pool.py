"""Parts of a job, answered by workers: who answers which, and what becomes of a dead one's.

Nothing that is answered depends on how many workers there are, which of them is free, or who dies:
a part is what the job makes it, every worker is held to the first one's identity, and a part's
first answer is the one that counts.  A second one is compared with it.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self

from safety_receipts.receipts.errors import (
    IncompleteError,
    IntegrityError,
    UsageError,
)
from safety_receipts.runner.pool.messages import (
    Begin,
    Begun,
    Did,
    Do,
    Job,
    Loaded,
    Lost,
    Open,
    Recipe,
    Refused,
    Reply,
)
from safety_receipts.runner.pool.order import next_part
from safety_receipts.runner.pool.places import Link, WorkerPlaces

ATTEMPTS: Final = 3
"""Most workers that a part is given to, one after the other; and most starts of one worker in a
row that come to nothing."""
AHEAD: Final = 8
"""Most parts a worker that are answered, or being answered, and whose turn has not come."""
QUIET: Final = 600.0
"""Seconds for which a worker may work on one part before people are told, and longer if that is
less than :data:`SLOWER` times the slowest part so far."""
SLOWER: Final = 10
"""See :data:`QUIET`.  Nobody is ended for being slow: a host that slept seems slow, too."""
_QUEUED: Final = 2
"""Most parts that a worker is given at once: the next waits there while one is answered."""
_SECONDS: Final = 1.0


@dataclass(eq=False)
class _Member:
    """A worker's place in the pool; another takes it when one dies."""

    number: int
    link: Link
    loaded: bool = False
    begun: bool = False
    """Whether it is ready for the present job."""
    parts: deque[int] = field(default_factory=deque)
    """Keys of what it was given, in order."""
    last: int | None = None
    """Key of what it was given last."""
    failures: int = 0
    """Starts in a row that came to nothing."""
    since: float = 0.0
    """When it began what it is at, by the monotonic clock."""
    spoken_of: bool = False
    """Whether people were told that it is slow."""


class WorkerPool:
    """Workers, one job at a time.  Use it as a context manager: leaving it ends them.

    Args:
        places: Starts workers.
        recipe: What each loads.
        workers: How many, at least one.
        told: Told of every worker that took a dead one's place, and why, and of every one that
            does not come to an end.
    """

    def __init__(
        self,
        places: WorkerPlaces,
        recipe: Recipe,
        workers: int,
        told: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.workers = workers
        """How many there are."""
        self.replacements = 0
        """How many took a dead one's place."""
        self._told = told
        self._places, self._recipe = places, recipe
        self._members: list[_Member] = []
        self._first: Loaded | None = None
        self._serial = 0
        self._job: Job | None = None
        self._begun: Begun | None = None
        self._parts: dict[int, Any] = {}
        """What was submitted and not answered, by key."""
        self._waiting: set[int] = set()
        """Keys of what nobody was given yet."""
        self._attempts: Counter[int] = Counter()
        self._answers: dict[int, bytes] = {}
        """Digests of what was answered, by key."""
        self._ready: deque[Did] = deque()
        self._slowest = 0.0
        """Seconds that the slowest part took."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def open(self) -> Any:
        """Start the workers and wait until one has loaded.

        Returns:
            What it tells of itself.

        Raises:
            ReceiptsError: It cannot be loaded.
            IncompleteError: Workers die while they load.
        """
        if not self._members:
            self._launch(self.workers if self._recipe.settled else 1)
        while self._first is None:
            self._hear()
        self._launch(self.workers)
        return self._first.facts

    @property
    def identity(self) -> Mapping[str, str]:
        """What answers may depend on beside the plan, as the first worker stated it."""
        assert self._first is not None  # :meth:`open` comes first
        return self._first.identity

    def begin(self, job: Job) -> Any:
        """Tell all workers of a job; the one before is forgotten.

        Returns:
            What follows from it, as the first worker found it.

        Raises:
            ReceiptsError: It cannot be begun.
            IncompleteError: Workers die of it.
        """
        self.open()
        self.end()
        self._job = job
        for member in self._members:
            if member.loaded:
                member.link.send(Begin(self._serial, job))
        while self._begun is None:
            self._hear()
        return self._begun.facts

    def submit(self, key: int, part: Any) -> None:
        """Hand over a part of the job.

        Args:
            key: Its name; parts whose keys follow each other are best answered by one worker.
            part: What the job's work is to do.
        """
        self._parts[key] = part
        self._waiting.add(key)
        self._feed()

    def collect(self) -> tuple[int, Any]:
        """Wait for any part, and return its key and answer, each once.

        An answer is what the job's work returned, or :class:`~runner.pool.messages.Trouble`.

        Raises:
            IntegrityError: A part was answered twice, and otherwise.
            IncompleteError: A part was lost with several workers, one after the other, or no
                worker can be started any more.
            UsageError: A worker that took another's place is not like the first.
            ReceiptsError: It cannot be loaded.
        """
        while not self._ready:
            self._hear()
        done = self._ready.popleft()
        return done.key, done.result

    def end(self) -> None:
        """Forget the job; what workers still say of it is not listened to."""
        self._serial += 1
        self._job = self._begun = None
        self._parts.clear()
        self._waiting.clear()
        self._attempts.clear()
        self._answers.clear()
        self._ready.clear()
        for member in self._members:
            member.begun = False
            member.parts.clear()
            member.last = None

    def close(self) -> None:
        """End all workers."""
        members, self._members = self._members, []
        for member in members:
            member.link.close()
        self._places.close()

    def _launch(self, number: int) -> None:
        """Start workers until there are so many."""
        while len(self._members) < number:
            place = len(self._members)
            self._members.append(_Member(place, self._started(place)))

    def _started(self, number: int) -> Link:
        link = self._places.launch(number)
        link.send(Open(self._recipe, link.place))
        return link

    def _hear(self) -> None:
        """Wait for what workers say, and make use of it."""
        by_link = {id(member.link): member for member in self._members}
        links = [member.link for member in self._members]
        for link, reply in self._places.wait(links, _SECONDS):
            member = by_link[id(link)]
            if member.link is link:  # nobody has taken its place since
                self._take(member, reply)
        self._feed()
        self._speak_of_slow()

    def _speak_of_slow(self) -> None:
        """Tell people of workers that may never come to an end."""
        now = time.monotonic()
        for member in self._members:
            seconds = now - member.since
            if not member.parts or member.spoken_of or seconds < QUIET:
                continue
            if seconds >= SLOWER * self._slowest:
                member.spoken_of = True
                others = "none is answered yet"
                if self._slowest:
                    others = f"no other took longer than {self._slowest:,.0f} s"
                self._told(
                    f"worker {member.number} ({member.link.called}) has been at one part for "
                    f"{seconds / 60:.0f} minutes, and {others}; if it hangs, end it: another "
                    "takes its place"
                )

    def _take(self, member: _Member, reply: Reply) -> None:
        match reply:
            case Loaded():
                self._take_loaded(member, reply)
            case Begun(serial=serial, facts=facts) if serial == self._serial:
                self._begun = self._begun or reply
                if facts != self._begun.facts:
                    raise IntegrityError(
                        f"worker {member.number} cuts the plan into other batches than the first",
                        hint="please report this: workers that are alike should cut alike",
                    )
                member.begun = True
            case Did(serial=serial) if serial == self._serial:
                self._take_answer(member, reply)
            case Refused(trouble=trouble):
                raise trouble.error()
            case Lost(reason=reason):
                self._replace(member, reason)
            case Begun() | Did():
                pass  # of a job that was given up

    def _take_loaded(self, member: _Member, loaded: Loaded) -> None:
        if self._first is None:
            self._first = loaded
            self._recipe = self._recipe.after(loaded.facts)
        difference = unlike(self._first.identity, loaded.identity)
        if difference is not None:
            raise UsageError(
                f"worker {member.number} has {difference}",
                hint="workers must be alike, as the last bits of answers depend on it: the same "
                "devices, versions and thread counts everywhere",
            )
        member.loaded = True
        if self._job is not None:
            member.link.send(Begin(self._serial, self._job))

    def _take_answer(self, member: _Member, done: Did) -> None:
        key = done.key
        if key in member.parts:
            now = time.monotonic()
            self._slowest = max(self._slowest, now - member.since)
            member.since, member.spoken_of = now, False
            member.parts.remove(key)
            member.failures = 0
        digest = hashlib.sha256(repr(done.result).encode()).digest()
        if key in self._answers:
            if self._answers[key] != digest:
                raise IntegrityError(
                    f"part {key} was answered twice, and otherwise the second time",
                    hint="workers do not compute alike: run with one, or in this process",
                )
            return
        self._answers[key] = digest
        self._waiting.discard(key)
        del self._parts[key]
        self._ready.append(done)

    def _replace(self, member: _Member, reason: str) -> None:
        """Put another worker in a dead one's place, and give its parts to whoever is free."""
        member.link.close()
        member.failures += 1
        lost = [key for key in member.parts if key in self._parts]
        if lost:  # what it was given after that, it had not begun
            self._attempts[lost[0]] += 1
            if self._attempts[lost[0]] >= ATTEMPTS:
                raise IncompleteError(
                    f"{ATTEMPTS} workers died of one part, one after the other: {reason}",
                    hint="if memory was full, lower --memory or --workers; run the same command "
                    "again to go on",
                )
        elif member.failures >= ATTEMPTS:
            raise IncompleteError(
                f"worker {member.number} died {ATTEMPTS} times before it did anything: {reason}",
                hint=f"if memory was full, ask for fewer --workers; {_DEBUG_HINT}",
            )
        self._waiting.update(lost)
        self.replacements += 1
        self._told(f"worker {member.number} is replaced: {reason}")
        member.parts.clear()
        member.loaded, member.begun, member.last = False, False, None
        member.link = self._started(member.number)

    def _feed(self) -> None:
        """Give parts to workers that have too few."""
        while self._waiting:
            most = _QUEUED if len(self._waiting) > 2 * len(self._members) else 1
            free = [m for m in self._members if m.begun and len(m.parts) < most]
            if not free:
                return
            member = min(free, key=lambda one: (len(one.parts), one.number))
            others = [one.last for one in self._members if one is not member and one.begun]
            key = next_part(self._waiting, member.last, others)
            self._waiting.remove(key)
            if not member.parts:
                member.since, member.spoken_of = time.monotonic(), False
            member.parts.append(key)
            member.last = key
            member.link.send(Do(self._serial, key, self._parts[key]))


_DEBUG_HINT: Final = "RECEIPTS_DEBUG=1 shows what workers print"


def unlike(first: Mapping[str, str], other: Mapping[str, str]) -> str | None:
    """Return in which respect a worker is not like the first one, for people; None: in none."""
    for key in sorted({*first, *other}):
        if first.get(key) != other.get(key):
            return f"{key} {other.get(key, 'none')}, and the first has {first.get(key, 'none')}"
    return None
