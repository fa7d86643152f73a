"""One family of errors; each knows its exit code and what to do next."""

from __future__ import annotations

import traceback
from enum import IntEnum
from os import PathLike, fspath
from typing import ClassVar

from safety_receipts.receipts.io.text import printable


class ExitCode(IntEnum):
    """What every command's exit status means."""

    DONE = 0
    """Done, or all checks held."""
    POLICY = 1
    """It holds, and is not what was asked for."""
    BAD_INPUT = 2
    """Usage, or input that cannot be read."""
    INTEGRITY = 3
    """Something was changed, or does not follow from what it claims to follow from."""
    REPLAY = 4
    """A replay contradicts the record."""
    INCOMPLETE = 5
    """Incomplete or unverifiable."""
    INTERNAL = 70
    """A fault in this program, whose result says nothing (EX_SOFTWARE of sysexits.h)."""
    INTERRUPTED = 130
    """Stopped by the user (128 + SIGINT)."""
    OUTPUT_CLOSED = 141
    """Whoever read our output went away (128 + SIGPIPE): nothing is said of the result."""


_MAX_PART = 400
"""Longest part of an error line; a hostile file can make any of them long."""


class ReceiptsError(Exception):
    """Base of every error this project raises on purpose.

    Args:
        message: What is wrong, in one sentence without a full stop.
        file: The file or folder it was found in.
        place: Where inside: a line, a byte offset or a JSON path.
        hint: What the user can do about it.
    """

    kind: ClassVar[str] = "error"
    exit_code: ClassVar[ExitCode] = ExitCode.BAD_INPUT

    def __init__(
        self,
        message: str,
        *,
        file: str | PathLike[str] | None = None,
        place: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.file = None if file is None else fspath(file)
        self.place = place
        self.hint = hint

    def one_line(self) -> str:
        """Return ``file: place: message (hint)`` on one line, safe for a terminal."""
        parts = [part for part in (self.file, self.place, self.message) if part]
        text = ": ".join(printable(part, _MAX_PART) for part in parts)
        if self.hint:
            text += f" ({printable(self.hint, _MAX_PART)})"
        return text

    def as_json(self) -> dict[str, str | dict[str, str | int | None]]:
        """Return the ``--json`` error envelope."""
        message = ": ".join(part[:_MAX_PART] for part in (self.place, self.message) if part)
        return {
            "schema": "cli-error/1",
            "error": {
                "kind": self.kind,
                "message": message,
                "file": self.file,
                "hint": None if self.hint is None else self.hint[:_MAX_PART],
                "exitCode": int(self.exit_code),
            },
        }

    def __str__(self) -> str:
        return self.one_line()


class UsageError(ReceiptsError):
    """The command was asked for something it cannot do."""

    kind = "usage"


class MalformedError(ReceiptsError):
    """A file from outside is truncated, hostile, too large or of another shape."""

    kind = "malformed"


class FileAccessError(ReceiptsError):
    """A file cannot be opened, read or written."""

    kind = "file"

    @classmethod
    def from_os(
        cls,
        error: OSError,
        action: str,
        file: str | PathLike[str] | None,
        hint: str | None = None,
    ) -> FileAccessError:
        """Wrap an :class:`OSError` met while doing ``action`` to ``file``."""
        reason = error.strerror or type(error).__name__
        return cls(f"cannot {action}: {reason}", file=file, hint=hint)


class KeyFileError(ReceiptsError):
    """A key file is unreadable, of an unsupported kind, or its passphrase is wrong."""

    kind = "key"


class IntegrityError(ReceiptsError):
    """Bytes do not hash, sign or add up to what they claim."""

    kind = "integrity"
    exit_code = ExitCode.INTEGRITY


class PolicyError(ReceiptsError):
    """What was checked holds, and is not what was asked for."""

    kind = "policy"
    exit_code = ExitCode.POLICY


DEBUG = "RECEIPTS_DEBUG"
"""Environment variable that has tracebacks shown."""


class InternalError(ReceiptsError):
    """A fault in this program: an exception that nobody foresaw."""

    kind = "internal"
    exit_code = ExitCode.INTERNAL

    @classmethod
    def from_exception(cls, error: BaseException) -> InternalError:
        """Say what happened where, and nothing of what it happened to.

        An exception's own words may quote a request or a response that few may read.
        """
        kind = type(error)
        module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
        return cls(
            f"internal error: {module}{kind.__name__} in {_place(error)}",
            hint=f"please report this line; {DEBUG}=1 shows the traceback, which may quote "
            "requests and responses",
        )


_OWN = __name__.partition(".")[0]


def _place(error: BaseException) -> str:
    """Return ``module:line`` of the innermost frame that is this project's own."""
    place = "no frame"
    for frame, line in traceback.walk_tb(error.__traceback__):
        module = str(frame.f_globals.get("__name__"))
        if place == "no frame" or module.partition(".")[0] == _OWN:
            place = f"{module}:{line}"
    return place


class InterruptedByUserError(ReceiptsError):
    """The user stopped the command."""

    kind = "interrupted"
    exit_code = ExitCode.INTERRUPTED


class IncompleteError(ReceiptsError):
    """Something needed to finish is not at hand."""

    kind = "incomplete"
    exit_code = ExitCode.INCOMPLETE
