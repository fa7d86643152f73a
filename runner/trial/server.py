"""The process in which folders are tried, in children of its own.

It reads one JSON object a line from standard input (folder, part, bounds), forks a child for each
that tries the folder under these bounds, and writes one JSON object a line: what came of it.  See
:mod:`runner.checkpoint.folder_trial`, which starts it.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Final, NoReturn

from safety_receipts.receipts.errors import ReceiptsError
from safety_receipts.receipts.io.text import printable
from safety_receipts.runner.checkpoint import folder_trial
from safety_receipts.runner.checkpoint.config import error_line, read_config
from safety_receipts.runner.checkpoint.folder_trial import TrialPart
from safety_receipts.runner.checkpoint.model_facts import read_architecture
from safety_receipts.runner.checkpoint.model_files import CONFIG
from safety_receipts.runner.checkpoint.tokenizer_files import (
    TEMPLATE_FILE,
    TEMPLATE_FOLDER,
    TOKENIZER_CONFIG,
    TOKENIZER_FILE,
)
from safety_receipts.runner.prompts.answers import found_thoughts
from safety_receipts.runner.prompts.chat_format import ChatFormat
from safety_receipts.runner.prompts.template_probe import Conversation, try_template
from safety_receipts.runner.prompts.tokenizer import load_tokenizer
from safety_receipts.runner.templates.messages import Message, Role

_LONGEST: Final = 240
_MAX_STDERR: Final = 2**20
_DATE: Final = "2026-01-31"


def main() -> None:
    """Answer requests until standard input ends."""
    folder_trial.inside = True
    for line in iter(sys.stdin.buffer.readline, b""):
        request: dict[str, Any] = json.loads(line)
        answer = json.dumps(_tried(request)).encode() + b"\n"
        sys.stdout.buffer.write(answer)
        sys.stdout.buffer.flush()


def _tried(request: dict[str, Any]) -> dict[str, Any]:
    """Try a folder in a child, and say what came of it."""
    with tempfile.TemporaryFile() as stderr:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            _be_the_child(request, writing, stderr)
        os.close(writing)
        told, ended = _read_until(reading, time.monotonic() + request["seconds"])
        os.close(reading)
        if not ended:
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        lines = [json.loads(line) for line in told.splitlines() if line.endswith(b"}")]
        last: dict[str, Any] = lines[-1] if lines else {"stage": "", "file": "", "what": "starts"}
        if last["what"] != "starts":
            return last
        stderr.seek(0)
        return {**last, **_died(status, stderr.read(_MAX_STDERR), in_time=ended)}


def _read_until(pipe: int, deadline: float) -> tuple[bytes, bool]:
    """Return what a child writes, and whether it ended in time."""
    told = b""
    while (left := deadline - time.monotonic()) > 0:
        ready, _, _ = select.select([pipe, sys.stdin], [], [], left)
        if pipe in ready:
            chunk = os.read(pipe, 65536)
            if not chunk:
                return told, True
            told += chunk
        elif ready:
            break  # whoever asked has gone: nothing else is said before the answer
    return told, False


def _died(status: int, stderr: bytes, *, in_time: bool) -> dict[str, str]:
    number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    if not in_time or number == signal.SIGXCPU:
        return {"what": "seconds"}
    # Rust ends the process where there is no memory, and says so.
    if b"memory allocation" in stderr:
        return {"what": "memory"}
    name = signal.Signals(number).name if number else f"exit {os.waitstatus_to_exitcode(status)}"
    return {"what": "ends", "message": name}


def _be_the_child(request: dict[str, Any], report: int, stderr: IO[bytes]) -> NoReturn:
    """Try a folder under bounds, report, and end."""
    null = os.open(os.devnull, os.O_RDWR)
    for stream, place in ((null, 0), (null, 1), (stderr.fileno(), 2)):
        os.dup2(stream, place)
    _bound(request["seconds"], request["memory"])
    folder, trial = Path(request["folder"]), _Trial(report)
    try:
        if request["part"] == TrialPart.CONFIG:
            trial.config(folder)
        else:
            trial.tokenizer(folder, chat=request["part"] == TrialPart.CHAT)
        trial.say("good")
    except ReceiptsError as error:
        if _is_of_memory(error):
            trial.say("memory")
            os._exit(0)
        file = Path(error.file or folder)
        inside = file.relative_to(folder).as_posix() if file.is_relative_to(folder) else ""
        trial.say(
            "refused",
            file=inside,
            kind=error.kind,
            message=error.message,
            place=error.place,
            hint=error.hint,
        )
    except MemoryError:
        trial.say("memory")
    except BaseException as error:  # tokenizers panics with one that is no Exception
        trial.say("raises", message=printable(error_line(error), _LONGEST))
    os._exit(0)


def _is_of_memory(error: BaseException | None) -> bool:
    """Say whether an error, or one that it was raised in place of, is that memory is full."""
    while error is not None and not isinstance(error, MemoryError):
        error = error.__context__
    return error is not None


def _bound(seconds: int, memory: int) -> None:
    """Bound what this process may take.  Not every system bounds address space."""
    used = 0
    with suppress(OSError):
        pages = Path("/proc/self/statm").read_text("ascii").split()[0]
        used = int(pages) * resource.getpagesize()
    for limit, value in (
        (resource.RLIMIT_AS, used + memory),
        (resource.RLIMIT_CPU, seconds + 1),
        (resource.RLIMIT_FSIZE, _MAX_STDERR),
        (resource.RLIMIT_CORE, 0),
    ):
        with suppress(OSError, ValueError):  # a lower bound is set already
            resource.setrlimit(limit, (value, value))


class _Trial:
    """Tries parts of a folder, and reports before each what it is about to do.

    Args:
        report: Descriptor of the pipe.
    """

    def __init__(self, report: int) -> None:
        self._report = report
        self._stage = {"stage": "", "file": ""}

    def say(self, what: str, **more: str | None) -> None:
        """Report."""
        line = json.dumps({**self._stage, "what": what, **more}).encode() + b"\n"
        os.write(self._report, line)

    @contextmanager
    def _at(self, stage: str, file: str) -> Iterator[None]:
        self._stage = {"stage": stage, "file": file}
        self.say("starts")
        yield

    def config(self, folder: Path) -> None:
        """Read the configuration."""
        with self._at("config", CONFIG):
            config = read_config(folder)
            with suppress(ReceiptsError):  # a judge need not be a causal language model
                read_architecture(config, folder)

    def tokenizer(self, folder: Path, *, chat: bool) -> None:
        """Load the tokenizer, and render short conversations."""
        with self._at("tokenizer", TOKENIZER_FILE):
            tokenizer = load_tokenizer(folder)
            tokenizer.decode(tokenizer("How is tea made?")["input_ids"])
        if not chat:
            return
        with self._at("template", _template_file(folder)):
            format_ = ChatFormat(folder, tokenizer)
            asked = [Message(Role.USER, "How is tea made?")]
            told = Conversation(None, _DATE, {})
            # What refuses one of them may suit a plan that fixes a date or an option.
            with suppress(ReceiptsError):
                format_.turn_end(date=_DATE)
            with suppress(ReceiptsError):
                format_.decode(format_.tokens(asked, date=_DATE))
            with suppress(ReceiptsError):
                try_template(format_, told, found_thoughts(format_, told))


def _template_file(folder: Path) -> str:
    """Return the file that a folder's chat template is in."""
    named = f"{TEMPLATE_FOLDER}/default.jinja"
    return next((n for n in (named, TEMPLATE_FILE) if (folder / n).is_file()), TOKENIZER_CONFIG)
