"""Columns of progress bars: how fast it goes and how long it takes, over the whole of it.

rich's own estimate looks at the last half minute, which says little of work that is done in batches
of minutes each.
"""

from __future__ import annotations

from typing import Final

from rich.console import Console
from rich.progress import ProgressColumn, Task
from rich.text import Text

_SHORTEST_BAR: Final = 6
_LONGEST_BAR: Final = 40


def pace(task: Task) -> float | None:
    """Return items per second since the task began here; None: nothing is known yet.

    Args:
        task: Its field ``before`` says how much was done before, as in a run that is gone on with.
    """
    elapsed, before = task.finished_time or task.elapsed, task.fields.get("before") or 0
    done = task.completed - before
    return done / elapsed if elapsed and done > 0 else None


class PaceColumn(ProgressColumn):
    """Items per second, over the whole task."""

    def render(self, task: Task) -> Text:
        """Return the pace; empty where none is known yet."""
        rate = pace(task)
        if rate is None:
            return Text("")
        return Text(f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.1f}/s", "progress.data.speed")


class TimesColumn(ProgressColumn):
    """Time since the task began here, and what is left at the pace so far; both are named."""

    max_refresh = 0.5

    def render(self, task: Task) -> Text:
        """Return both; what is left only where it is known."""
        elapsed = task.finished_time or task.elapsed
        text = f"{span_words(elapsed or 0)} so far"
        rate = pace(task)
        if rate is not None and task.total is not None and not task.finished:
            text += f", about {span_words((task.total - task.completed) / rate)} left"
        return Text(text, "progress.elapsed")


def bar_cells(console: Console, others: int) -> int:
    """Return how long a bar is, so that it stands on one line with so many other characters."""
    return max(_SHORTEST_BAR, min(_LONGEST_BAR, console.width - others))


def span_words(seconds: float) -> str:
    """Return a span of time: ``45 s``, ``3 min 20 s``, ``2 h 05 min``, ``3 d 04 h``."""
    whole = round(seconds)
    for size, name, part, within in ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min")):
        if whole >= size:
            return f"{whole // size} {name} {whole % size // part:02} {within}"
    return f"{whole // 60} min {whole % 60:02} s" if whole >= 60 else f"{whole} s"
