"""What a bar says of time: of the whole task, and named."""

from __future__ import annotations

import io

import pytest
from rich.cells import cell_len
from rich.console import Console
from rich.progress import Progress

from safety_receipts.receipts.present.progress import (
    pace_words,
    progress_bar,
    span_words,
    time_words,
)


class Clock:
    """Time that goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_what_is_left_follows_from_all_batches_and_not_from_the_last_moment(clock: Clock) -> None:
    """Batches of minutes each: rich's own estimate would have forgotten the first by the third."""
    progress = Progress(get_time=clock, disable=True)
    task = progress.add_task("points", total=2048, before=0)
    for batch, seconds in enumerate((300, 100, 200), start=1):
        clock.now += seconds
        progress.update(task, completed=512 * batch)
    (shown,) = progress.tasks
    assert time_words(shown) == "10 min 00 s so far, about 3 min 20 s left"
    assert pace_words(shown) == "2.6/s"
    clock.now += 20  # nothing new for a while: what is left does not jump
    assert time_words(shown) == "10 min 20 s so far, about 3 min 27 s left"


def test_what_was_done_before_it_began_here_does_not_count_as_pace(clock: Clock) -> None:
    progress = Progress(get_time=clock, disable=True)
    task = progress.add_task("points", total=1000, before=900)
    progress.update(task, completed=900)
    clock.now += 30
    (shown,) = progress.tasks
    assert time_words(shown) == "30 s so far"
    progress.update(task, completed=950)
    assert time_words(shown) == "30 s so far, about 30 s left"


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_bar_is_one_line_and_its_counts_are_whole(width: int) -> None:
    stream = io.StringIO()
    bar = progress_bar(Console(file=stream, width=width, force_terminal=True, color_system=None))
    bar.add_task(
        "points", total=123_456, completed=120_000, note="241.2 points/s  39,377 tokens/s", before=0
    )
    bar.refresh()
    table = bar.make_tasks_table(bar.tasks)
    with bar.console.capture() as captured:
        bar.console.print(table)
    (line,) = captured.get().splitlines()
    assert cell_len(line) <= width
    assert "120,000 of 123,456" in line
    assert "so far" in line
    assert ("39,377 tokens/s" in line) == (width == 120)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (3599, "59 min 59 s"),
        (3600, "1 h 00 min"),
        (86_399, "23 h 59 min"),
        (90_000, "1 d 01 h"),
    ],
)
def test_spans_of_time(seconds: float, words: str) -> None:
    assert span_words(seconds) == words
