"""Requests in flight: several at a time, in the order of the prefix tree.

A server computes a prefix once for prompts that come soon after one another, so that the tree's
order fills its cache; the number in flight fills its batch.  Answers are collected unit by unit, in
whatever order the server finishes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from threading import Event, Lock, Thread
from typing import Final

from safety_receipts.runner.engines.engine import Answer, Completion, Request
from safety_receipts.runner.prompts.prefix_tree import PrefixNode, in_one_tree

UNIT: Final = 32
"""Requests that are judged and committed together."""
UNIT_RULE: Final = "served-units/1"
"""Name and version of the rule by which :func:`units_of` cuts them: 32 at a time, in the order of
the prefix tree."""

_POLL: Final = 0.2
"""Seconds between looks at whether somebody interrupts: a wait without end cannot be."""

Ask = Callable[[Request, Event], Completion]
"""Asks a server until an event is set; raises where nothing can be generated at all."""


def units_of(requests: Sequence[Request]) -> list[list[int]]:
    """Cut requests into units, in the order of their prefix tree.

    Returns:
        Indices of the requests of each unit.
    """
    if not requests:
        return []
    prompts = in_one_tree([request.tokens for request in requests])
    places = _places(prompts[0].tree.root)
    order = sorted(range(len(requests)), key=lambda i: (places[id(prompts[i].node)], i))
    return [order[start : start + UNIT] for start in range(0, len(order), UNIT)]


def _places(root: PrefixNode) -> dict[int, int]:
    """Number the nodes of a tree, each before what follows it."""
    places: dict[int, int] = {}
    left = [root]
    while left:
        node = left.pop()
        places[id(node)] = len(places)
        left += reversed(node.children.values())
    return places


class ServedGeneration:
    """Units whose requests are asked by several threads.

    Args:
        requests: All requests.
        batches: Indices of those that are answered together.
        ask: Asks one.
        workers: Most requests in flight.
    """

    def __init__(
        self,
        requests: Sequence[Request],
        batches: Sequence[Sequence[int]],
        ask: Ask,
        *,
        workers: int,
    ) -> None:
        self.batches = batches
        self.concurrency = 1 + -(-workers // UNIT)
        """Units in flight: enough that the threads are busy while the first one is judged."""
        self._requests = requests
        self._ask = ask
        self._asked: SimpleQueue[tuple[int, int] | None] = SimpleQueue()
        self._finished: SimpleQueue[Answer | BaseException] = SimpleQueue()
        self._lock = Lock()
        self._found: dict[int, list[Completion]] = {}
        self._closed = Event()
        # Daemons: one that waits for a server's answer must not keep a stopped run from ending.
        self._threads = [Thread(target=self._work, daemon=True) for _ in range(workers)]
        for thread in self._threads:
            thread.start()

    def submit(self, number: int) -> None:
        """Hand over a unit."""
        with self._lock:
            self._found[number] = []
        for index in self.batches[number]:
            self._asked.put((number, index))

    def collect(self) -> Answer:
        """Wait for any unit.

        Raises:
            ReceiptsError: Nothing can be generated at all.
        """
        while True:
            try:
                found = self._finished.get(timeout=_POLL)
            except Empty:
                continue
            if isinstance(found, BaseException):
                raise found
            return found

    def close(self) -> None:
        """Ask nothing more."""
        self._closed.set()
        for _ in self._threads:
            self._asked.put(None)

    def _work(self) -> None:
        while (asked := self._asked.get()) is not None:
            if self._closed.is_set():
                continue
            number, index = asked
            try:
                completion = self._ask(self._requests[index], self._closed)
            except BaseException as error:  # of whatever kind: whoever collects is to hear it
                self._finished.put(error)
                continue
            with self._lock:
                found = self._found[number]
                found.append(completion)
                done = len(found) == len(self.batches[number])
                if done:
                    del self._found[number]
            if done:
                self._finished.put(Answer(number, tuple(found)))
