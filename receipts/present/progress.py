"""Progress bars: how fast it goes and how long it takes, over the whole of it.

rich's own estimate looks at the last half minute, which says little of work that is done in batches
of minutes each.
"""

from __future__ import annotations

from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.table import Column
from rich.text import Text

_BAR_WIDTH: Final = 16
_NARROW: Final = 100
"""Columns of a terminal below which there is no bar: what is said beside it has to fit."""


def pace(task: Task) -> float | None:
    """Return items per second since the task began here; None: nothing is known yet.

    Args:
        task: Its field ``before`` says how much was done before, as in a run that is gone on with.
    """
    elapsed, before = task.finished_time or task.elapsed, task.fields.get("before") or 0
    done = task.completed - before
    return done / elapsed if elapsed and done > 0 else None


def pace_words(task: Task) -> str:
    """Return items per second; empty where nothing is known yet."""
    rate = pace(task)
    return "" if rate is None else f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.1f}/s"


def time_words(task: Task) -> str:
    """Return the time since the task began here, and what is left at the pace so far."""
    text = f"{span_words(task.finished_time or task.elapsed or 0)} so far"
    rate = pace(task)
    if rate is None or task.total is None or task.finished:
        return text
    return f"{text}, about {span_words((task.total - task.completed) / rate)} left"


class CountsColumn(ProgressColumn):
    """How much is done, the time that it took and takes, and what else is said of it.

    On a narrow terminal the end of it is left out, and never the beginning.
    """

    max_refresh = 0.25

    def render(self, task: Task) -> Text:
        """Return one line.

        The task's field ``moving``, what is being made, stands before the times; its field
        ``note``, or its pace, stands last.
        """
        of = "?" if task.total is None else f"{task.total:,.0f}"
        parts = [
            f"{task.completed:,.0f} of {of}",
            task.fields.get("moving", ""),
            time_words(task),
            task.fields.get("note") or pace_words(task),
        ]
        line = "  ".join(part for part in parts if part)
        return Text(line, "progress.elapsed", no_wrap=True, overflow="ellipsis")


def progress_bar(console: Console, *, disable: bool = False) -> Progress:
    """Return a bar that is gone when it ends, on one line however narrow the terminal is.

    Args:
        console: Where it is shown.
        disable: Show nothing.
    """
    bars = [BarColumn(bar_width=_BAR_WIDTH)] if console.width >= _NARROW else []
    return Progress(
        TextColumn("{task.description}", table_column=Column(no_wrap=True)),
        *bars,
        CountsColumn(),
        console=console,
        transient=True,
        disable=disable,
    )


def span_words(seconds: float) -> str:
    """Return a span of time: ``45 s``, ``3 min 20 s``, ``2 h 05 min``, ``3 d 04 h``."""
    whole = round(seconds)
    for size, name, part, within in ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min")):
        if whole >= size:
            return f"{whole // size} {name} {whole % size // part:02} {within}"
    return f"{whole // 60} min {whole % 60:02} s" if whole >= 60 else f"{whole} s"
