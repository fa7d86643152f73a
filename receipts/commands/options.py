"""Options that several commands take, and reading the keys that they name."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click
from click.core import ParameterSource

from safety_receipts.receipts.beacon.rounds import is_round_signature, value_of
from safety_receipts.receipts.canonical import is_hex32
from safety_receipts.receipts.errors import FileAccessError, UsageError
from safety_receipts.receipts.io.text import printable
from safety_receipts.receipts.keys import (
    EncryptedKeyError,
    Signer,
    load_signer,
    sign_together,
)
from safety_receipts.receipts.present.output import Output

if TYPE_CHECKING:
    from safety_receipts.receipts.log.recording import StatementLog

F = TypeVar("F", bound=Callable[..., Any])

PATH: Final = click.Path(path_type=Path)
"""A path as commands take it: whether it exists is the command's to say."""

passphrase_option = click.option(
    "--passphrase-env",
    metavar="VARIABLE",
    multiple=True,
    help="Environment variable with the passphrase; of several keys, one each or one for all.",
)


audits_option = click.option(
    "--audits",
    type=PATH,
    multiple=True,
    metavar="FOLDER",
    help="Audits kept elsewhere: the folder that `receipts audit --out` wrote to (repeatable).",
)


LOG_VARIABLE: Final = "RECEIPTS_LOG"
"""Environment variable that names the settings of a log for every command."""

log_settings_option = click.option(
    "--log",
    "log_settings",
    type=PATH,
    envvar=LOG_VARIABLE,
    show_envvar=True,
    metavar="LOG.yaml",
    help="Settings of a log: what is signed is added to it before the work goes on.",
)


def names_log() -> bool:
    """Say whether the command line names a log, which the environment may for every command."""
    source = click.get_current_context().get_parameter_source("log_settings")
    return source is ParameterSource.COMMANDLINE


def statement_log(settings: Path | None, output: Output) -> StatementLog | None:
    """Open the log that a command adds statements to; None: it adds them to none.

    Args:
        settings: The file with its settings; None: there is none.
        output: Where to say that nobody is asked to witness it.

    Raises:
        ReceiptsError: As :func:`receipts.log.settings.load_statement_log`.
    """
    if settings is None:
        return None
    # Few ask for it, and every command starts with this file.
    from safety_receipts.receipts.log.settings import load_statement_log  # noqa: PLC0415

    log = load_statement_log(settings)
    if log.policy.quorum is None:
        output.note(
            f"the log policy of {printable(str(settings))} asks for no witness: nothing will show "
            "when a statement was logged"
        )
    return log


def examples(*commands: str) -> str:
    """Return what stands at the end of a command's help: how it is called, a line each."""
    return "\b\nExamples:\n" + "\n".join(f"  {command}" for command in commands)


def key_option(name: str, text: str, *, required: bool = False) -> Callable[[F], F]:
    """Return the option that names what signs: a key, or several that sign together.

    Args:
        name: Of the option.
        text: Its help, but for its last sentence.
        required: Whether there is nothing to do without it.
    """
    return click.option(
        name,
        type=PATH,
        multiple=True,
        required=required,
        metavar="KEY",
        help=f"{text}  Repeatable: each signs.",
    )


def read_signers(
    paths: Sequence[Path], passphrase_env: Sequence[str], output: Output
) -> Signer | None:
    """Read the keys that a command signs with, and warn where others can read one too.

    Args:
        paths: Their files, in the order of their signatures.
        passphrase_env: Environment variables with their passphrases: one each, or one for all
            that are encrypted; empty: none is.
        output: Where to warn.

    Returns:
        What signs; None where no file is named.

    Raises:
        UsageError: A variable is unset or empty, there are more or fewer than keys, or a key is
            named twice.
        KeyFileError, FileAccessError: As :func:`receipts.keys.load_signer`.
    """
    if not paths:
        return None
    if len(passphrase_env) not in (0, 1, len(paths)):
        raise UsageError(
            f"{len(passphrase_env)} times --passphrase-env for {len(paths)} keys",
            hint="give one for each key, or one for all",
        )
    if len(paths) > 1 and len(passphrase_env) == 1:
        return sign_together(
            [_read_signer(path, passphrase_env[0], output, lenient=True) for path in paths]
        )
    variables: Sequence[str | None] = passphrase_env or [None] * len(paths)
    return sign_together(
        [_read_signer(*one, output, lenient=False) for one in zip(paths, variables, strict=True)]
    )


def read_signer(paths: Sequence[Path], passphrase_env: Sequence[str], output: Output) -> Signer:
    """Read the keys of a command that cannot do without, as :func:`read_signers` does.

    Raises:
        UsageError: None is named; else as there.
        KeyFileError, FileAccessError: As there.
    """
    signer = read_signers(paths, passphrase_env, output)
    if signer is None:
        raise UsageError("no key is named", hint="--key KEY")
    return signer


def _read_signer(
    path: Path, passphrase_env: str | None, output: Output, *, lenient: bool
) -> Signer:
    """Read one key; where ``lenient`` it may be that it needs no passphrase."""
    if not path.exists():
        raise FileAccessError(
            "no such file", file=path, hint=f"receipts keygen {shlex.quote(str(path))} makes a key"
        )
    passphrase = read_passphrase(passphrase_env)
    signer = _load(path, passphrase) if lenient else load_signer(path, passphrase)
    mode = _exposed_mode(path)
    if mode is not None:
        name = printable(str(path))
        output.warn(
            f"{name}: others can use this private key, its mode is {mode:04o}; "
            f"run: chmod 600 {shlex.quote(name)}"
        )
    return signer


def _exposed_mode(path: Path) -> int | None:
    """Return the permission bits of a private key's file, if others may read or write it.

    None: they may not, or it is no regular file, such as a pipe.

    Raises:
        FileAccessError: The file cannot be looked at.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise FileAccessError.from_os(error, "read", path) from None
    mode = stat.S_IMODE(status.st_mode)
    return mode if stat.S_ISREG(status.st_mode) and mode & 0o077 else None


def _load(path: Path, passphrase: bytes | None) -> Signer:
    try:
        return load_signer(path)
    except EncryptedKeyError:
        return load_signer(path, passphrase)


def read_passphrase(variable: str | None) -> bytes | None:
    """Return the passphrase in environment variable ``variable``; None where none is named.

    Raises:
        UsageError: The variable is unset or empty.
    """
    if variable is None:
        return None
    value = os.environ.get(variable, "")
    if not value:
        raise UsageError(f"the environment variable {variable} is unset or empty")
    return value.encode("utf-8")


def beacon_said(text: str | None, signature: str | None) -> tuple[str | None, str | None]:
    """Return the beacon's value as given on the command line, and the signature of its round.

    Raises:
        UsageError: One is none, or the two do not go together.
    """
    if signature is not None:
        value = _value_of(signature)
        if text not in (None, value):
            raise UsageError("--beacon-value is not the SHA-256 of --beacon-signature")
        return value, signature
    if text is not None and not is_hex32(text):
        raise UsageError(
            "the beacon's value should be 64 lower-case hex digits",
            hint="drand calls it randomness",
        )
    return text, None


def _value_of(signature: str) -> str:
    """Return the value of a round from its signature, as ``--beacon-signature`` gives it.

    Raises:
        UsageError: It is none.
    """
    if not is_round_signature(signature):
        raise UsageError(
            "--beacon-signature should be 96 lower-case hex digits",
            hint="drand calls it signature",
        )
    return value_of(signature)
