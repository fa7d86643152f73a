"""What a driver and its workers say to each other: every message has one reply.

Everything here can be pickled.  Both sides are of one user: whoever can start workers, or join the
cluster that they run on, can run any code there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from safety_receipts.receipts.errors import (
    FileAccessError,
    IncompleteError,
    IntegrityError,
    InternalError,
    KeyFileError,
    MalformedError,
    ReceiptsError,
    UsageError,
)


@dataclass(frozen=True, slots=True)
class Opened:
    """What a worker has loaded."""

    hand: Any
    """What it works with; it stays there."""
    identity: Mapping[str, str]
    """What answers may depend on beside the plan; all workers must have the same."""
    facts: Any
    """What else the driver is to know of it."""


class Recipe(Protocol):
    """How a worker loads what it works with."""

    @property
    def settled(self) -> bool:
        """Whether nothing in it waits for what the first worker finds."""

    def after(self, facts: Any) -> Recipe:
        """Return what further workers are told, once the first one has loaded."""

    def open(self, place: int) -> Opened:
        """Load it, in the worker.

        Args:
            place: Which of the devices of its kind on its host.

        Raises:
            ReceiptsError: It cannot be loaded, or is not what it should be.
        """


class Work(Protocol):
    """A job in a worker that was told of it."""

    @property
    def facts(self) -> Any:
        """What follows from the job and the worker's identity; every worker must find the same."""

    def do(self, part: Any) -> Any:
        """Answer one part of it.

        Raises:
            ReceiptsError: That is the answer.
        """


class Job(Protocol):
    """Something that is answered in parts, in whichever worker."""

    def begin(self, hand: Any) -> Work:
        """Get ready for it, in a worker.

        Args:
            hand: What its recipe loaded.
        """


@dataclass(frozen=True, slots=True)
class Open:
    """Asks a worker to load; answered by :class:`Loaded`."""

    recipe: Recipe
    place: int


@dataclass(frozen=True, slots=True)
class Begin:
    """Tells a worker of a job; answered by :class:`Begun`."""

    serial: int
    job: Job


@dataclass(frozen=True, slots=True)
class Do:
    """Asks for a part of the job; answered by :class:`Did`."""

    serial: int
    key: int
    part: Any


@dataclass(frozen=True, slots=True)
class Trouble:
    """An error of this project's family, on its way to another process."""

    kind: str
    message: str
    file: str | None
    place: str | None
    hint: str | None

    @classmethod
    def of(cls, error: ReceiptsError) -> Trouble:
        """Return an error as it travels; of a narrower kind, its nearest known one."""
        known = {kind: name for name, kind in _KINDS.items()}
        name = next(known[each] for each in type(error).__mro__ if each in known)
        return cls(name, error.message, error.file, error.place, error.hint)

    def error(self) -> ReceiptsError:
        """Return the error again."""
        return _KINDS[self.kind](self.message, file=self.file, place=self.place, hint=self.hint)


_KINDS: Final[dict[str, type[ReceiptsError]]] = {
    kind.kind: kind
    for kind in (
        ReceiptsError,
        UsageError,
        MalformedError,
        FileAccessError,
        KeyFileError,
        IntegrityError,
        IncompleteError,
        InternalError,
    )
}


@dataclass(frozen=True, slots=True)
class Loaded:
    """A worker has loaded."""

    identity: Mapping[str, str]
    facts: Any


@dataclass(frozen=True, slots=True)
class Begun:
    """A worker is ready for a job."""

    serial: int
    facts: Any


@dataclass(frozen=True, slots=True)
class Did:
    """A worker has answered a part."""

    serial: int
    key: int
    result: Any
    """The answer, or :class:`Trouble`."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A worker cannot load, or cannot take a job."""

    trouble: Trouble


@dataclass(frozen=True, slots=True)
class Lost:
    """A worker is no more, or of no more use."""

    reason: str
    """Why, for people, as the end of a sentence."""


WorkerMessage = Open | Begin | Do
Reply = Loaded | Begun | Did | Refused | Lost
