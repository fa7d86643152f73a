"""A model's folder is tried in a process of its own before this one runs anything of it.

A configuration, a tokenizer and a chat template are programs of sorts: a template may never end,
a number in a configuration may ask for more memory than there is, a damaged tokenizer may end the
process that loads it.  So they are first loaded, and a short conversation is rendered, in a child
process with bounds on time and memory (:mod:`runner.trial.server`); what fails there is
an error here, and is never run here.

The child is forked from a small process that has loaded transformers without torch.  This one is
started once, when the first folder is tried, and ends with the process that started it.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import json
import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any, Final

from safety_receipts.receipts.errors import (
    FileAccessError,
    IncompleteError,
    MalformedError,
    ReceiptsError,
    UsageError,
)
from safety_receipts.runner.checkpoint.model_files import PICKLE_ENDINGS
from safety_receipts.runner.checkpoint.tokenizer_files import TEMPLATE_FOLDER
from safety_receipts.runner.organism import members
from safety_receipts.runner.vocabulary.refusal import RewritingTokenizerError


@dataclass(frozen=True, slots=True)
class TrialBounds:
    """How long a folder may take to be tried, and how much memory."""

    seconds: int = 60
    """By the clock, and of computing."""
    memory: int = 4 * 2**30
    """Bytes of address space beyond those of a process that has loaded transformers."""


BOUNDS: TrialBounds = TrialBounds()
"""A tokenizer of 260,000 tokens takes some seconds and less than 1 GiB."""


class TrialPart(StrEnum):
    """What of a folder is tried."""

    CONFIG = "config"
    """``config.json``, by transformers' class for it."""
    TOKENIZER = "tokenizer"
    """The tokenizer's files."""
    CHAT = "chat"
    """The tokenizer's files, and the chat template on a short conversation."""


_DOES: Final = {
    "config": "reading the configuration",
    "tokenizer": "loading the tokenizer",
    "template": "rendering the chat template",
}
_HINT: Final = "no checkpoint in use does that; get the folder again from its source"
_WEIGHTS: Final = (*PICKLE_ENDINGS, ".safetensors", ".gguf", ".msgpack", ".h5", ".onnx")
_MAX_READ: Final = 2**28
"""Longest file that is read for its content: a tokenizer's are far shorter."""
_KINDS: Final[dict[str, type[ReceiptsError]]] = {
    each.kind: each
    for each in (
        UsageError,
        MalformedError,
        FileAccessError,
        IncompleteError,
        RewritingTokenizerError,
    )
}

inside = False
"""Whether this process is the child in which folders are tried."""


def tried(folder: Path, part: TrialPart) -> None:
    """Try part of a folder in a child process, unless the same bytes were tried before.

    Args:
        folder: A model's folder.
        part: What of it is about to be run here.

    Raises:
        MalformedError: It takes more time or memory than :data:`BOUNDS`, raises something that
            nothing expects, or ends the process.
        ReceiptsError: It cannot be loaded, as whoever loads it says.
        IncompleteError: No child process can be started.
    """
    if inside or not folder.is_dir():
        return
    content = _content(folder)
    if content in _shipped():
        return
    key = (part, content, BOUNDS)
    if key not in _outcomes:
        _outcomes[key] = _server().ask(folder, part, BOUNDS)
    error = _error_of(_outcomes[key], folder, BOUNDS)
    if error is not None:
        raise error


def get_ready(folder: Path) -> None:
    """Start the process from which a folder will be tried, unless it need not be.

    It loads its libraries while this one does something else; nothing of the folder is run.
    """
    if inside or not folder.is_dir():
        return
    content = _content(folder)
    tried_before = any((part, content, BOUNDS) in _outcomes for part in TrialPart)
    if not tried_before and content not in _shipped():
        with contextlib.suppress(IncompleteError):  # said when the folder is tried
            _server()


_outcomes: dict[tuple[TrialPart, str, TrialBounds], dict[str, Any]] = {}


