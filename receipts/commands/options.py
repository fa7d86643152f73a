"""Options that several commands take, and reading the keys that they name."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Final

import click

from safety_receipts.receipts.errors import FileAccessError, UsageError
from safety_receipts.receipts.io.text import printable
from safety_receipts.receipts.keys import Signer, exposed_mode, load_signer
from safety_receipts.receipts.present.output import Output

PATH: Final = click.Path(path_type=Path)
"""A path as commands take it: whether it exists is the command's to say."""

passphrase_option = click.option(
    "--passphrase-env", metavar="VARIABLE", help="Environment variable with the passphrase."
)


audits_option = click.option(
    "--audits",
    type=PATH,
    multiple=True,
    metavar="FOLDER",
    help="Audits kept elsewhere: the folder that `receipts audit --out` wrote to (repeatable).",
)


def examples(*commands: str) -> str:
    """Return what stands at the end of a command's help: how it is called, a line each."""
    return "\b\nExamples:\n" + "\n".join(f"  {command}" for command in commands)


def read_signer(path: Path, passphrase_env: str | None, output: Output) -> Signer:
    """Read the key that a command signs with, and warn where others can read it too.

    Args:
        path: Its file.
        passphrase_env: Environment variable with its passphrase; None: there is none.
        output: Where to warn.

    Raises:
        UsageError: The variable is unset or empty.
        KeyFileError, FileAccessError: As :func:`receipts.keys.load_signer`.
    """
    if not path.exists():
        raise FileAccessError(
            "no such file", file=path, hint=f"receipts keygen {shlex.quote(str(path))} makes a key"
        )
    signer = load_signer(path, read_passphrase(passphrase_env))
    mode = exposed_mode(path)
    if mode is not None:
        name = printable(str(path))
        output.warn(
            f"{name}: others can use this private key, its mode is {mode:04o}; "
            f"run: chmod 600 {shlex.quote(name)}"
        )
    return signer


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
