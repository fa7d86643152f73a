"""What somebody sees who calls a command at a terminal."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import Final

COLUMNS: Final = 80


def on_a_terminal(*words: str, folder: Path, side: Path | None = None) -> str:
    """Return what a terminal of 80 columns is sent by a command that ends well, without colours.

    Args:
        words: The command.
        folder: Where it is called.
        side: File for what it says on the side, as its progress; None: the terminal.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, COLUMNS, 0, 0))
    environment = {key: value for key, value in os.environ.items() if key != "COLUMNS"}
    with contextlib.ExitStack() as stack:
        beside = theirs if side is None else stack.enter_context(side.open("w"))
        running = subprocess.Popen(
            [sys.executable, "-m", "safety_receipts", *words],
            cwd=folder,
            stdin=theirs,
            stdout=theirs,
            stderr=beside,
            env=environment,
        )
        os.close(theirs)
        parts = []
        with contextlib.suppress(OSError):  # Linux's way to say that the other end is closed
            while part := os.read(ours, 1 << 16):
                parts.append(part)
        os.close(ours)
        code = running.wait()
    text = b"".join(parts).decode().replace("\r\n", "\n")
    assert code == 0, text if side is None else side.read_text()
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
