"""A reader's terminal: the commands of a page, run in this process as far as they are ours."""

from __future__ import annotations

import io
import re
import shlex
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from safety_receipts.receipts.cli import main


@dataclass
class Console:
    """A shell for what the pages use: ``receipts``, ``python FILE``, ``cd``, ``echo $?``, variables
    before a command, ``| grep WORD`` and ``> FILE``.
    """

    home: Path
    """The reader's folder: where each block begins."""
    code: int = 0
    """Exit code of the last command."""
    folder: Path = field(init=False)

    def __post_init__(self) -> None:
        self.folder = self.home

    def begin(self) -> None:
        """Begin another block."""
        self.folder, self.code = self.home, 0

    def run(self, command: str) -> str:
        """Run a command line, and return what a terminal shows of it.

        Raises:
            ValueError: The command is none that is known here.
        """
        command, _, file = command.partition(" > ")
        command, _, filtered = command.partition(" | grep ")
        words = shlex.split(command)
        if words == ["echo", "$?"]:
            return f"{self.code}\n"
        if words[0] == "cd":
            self.folder = self.folder / words[1]
            return ""
        out, everything = self._execute(words)
        if file:
            (self.folder / file).write_text(out, "utf-8")
            return ""
        if filtered:
            return "".join(f"{line}\n" for line in out.splitlines() if filtered in line)
        return everything

    def _execute(self, words: list[str]) -> tuple[str, str]:
        """Return what a program writes to stdout, and what a terminal shows."""
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.folder)
            # A reader's environment, not that of the tests.
            patch.delenv("RECEIPTS_VERIFY_ALLOW_INSTRUMENT", raising=False)
            # Where the tests run, the command need not be installed.
            own = [sys.executable, "-m", "safety_receipts"]
            patch.setenv("RECEIPTS_COMMAND", shlex.join(own))
            while variable := re.fullmatch(r"(\w+)=(.*)", words[0]):
                patch.setenv(*variable.groups())
                words = words[1:]
            if words[0] == "receipts":
                return self._receipts(words[1:])
            if words[0] == "python":
                done = subprocess.run(
                    [sys.executable, *words[1:]], capture_output=True, text=True, check=False
                )
                self.code = done.returncode
                return done.stdout, done.stdout + done.stderr
        raise ValueError(f"no command of these pages: {words[0]}")

    def _receipts(self, arguments: list[str]) -> tuple[str, str]:
        terminal = _Terminal()
        out, err = _Stream(terminal), _Stream(terminal)
        with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as stopped:
            main(arguments)
        assert isinstance(stopped.value.code, int)
        self.code = stopped.value.code
        return out.getvalue(), terminal.getvalue()


class _Terminal(io.StringIO):
    """Both streams, in the order of what was written."""


class _Stream(io.StringIO):
    """One stream, whose text goes to the terminal as well."""

    def __init__(self, terminal: _Terminal) -> None:
        super().__init__()
        self._terminal = terminal

    def write(self, text: str) -> int:
        self._terminal.write(text)
        return super().write(text)
