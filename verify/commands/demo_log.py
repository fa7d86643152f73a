"""The log of ``receipts demo``, and its witness: a process of its own, as elsewhere a machine."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from safety_receipts.receipts.errors import IncompleteError
from safety_receipts.receipts.io.files import atomic_write
from safety_receipts.receipts.keys import load_signer
from safety_receipts.receipts.log.folder import LogSigner
from safety_receipts.receipts.log.formats.cosignature import WitnessSigner

LOG_ORIGIN: Final = "example.com/demo/log"
"""Origin of the demonstration's log."""
WITNESS_NAME: Final = "example.com/demo/witness"
"""Name of its witness."""
_SETTINGS: Final = b"version: 1\npolicy: log-policy\nlog: log\nkey: log.key\n"
_SECONDS: Final = 10.0
"""Longest wait for the witness to end."""


@dataclass(frozen=True)
class DemoLog:
    """What the demonstration keeps of its log."""

    out: Path
    """The folder of all."""

    @property
    def settings(self) -> Path:
        """What ``--log`` of run and audit takes."""
        return self.out / "log.yaml"

    @property
    def terms(self) -> tuple[str | Path, ...]:
        """Options that hold a receipt to the log."""
        return ("--log-policy", self.out / "log-policy", "--log", self.out / "log")

    def make(self, run: Callable[..., None], quietly: Sequence[object]) -> None:
        """Make log and witness.

        Args:
            run: Runs a command as a user would.
            quietly: What is shown of those that say much.
        """
        out, witness = self.out, self.out / "witness.key"
        run("keygen", out / "log.key", shown=quietly)
        named = ("--origin", LOG_ORIGIN, "--key", out / "log.key", "--quiet")
        run("log", "init", out / "log", *named, shown=())  # its key is a long line
        run("keygen", witness, shown=quietly)
        state = out / "witness.sqlite"
        named = ("--name", WITNESS_NAME, "--key", witness, "--quiet")
        run("log", "witness", "init", state, *named, shown=())
        log = LogSigner.of(LOG_ORIGIN, load_signer(out / "log.key"), out / "log.key")
        atomic_write(out / "log-policy", f"log {log.public.vkey}\nquorum none\n".encode())
        atomic_write(self.settings, _SETTINGS)

    @contextmanager
    def witnessed(self, shown: Callable[..., None]) -> Iterator[None]:
        """Run the witness for a block; the policy asks for it from then on.

        Args:
            shown: Shows a command that is started.

        Raises:
            IncompleteError: It does not start.
        """
        key, policy = self.out / "witness.key", self.out / "log-policy"
        words: tuple[str | Path, ...] = (
            *("log", "witness", "serve", self.out / "witness.sqlite", "--name", WITNESS_NAME),
            *("--key", key, "--policy", policy),
        )
        shown(*words, "&")
        process = subprocess.Popen(
            [sys.executable, "-m", "safety_receipts", *map(str, words), "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        try:
            url = _address(process)
            public = WitnessSigner.of(WITNESS_NAME, load_signer(key), key).public.vkey
            log = policy.read_text("utf-8").splitlines()[0]
            lines = f"{log}\nwitness a-witness {public} {url}\nquorum a-witness\n"
            atomic_write(policy, lines.encode())
            yield
        finally:
            assert process.stdout is not None
            process.stdout.close()
            process.terminate()
            try:
                process.wait(_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _address(process: subprocess.Popen[str]) -> str:
    """Return where a witness serves, as its first document says."""
    assert process.stdout is not None
    text = ""
    while line := process.stdout.readline():
        text += line
        if line.rstrip() == "}":
            found: str = json.loads(text)["url"]
            return found
    raise IncompleteError("the demonstration's witness does not start", hint="receipts doctor")
