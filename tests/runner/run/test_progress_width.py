"""A bar stands on one line of a terminal of 80 columns, whatever it tells."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from safety_receipts.receipts.present.output import Output
from safety_receipts.runner.run.execute import CommittedCounts
from safety_receipts.runner.run.progress import RunProgress


def terminal(width: int) -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=width)


@pytest.mark.parametrize("width", [80, 120, 200])
def test_of_a_run(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    console = terminal(width)
    monkeypatch.setattr(Output, "side", console)
    with RunProgress(Output()) as progress:
        progress.running(0, 3600)
        task = progress._bar.tasks[0]
        assert task.start_time is not None
        task.start_time -= 65.0
        counts = CommittedCounts(
            points=512, failed=0, unscored=0, judged=512, complied=100, tokens=66_882
        )
        progress.committed(counts)
        progress._tell_written(2560)
        drawn = terminal(width)
        drawn.print(progress._bar.get_renderable())
    assert isinstance(drawn.file, io.StringIO)
    lines = drawn.file.getvalue().splitlines()
    assert len(lines) == 1
    for told in ("points", "512 of 3,600", "+ 2,560 tokens", "so far", "left"):
        assert told in lines[0]


@pytest.mark.parametrize("width", [80, 120])
def test_of_any_other_task(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    console = terminal(width)
    monkeypatch.setattr(Output, "side", console)
    with Output().progress("hashing (bytes)") as told:
        told(0, 24_000)
        told(12_000, 24_000)
    # What is drawn last stays in the buffer: no line is broken before its times.
    shown = console.file.getvalue() if isinstance(console.file, io.StringIO) else ""
    assert "12,000 of 24,000" in shown
    assert not any(line.strip() in ("left", "s left") for line in shown.splitlines())


def test_tokens_are_told_of_points_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine tries itself out before the first point; hashing is no business of tokens."""
    monkeypatch.setattr(Output, "side", terminal(80))
    with RunProgress(Output()) as progress:
        progress.hashing(10, 10)
        progress._tell_written(45)
        assert "tokens" not in str(progress._bar.tasks[0].fields)
        progress.running(0, 3600)
        progress._tell_written(512)
        assert progress._bar.tasks[0].fields["moving"] == "+ 512 tokens"


def test_a_second_count_has_a_time_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Output, "side", terminal(80))
    with RunProgress(Output()) as progress:
        progress.counting(3600, 3600)
        first = progress._bar.tasks[0].id
        progress.counting(19, 3600)
        assert [task.completed for task in progress._bar.tasks] == [19]
        assert progress._bar.tasks[0].id != first
