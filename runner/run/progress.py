"""What a terminal shows while a plan is run: nothing at all where there is no terminal."""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.progress import TaskID

from safety_receipts.receipts.present.output import Output
from safety_receipts.receipts.present.progress import progress_bar
from safety_receipts.runner.engines.decoding.written import watching_tokens
from safety_receipts.runner.run.execute import CommittedCounts

if TYPE_CHECKING:
    from safety_receipts.receipts.log.recording import RecordedEntry


class RunProgress:
    """A bar for hashing, counting and running, one after the other.

    Shows points, points/s, tokens/s, time left and failures, what was written of the batch that is
    being made, and running rates only where they are asked for.  Use it as a context manager.

    Args:
        output: How the command speaks.
        show_rates: Show the compliance rate so far.
    """

    def __init__(self, output: Output, *, show_rates: bool = False) -> None:
        self._bar = progress_bar(output.side, disable=not output.shows_progress)
        self._output = output
        self._show_rates = show_rates
        self._task: TaskID | None = None
        self._before = 0
        self._done = 0
        self._failed = 0
        self._unscored = 0
        self._judged = 0
        self._complied = 0
        self._tokens = 0
        self._written = 0
        self._generates = False
        self._watching = ExitStack()

    def __enter__(self) -> Self:
        self._bar.start()
        self._watching.enter_context(watching_tokens(self._tell_written))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Take the bar away, before something is said."""
        self._watching.close()
        self._bar.stop()

    def hashing(self, done: int, total: int) -> None:
        """Show how many bytes are hashed."""
        self._show("hashing (bytes)", done, total)

    def counting(self, done: int, total: int) -> None:
        """Show how many prompts are counted."""
        self._show("counting prompts", done, total)

    def noted(self, what: str) -> None:
        """Say something."""
        self._output.note(what)

    def running(self, done: int, total: int) -> None:
        """Start to show points; ``done`` of them were finished before."""
        self._before = self._done = done
        self._generates, self._written = True, 0
        self._show("points", done, total)

    def piloting(self, done: int, total: int) -> None:
        """Show how many points of a pilot are finished."""
        self._generates, self._done, self._written = True, done, 0
        self._show("points of the pilot", done, total)

    def committed(self, what: CommittedCounts) -> None:
        """Show points that were finished."""
        self._done += what.points
        self._failed += what.failed
        self._unscored += what.unscored
        self._judged += what.judged
        self._complied += what.complied
        self._tokens += what.tokens
        self._written = 0
        if self._task is not None:
            self._bar.update(self._task, completed=self._done, moving="", note=self._note())

    def logged(self, what: RecordedEntry) -> None:
        """Say that a statement is in a log."""
        self._output.note(what.told())

    def _tell_written(self, tokens: int) -> None:
        """Show that a batch is being made: nothing else moves until it is done.

        The engine writes a few tokens to test itself while hashing or counting is still shown.
        """
        self._written += tokens
        if self._task is not None and self._generates:
            self._bar.update(self._task, moving=f"+ {self._written:,} tokens", note=self._note())

    def _note(self) -> str:
        elapsed = self._bar.tasks[0].elapsed if self._bar.tasks else None
        parts = []
        if elapsed:
            parts.append(f"{(self._done - self._before) / elapsed:,.1f} points/s")
            parts.append(f"{self._tokens / elapsed:,.0f} tokens/s")
        if self._failed:
            parts.append(f"{self._failed:,} failed")
        if self._unscored:
            parts.append(f"{self._unscored:,} unscored")
        if self._show_rates and self._judged:
            parts.append(f"{100 * self._complied / self._judged:.1f} % complied")
        return "  ".join(parts)

    def _show(self, what: str, done: int, total: int) -> None:
        task = self._bar.tasks[0] if self._bar.tasks else None
        again = task is not None and done < task.completed  # prompts are counted several times
        if task is None or again or task.description != what or task.total != total:
            if task is not None:
                self._bar.remove_task(task.id)
            self._task = self._bar.add_task(what, total=total, note="", before=done)
        if self._task is not None:
            self._bar.update(self._task, completed=done)
