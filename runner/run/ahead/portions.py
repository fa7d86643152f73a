"""Rendering a plan portion by portion, in as many processes as there are cores.

A portion is a run of queries, in all conditions: what a draw shows in one condition it shows in
others, so that its demonstrations are read once.  Which portions there are follows from the plan
alone, and so do the bytes that each becomes.

Processes are forked: they find corpora and tokenizer where they are.  Where a system does not fork
safely (anything but Linux), or a process is ended from outside, this one renders by itself.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from typing import Final

from safety_receipts.receipts.errors import ReceiptsError
from safety_receipts.receipts.io.memory import available_memory
from safety_receipts.receipts.model.plan import PlanPredicate
from safety_receipts.runner.prompts.prompt_reader import MOST_CHARACTERS
from safety_receipts.runner.prompts.rendering import RenderedPoint, Renderer
from safety_receipts.runner.run.ahead.packed import PackedPoints

POINTS_AT_ONCE: Final = 1024
"""Points of a portion, about: some seconds of work."""
_BLOCK_PORTIONS: Final = 4
"""A portion may have so many times as many points, where that keeps a block of draws whole."""
_MOST_PROCESSES: Final = 16
_MEMORY_SHARE: Final = 8
"""Processes may remember readings in one part in so many of the memory that is free, all together;
what each may in any case takes some 100 MB."""
_CHARACTER: Final = 4
"""Bytes that remembering a character takes, about: three were measured."""


def portions_of(plan: PlanPredicate) -> list[range]:
    """Return the portions of a plan: places of queries, whole blocks of draws where they fit.

    What a block shows is then read in one process alone.
    """
    count = len(plan.query_ids)
    size = max(1, POINTS_AT_ONCE // (plan.points // count))
    block = plan.demonstrations.draw_block
    if isinstance(block, int) and block <= _BLOCK_PORTIONS * size:
        size = max(block, size - size % block)
    return [range(start, min(start + size, count)) for start in range(0, count, size)]


def points_of(plan: PlanPredicate, portion: range) -> list[int]:
    """Return the points of a portion, in the order in which they are rendered.

    All conditions of a draw follow each other, but where there is one portion: that is in plan
    order.
    """
    draws = plan.demonstrations.draws
    each = len(plan.query_ids) * draws
    if len(portion) == len(plan.query_ids):
        return list(range(plan.points))
    return [
        condition * each + query * draws + draw
        for query in portion
        for draw in range(draws)
        for condition in range(len(plan.conditions))
    ]


def cores() -> int:
    """Return how many cores this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def remembered(processes: int) -> int:
    """Return how many characters of readings each of so many processes may remember.

    With fresh draws for each query rows of a corpus recur after thousands of others: at the
    paper's size, with 200,000 rows to draw from, a quarter of the time of rendering is saved.
    """
    each = available_memory() // _MEMORY_SHARE // processes
    return max(MOST_CHARACTERS, each // _CHARACTER)


def rendered_portions(
    renderer: Renderer,
    portions: Sequence[range],
    watch: Callable[[int], None],
    processes: int | None = None,
) -> Iterator[bytes]:
    """Yield the portions of a plan, rendered and packed, in their order.

    Args:
        renderer: Renders them.
        portions: Which.
        watch: Told how many more points were rendered.
        processes: Most processes to render in; None: as many as there are cores.

    Raises:
        UsageError: As :meth:`runner.prompts.rendering.Renderer.render`, of the first portion that
            has such a point.
    """
    wanted = min(len(portions), _MOST_PROCESSES, cores() if processes is None else processes)
    done = 0
    if wanted > 1 and sys.platform == "linux":
        for data in _in_processes(renderer, portions, wanted):
            watch(len(points_of(renderer.plan, portions[done])))
            yield data
            done += 1
    for portion in portions[done:]:
        yield _rendered(renderer, portion, watch)


def _rendered(renderer: Renderer, portion: range, watch: Callable[[int], None]) -> bytes:
    def points() -> Iterator[RenderedPoint]:
        for index in points_of(renderer.plan, portion):
            yield renderer.render(index)
            watch(1)

    return PackedPoints.pack(points()).to_bytes()


_HERE: Final[list[Renderer]] = []
"""Of a process that renders: what it renders with."""


def _in_processes(renderer: Renderer, portions: Sequence[range], processes: int) -> Iterator[bytes]:
    """Yield portions until there are no more, or one that a process could not render.

    Whoever goes on with that one meets the same error, or none where a process was ended.
    """
    context = get_context("fork")
    begin = (renderer, remembered(processes))
    executor = ProcessPoolExecutor(processes, context, initializer=_begin, initargs=begin)
    done = False
    try:
        with warnings.catch_warnings():
            # From Python 3.12 on a fork beside threads is warned of.  Those of this program draw
            # progress and send requests; a fork takes no lock of theirs.
            warnings.simplefilter("ignore", DeprecationWarning)
            futures = [executor.submit(_portion_here, portion) for portion in portions]
        for future in futures:
            data = future.result()
            if data is None:
                return
            yield data
        done = True
    except BrokenProcessPool:
        return
    finally:
        executor.shutdown(wait=done, cancel_futures=True)


def _begin(renderer: Renderer, characters: int) -> None:
    """Get a forked process ready."""
    _HERE.append(renderer)
    renderer.chat.remember(characters)
    gc.freeze()  # else each collection would look at all corpora, and copy their pages
    # As in a process of its own: what the one before does with them is not wanted here.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    # Its threads were not forked.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process, in the middle of whatever it does, when the one that forked it does."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _portion_here(portion: range) -> bytes | None:
    """Return a portion in a forked process; None: there is an error in it."""
    try:
        return _rendered(_HERE[-1], portion, lambda _: None)
    except (ReceiptsError, MemoryError):
        return None
