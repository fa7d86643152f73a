"""Where a command's words go: results to stdout, everything else to stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn, TextIO

from rich.console import Console
from rich.text import Text

from safety_receipts.receipts.errors import FileAccessError
from safety_receipts.receipts.model.base import WireModel
from safety_receipts.receipts.present.progress import progress_bar

_PIPE_WIDTH = 120
"""Columns when stdout is no terminal: wide enough that no table cell is cut."""


class Output:
    """How one command speaks."""

    def __init__(self, *, as_json: bool = False, quiet: bool = False) -> None:
        self.as_json = as_json
        self.quiet = quiet
        self.begun = False
        """Whether the result's JSON document was begun: nothing else goes to stdout then."""

    @property
    def console(self) -> Console:
        """Console on stdout."""
        return _console(sys.stdout)

    def result(
        self, document: WireModel | Mapping[str, Any], render: Callable[[Console], None]
    ) -> None:
        """Give the result: as one JSON document, or drawn by ``render``.

        Args:
            document: The result as a model, or as the JSON value that it is already.
            render: Draws it.

        Raises:
            FileAccessError: Standard output cannot be written to.
        """
        try:
            if self.as_json:
                value = document.to_wire() if isinstance(document, WireModel) else document
                text = json.dumps(value, indent=2) + "\n"
                self.begun = True
                sys.stdout.write(text)
            else:
                render(self.console)
            sys.stdout.flush()
        except BrokenPipeError:
            raise  # the command line knows how other tools end
        except OSError as error:
            raise FileAccessError.from_os(error, "write", "standard output") from None

    def note(self, text: str) -> None:
        """Say something on the side, unless asked to be quiet."""
        if not self.quiet and not self.as_json:
            side = self.side
            side.print(Text(text, style="dim"), soft_wrap=not side.is_terminal)

    def warn(self, text: str) -> None:
        """Say on the side what is no error and should be mended, with ``--json`` too."""
        if not self.quiet:
            self.side.print(Text(text, style="yellow"), soft_wrap=True)

    @property
    def side(self) -> Console:
        """Console on stderr."""
        return _console(sys.stderr)

    @property
    def shows_progress(self) -> bool:
        """Whether somebody would see a bar: stderr is a terminal, and not to be quiet."""
        return not self.quiet and self.side.is_terminal

    @contextmanager
    def progress(self, what: str) -> Iterator[Callable[[int, int], None]]:
        """Show a bar with rate and time left on stderr, where that is a terminal.

        Yields:
            A function that is told how many items are done, and of how many.
        """
        if not self.shows_progress:
            yield lambda done, total: None
            return
        bar = progress_bar(self.side)
        with bar:
            task = bar.add_task(what, total=None)
            before: int | None = None

            def told(done: int, total: int) -> None:
                nonlocal before
                # What is told first was done before, or takes no time worth counting.
                before = done if before is None else before
                bar.update(task, completed=done, total=total, before=before)

            yield told


class _Console(Console):
    """A console that leaves a closed pipe to the command line, which knows the exit code."""

    def on_broken_pipe(self) -> NoReturn:
        """Say that the reader of the output went away (rich would exit with 1)."""
        raise BrokenPipeError


def _console(stream: TextIO) -> Console:
    console = _Console(file=stream, highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = _PIPE_WIDTH
    return console
