"""Programs that are started in a server's place, and what became of their processes."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from safety_receipts.receipts.model.checkpoint import Dtype
from safety_receipts.receipts.model.plan import ServerDialect
from safety_receipts.runner.engines.served.launch import ServerCommand

SERVES = """
import json, os, signal, subprocess, sys, time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
port = int(sys.argv[sys.argv.index("--port") + 1])
notes = Path({notes!r})
def note(name, value):
    (notes / (name + ".new")).write_text(value, "utf-8")
    (notes / (name + ".new")).rename(notes / name)
{before}
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.send_header("Content-Length", "2"); self.end_headers()
        self.wfile.write(b"{{}}")
    def log_message(self, *_): pass
HTTPServer.allow_reuse_address = True
server = HTTPServer(("127.0.0.1", port), Handler)
note("server", str(os.getpid()))
server.serve_forever()
"""
"""Answers; notes its process id."""

STARTS = """
from pathlib import Path
from safety_receipts.receipts.model.checkpoint import Dtype
from safety_receipts.receipts.model.plan import ServerDialect
from safety_receipts.runner.engines.served.launch import ServerCommand, StartedServer
started = StartedServer(
    ServerCommand(ServerDialect.LLAMACPP, Path("/m"), "m.gguf", Dtype.FLOAT32, "model", [])
)
"""
"""Starts one, in a process of its own."""


def command(dialect: ServerDialect = ServerDialect.LLAMACPP) -> ServerCommand:
    """Return what is started."""
    return ServerCommand(dialect, Path("/m"), "m.gguf", Dtype.FLOAT32, "model", ["--threads", "2"])


def write_program(folder: Path, text: str, name: str = "program") -> Path:
    """Write a program of Python."""
    path = folder / name
    path.write_text(f"#!{sys.executable}\n{text}\n", "utf-8")
    path.chmod(0o755)
    return path


def write_server(folder: Path, before: str = "") -> Path:
    """Write a program that answers.

    Args:
        folder: Where it lies, and writes its notes.
        before: What it does first.
    """
    return write_program(folder, SERVES.format(notes=str(folder), before=before))


def noted(path: Path) -> str:
    """Return what a program notes, once it does."""
    ends = time.monotonic() + 30
    while not path.exists() and time.monotonic() < ends:
        time.sleep(0.02)
    return path.read_text("utf-8")


def runs(pid: int) -> bool:
    """Say whether a process runs."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def ends_soon(pid: int) -> bool:
    """Say whether a process ends within some seconds."""
    ends = time.monotonic() + 15
    while runs(pid) and time.monotonic() < ends:
        time.sleep(0.05)
    return not runs(pid)