def _content(folder: Path) -> str:
    """Return a digest of the names and bytes of all files that are no weights."""
    sha256 = hashlib.sha256()
    for file in sorted((*folder.glob("*"), *(folder / TEMPLATE_FOLDER).glob("*.jinja"))):
        if file.name.lower().endswith(_WEIGHTS) or not file.is_file():
            continue
        try:
            status = file.stat()
            if status.st_size > _MAX_READ:
                digest = f"{status.st_ino} {status.st_size} {status.st_mtime_ns}"
            else:
                with file.open("rb") as stream:
                    digest = hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError:
            digest = "unreadable"  # whoever reads it says so
        sha256.update(f"{file.relative_to(folder)}\0{digest}\0".encode(errors="surrogateescape"))
    return sha256.hexdigest()


@cache
def _shipped() -> frozenset[str]:
    """Return the contents of the folders that come with this program."""
    return frozenset(_content(member.folder) for member in members())


def _error_of(outcome: dict[str, Any], folder: Path, bounds: TrialBounds) -> ReceiptsError | None:
    stage, file = outcome.get("stage", ""), folder / outcome.get("file", "")
    does = _DOES.get(stage, "trying it")
    match outcome["what"]:
        case "good":
            return None
        case "refused":
            kind = _KINDS.get(outcome["kind"], MalformedError)
            # The file is named by its place in the folder, as equal folders share an outcome.
            return kind(outcome["message"], file=file, place=outcome["place"], hint=outcome["hint"])
        case "seconds":
            said = f"{does} takes more than {bounds.seconds} seconds"
        case "memory":
            said = f"{does} takes more than {bounds.memory / 2**30:g} GiB of memory"
        case "raises":
            said = f"{does} raises {outcome['message']}"
        case _:
            said = f"{does} ends the process ({outcome['message']})"
    return MalformedError(said, file=file, hint=_HINT)


class _Server:
    """The process that children are forked from."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self._lock = threading.Lock()
        here = [str(Path(place).absolute()) for place in sys.path]
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _PROGRAM],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, **_ENVIRONMENT, "PYTHONPATH": os.pathsep.join(here)},
                start_new_session=True,  # an interrupt from the keyboard is ours alone
            )
        except OSError as error:
            raise _no_server(error.strerror or type(error).__name__) from None
        atexit.register(self.stop)

    def ask(self, folder: Path, part: TrialPart, bounds: TrialBounds) -> dict[str, Any]:
        """Return what came of trying a folder."""
        request = {
            "folder": str(folder.absolute()),
            "part": part.value,
            "seconds": bounds.seconds,
            "memory": bounds.memory,
        }
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            with self._lock:
                stdin.write(json.dumps(request).encode() + b"\n")
                stdin.flush()
                answer = stdout.readline()
        except OSError:
            answer = b""
        except BaseException:  # an interrupt: the answer would be the next one's
            self.stop()
            raise
        if not answer:
            self.stop()
            raise _no_server("the process that should try it ended")
        found: dict[str, Any] = json.loads(answer)
        return found

    @property
    def running(self) -> bool:
        """Whether it can be asked."""
        return self.owner == os.getpid() and self._process.poll() is None

    def stop(self) -> None:
        """End it."""
        atexit.unregister(self.stop)
        if self.owner != os.getpid():
            return
        self._process.kill()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        self._process.wait()


_ENVIRONMENT: Final = {
    "HF_HUB_OFFLINE": "1",
    "MALLOC_ARENA_MAX": "2",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "RAYON_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "critical",
}
"""One thread: threads reserve address space, which is bounded, and do not outlive a fork."""

_PROGRAM: Final = (
    "import sys; sys.modules['torch'] = None; "
    "from safety_receipts.runner.trial import server; server.main()"
)
"""Configurations and tokenizers need no torch, and loading it takes longer than all the rest."""

_servers: list[_Server] = []


def _server() -> _Server:
    if not _servers or not _servers[-1].running:
        _servers[:] = [_Server()]
    return _servers[-1]


def _no_server(why: str) -> IncompleteError:
    return IncompleteError(
        f"a model's folder cannot be tried in a process of its own: {why}",
        hint="give this program leave to start processes, and memory for one of 200 MiB",
    )
