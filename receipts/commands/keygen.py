"""``receipts keygen``."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import click

from safety_receipts.receipts.cli import common_options
from safety_receipts.receipts.errors import UsageError
from safety_receipts.receipts.io.text import printable
from safety_receipts.receipts.keys import (
    KeyType,
    Signer,
    exposed_mode,
    generate_key,
    load_signer,
    public_path,
    write_key_pair,
)
from safety_receipts.receipts.present.output import Output


@click.command()
@click.argument("key", type=click.Path(path_type=Path))
@click.option(
    "--key-type",
    type=click.Choice([kind.value for kind in KeyType]),
    default=KeyType.ED25519.value,
    show_default=True,
    help="p256 for sigstore's tools, which do not support Ed25519.",
)
@click.option(
    "--passphrase-env",
    metavar="VARIABLE",
    help="Encrypt KEY with the passphrase in this environment variable.",
)
@common_options
def keygen(key: Path, key_type: str, passphrase_env: str | None, output: Output) -> None:
    """Make a signing key: KEY (mode 0600) and KEY.pub."""
    signer = generate_key(KeyType(key_type))
    write_key_pair(key, signer, read_passphrase(passphrase_env))
    document = {
        "key": str(key),
        "publicKey": str(public_path(key)),
        "keyid": signer.public.keyid,
        "keyType": key_type,
    }
    output.result(
        document,
        lambda console: console.print(
            f"{key_type} key id {signer.public.keyid}\n"
            f"private  {printable(str(key))}  (mode 0600; whoever reads it signs as you)\n"
            f"public   {printable(str(public_path(key)))}  (give it to those who verify)",
            soft_wrap=True,
        ),
    )


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
