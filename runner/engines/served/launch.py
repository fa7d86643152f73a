"""Starting a server on a folder whose files were hashed, on this machine alone, and stopping it.

The plan says with which arguments, of a closed list (:mod:`.started.arguments`): others could load
another model, run code or change what is computed in ways that the receipt does not tell; for the
same reason it gets few of this process's environment variables (:mod:`.started.variables`).  What
answers is believed to be this server where the system says that it is this process that listens
(:mod:`.started.listener`), and it ends with this one (:mod:`.started.watcher`).  Which program is
started is never the plan's to say, as whoever runs a plan of somebody else's would run their
program.
"""

from __future__ import annotations

import atexit
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, assert_never

from safety_receipts.receipts.errors import IncompleteError, UsageError
from safety_receipts.receipts.io.text import printable
from safety_receipts.receipts.model.checkpoint import Dtype
from safety_receipts.receipts.model.plan import ServerDialect
from safety_receipts.runner.engines.served.client import (
    NonsenseError,
    Patience,
    ServedError,
    ServerClient,
    UnreachableError,
)
from safety_receipts.runner.engines.served.role import ServerRole
from safety_receipts.runner.engines.served.started import watcher
from safety_receipts.runner.engines.served.started.listener import Listening, can_tell, listening
from safety_receipts.runner.engines.served.started.variables import server_variables

_HOST: Final = "127.0.0.1"
_GRACE: Final = 5.0
"""Seconds in which a server that is told to end does so."""
_CAUSE: Final = re.compile(r"\b[A-Za-z]*(Error|Exception)\b: \S")
"""An error with what it says."""
_KILLED: Final = 10.0
"""Seconds in which what is killed is gone."""
_READY: Final = 1800.0
"""Seconds in which a server loads its weights."""


@dataclass(frozen=True)
class ServerCommand:
    """What is started."""

    dialect: ServerDialect
    """What it speaks."""
    folder: Path
    """The model's folder, whose files were hashed."""
    weights: str | None
    """Name of the file in it that is loaded; None: the folder."""
    dtype: Dtype
    """Number format, where the server is told one."""
    model: str
    """Name under which it offers the model."""
    arguments: Sequence[str]
    """Further arguments."""

    def words(self, program: str, port: int) -> list[str]:
        """Return the command line.

        Raises:
            UsageError: The tool starts no such server.
        """
        place = ["--host", _HOST, "--port", str(port)]
        match self.dialect:
            case ServerDialect.VLLM:
                named = ["--served-model-name", self.model, "--dtype", self.dtype.value]
                # Else what generation_config.json says would be a server's defaults.
                plain = ["--generation-config", "vllm"]
                return [
                    *(program, "serve", str(self.folder)),
                    *(*place, *named, *plain, *self.arguments),
                ]
            case ServerDialect.LLAMACPP:
                file = str(self.folder / (self.weights or ""))
                return [program, "--model", file, *place, "--alias", self.model, *self.arguments]
            case ServerDialect.SGLANG:
                raise UsageError(
                    "the tool starts no server of SGLang, as none was tried",
                    hint="start it yourself, and name its address (url)",
                )
            case _:
                assert_never(self.dialect)


