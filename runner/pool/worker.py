"""What a worker does with a message, wherever it runs."""

from __future__ import annotations

from typing import Any

from safety_receipts.receipts.errors import InternalError, ReceiptsError
from safety_receipts.runner.pool.messages import (
    Begin,
    Begun,
    Did,
    Do,
    Loaded,
    Lost,
    Open,
    Refused,
    Reply,
    Trouble,
    Work,
    WorkerMessage,
)


class Worker:
    """Loads once, and answers parts of one job after the other; it keeps nothing else."""

    def __init__(self) -> None:
        self._hand: Any = None
        self._work: Work | None = None

    def answer(self, message: WorkerMessage) -> Reply:
        """Return the reply to a message, whatever happens."""
        try:
            return self._answer(message)
        except MemoryError:
            return Lost("its memory is full")
        except ReceiptsError as error:
            trouble = Trouble.of(error)
        except Exception as error:  # a fault in this program: the driver says so, and ends
            trouble = Trouble.of(InternalError.from_exception(error))
        if isinstance(message, Do):
            return Did(message.serial, message.key, trouble)
        return Refused(trouble)

    def _answer(self, message: WorkerMessage) -> Reply:
        match message:
            case Open(recipe=recipe, place=place):
                opened = recipe.open(place)
                self._hand = opened.hand
                return Loaded(opened.identity, opened.facts)
            case Begin(serial=serial, job=job):
                self._work = None  # before the next: its memory may be needed
                self._work = job.begin(self._hand)
                return Begun(serial, self._work.facts)
            case Do(serial=serial, key=key, part=part):
                assert self._work is not None  # messages keep their order
                return Did(serial, key, self._work.do(part))
