"""Starting a server on a folder whose files were hashed, on this machine alone, and stopping it.

The plan says with which arguments, of a closed list: others could load another model, run code or
change what is computed in ways that the receipt does not tell.  Which program is started is never
the plan's to say, as whoever runs a plan of somebody else's would run their program.
"""

from __future__ import annotations

import atexit
import ctypes
import os
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
from safety_receipts.runner.engines.served.client import Patience, ServedError, ServerClient
from safety_receipts.runner.engines.served.role import ServerRole

_HOST: Final = "127.0.0.1"
_GRACE: Final = 15.0
"""Seconds in which a server that is told to end does so."""
_READY: Final = 1800.0
"""Seconds in which a server loads its weights."""

_ALLOWED: Final = {
    ServerDialect.VLLM: frozenset(
        {
            "--attention-backend",
            "--block-size",
            "--data-parallel-size",
            "--disable-log-stats",
            "--enable-chunked-prefill",
            "--enable-prefix-caching",
            "--enforce-eager",
            "--gpu-memory-utilization",
            "--kv-cache-memory-bytes",
            "--max-model-len",
            "--max-num-batched-tokens",
            "--max-num-seqs",
            "--no-enable-chunked-prefill",
            "--no-enable-prefix-caching",
            "--pipeline-parallel-size",
            "--tensor-parallel-size",
        }
    ),
    ServerDialect.LLAMACPP: frozenset(
        {
            "--batch-size",
            "--cache-type-k",
            "--cache-type-v",
            "--ctx-size",
            "--flash-attn",
            "--n-gpu-layers",
            "--no-warmup",
            "--parallel",
            "--threads",
            "--threads-batch",
            "--ubatch-size",
        }
    ),
    ServerDialect.SGLANG: frozenset(),
}


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


def argument_problem(dialect: ServerDialect, arguments: Sequence[str]) -> str | None:
    """Return what is wrong with the arguments of a plan's ``serve``, or None."""
    allowed = _ALLOWED[dialect]
    for place, argument in enumerate(arguments):
        name = argument.partition("=")[0]
        if argument.startswith("-"):
            if name not in allowed:
                known = ", ".join(sorted(allowed))
                return (
                    f"{printable(name, 60)} is not one of the arguments that may be given: {known}"
                )
        elif place == 0 or not arguments[place - 1].startswith("-"):
            return f"{printable(argument, 60)} is the value of no argument"
    return None


class StartedServer:
    """A server that was started here.

    Args:
        command: What is started.
        role: Who asks it.

    Raises:
        UsageError: The program is not installed.
        IncompleteError: It ended, or took no requests in time.
    """

    def __init__(self, command: ServerCommand, role: ServerRole = ServerRole.ENGINE) -> None:
        program = _program(command.dialect, role)
        self._role = role
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 -- as long as the server
        port = _free_port()
        self._process = subprocess.Popen(
            command.words(program, port),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C ends the run, which ends the server
            # No thread of this run holds a lock yet that the child would wait for.
            preexec_fn=_end_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509
            env=os.environ
            | {
                "HF_HUB_OFFLINE": "1",
                "TRANSFORMERS_OFFLINE": "1",
                "VLLM_NO_USAGE_STATS": "1",
                "DO_NOT_TRACK": "1",
            },
        )
        self._at_exit: Callable[[], None] = self.close
        atexit.register(self._at_exit)
        self.url = f"http://{_HOST}:{port}"
        """Its address."""
        try:
            self._wait(ServerClient(self.url, Patience(seconds=5.0, attempts=1)))
        except BaseException:
            self.close()
            raise

    def _wait(self, client: ServerClient) -> None:
        ends = time.monotonic() + _READY
        while True:
            if self._process.poll() is not None:
                raise IncompleteError(
                    f"{self._role.words} ended before it took requests: {self._last_words()}",
                    hint="start it by hand with the same arguments to see all that it says",
                )
            with suppress(ServedError):
                client.get("/v1/models")
                if self._process.poll() is None:
                    return
            if time.monotonic() > ends:
                raise IncompleteError(f"{self._role.words} took no requests within {_READY:,.0f} s")
            time.sleep(0.2)

    def _last_words(self) -> str:
        """Return the last line that it wrote and that tells of an error, else the last one."""
        self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, self._log.tell() - 2**16))
        text = self._log.read().decode("utf-8", errors="replace")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        telling = [line for line in lines if "error" in line.lower()]
        return printable((telling or lines or ["it said nothing"])[-1], 300)

    def close(self) -> None:
        """Stop it, and everything that it started."""
        atexit.unregister(self._at_exit)
        if self._process.poll() is None:
            self._signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_GRACE)
        self._signal(signal.SIGKILL)  # what it left behind, too
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE)
        self._log.close()

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


def _end_with_parent() -> None:
    """Ask Linux to end this process when the one that started it ends, however that does."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