class StartedServer:
    """A server that was started here.

    Args:
        command: What is started.
        role: Who asks it.

    Raises:
        UsageError: The program is not installed, or this system does not tell whose server takes
            requests at a port.
        IncompleteError: It ended, took no requests in time, or another process takes them in its
            place.
    """

    def __init__(self, command: ServerCommand, role: ServerRole = ServerRole.ENGINE) -> None:
        program = _program(command.dialect, role)
        if not can_tell():
            raise UsageError(
                "this system does not tell whose server takes requests at a port, so that another "
                "could answer in the place of one that the tool starts",
                hint="start the server yourself, and name its address (url)",
            )
        self._role = role
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 -- as long as the server
        self._port = _free_port()
        self._ended = False
        words = command.words(program, self._port)
        self._command = printable(shlex.join(words), 600)
        self._process, self._lifeline = self._started(words)
        self._at_exit: Callable[[], None] = self.close
        atexit.register(self._at_exit)
        self.url = f"http://{_HOST}:{self._port}"
        """Its address."""
        try:
            self._wait(ServerClient(self.url, Patience(seconds=5.0, attempts=1)))
        except BaseException:
            self.close()
            raise

    def _started(self, words: Sequence[str]) -> tuple[subprocess.Popen[bytes], IO[bytes]]:
        """Start the process that starts the server and ends with this one."""
        theirs, ours = os.pipe()  # neither is inherited by anything else
        lifeline: IO[bytes] = os.fdopen(ours, "wb", buffering=0)
        try:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", watcher.__file__, *words],
                stdin=theirs,
                stdout=self._log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C ends the run, which ends the server
                env=server_variables(os.environ),
            )
        except OSError as error:
            lifeline.close()
            self._log.close()
            raise IncompleteError(
                f"{self._role.words} cannot be started: {error.strerror or type(error).__name__}",
                hint="give this program leave to start processes",
            ) from None
        finally:
            os.close(theirs)
        return process, lifeline

    def _wait(self, client: ServerClient) -> None:
        ends = time.monotonic() + _READY
        while True:
            if self._process.poll() is not None:
                raise IncompleteError(
                    f"{self._role.words} ended before it took requests: {self._last_words()}",
                    hint=f"start it by hand to see all that it says: {self._command}",
                )
            if self._takes_requests():
                with suppress(ServedError):
                    client.get("/v1/models")
                    if self._process.poll() is None and self._takes_requests():
                        return
            if time.monotonic() > ends:
                raise IncompleteError(f"{self._role.words} took no requests within {_READY:,.0f} s")
            time.sleep(0.2)

    def _takes_requests(self) -> bool:
        """Say whether the started process takes connections.

        Raises:
            IncompleteError: Another does.
        """
        found = listening(self._process.pid, self._port)
        if found is Listening.FOREIGN:
            raise IncompleteError(
                f"another process takes requests at {_HOST}:{self._port}, where "
                f"{self._role.words} was to take them",
                hint="run the same command again: another port is then taken",
            )
        return found is Listening.OWN

    def confirm(self) -> None:
        """Make sure that it runs, and that it and no other process takes requests.

        Raises:
            UnreachableError: It has ended, or takes none.
            NonsenseError: Another process takes them.
        """
        found = listening(self._process.pid, self._port)
        if found is Listening.FOREIGN:
            raise NonsenseError(
                "another process takes requests where the server did that the tool started"
            )
        if self._process.poll() is not None:
            raise UnreachableError(f"it has ended: {self._last_words()}")
        if found is Listening.NOBODY:
            raise UnreachableError("it takes no more requests")

    def _last_words(self) -> str:
        """Return the line that tells best what went wrong.

        That is the first error of a kind that points to no other, else the last line that tells of
        an error, else the last one.
        """
        self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, self._log.tell() - 2**16))
        text = self._log.read().decode("utf-8", errors="replace")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        telling = [line for line in lines if "error" in line.lower()]
        causes = [line for line in telling if _CAUSE.search(line) and "root cause" not in line]
        best = causes[0] if causes else (telling or lines or ["it said nothing"])[-1]
        return printable(best, 300)

    def close(self) -> None:
        """Stop it, and everything that it started.

        Whatever interrupts this, a second Ctrl-C included, it is killed on the way out.
        """
        if self._ended:
            return
        try:
            if self._process.poll() is None:
                self._signal(signal.SIGTERM)
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(_GRACE)
        finally:
            try:
                self._kill()
            finally:
                self._lifeline.close()  # which ends it in any case
                self._log.close()
                self._ended = True
                atexit.unregister(self._at_exit)

    def _kill(self) -> None:
        """Kill it at once, and all that it started."""
        try:
            if self._process.poll() is None:
                with suppress(OSError):
                    self._lifeline.write(b"!")
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(_KILLED)
        finally:
            if self._process.returncode is None or self._process.returncode < 0:
                self._signal(signal.SIGKILL)  # its watcher did not do so
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(_KILLED)

    def _signal(self, number: signal.Signals) -> None:
        # Its process group is its own session: nothing else is in it.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)


def _program(dialect: ServerDialect, role: ServerRole) -> str:
    name = "vllm" if dialect is ServerDialect.VLLM else "llama-server"
    stated = os.environ.get(role.program)
    found = shutil.which(stated or name)
    if found is None:
        raise UsageError(
            f"the program {printable(stated or name)} is not installed",
            hint=f"install it, or name it in the environment variable {role.program}",
        )
    return found


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind((_HOST, 0))
        port: int = taken.getsockname()[1]
        return port
