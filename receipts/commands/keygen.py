"""``receipts keygen``."""

from __future__ import annotations

from pathlib import Path

import click

from safety_receipts.receipts.cli import common_options
from safety_receipts.receipts.commands.options import PATH, read_passphrase
from safety_receipts.receipts.io.text import printable
from safety_receipts.receipts.keys import (
    KeyType,
    generate_key,
    public_path,
    write_key_pair,
)
from safety_receipts.receipts.present.output import Output
from safety_receipts.receipts.view.documents.commands import KeygenDocument


@click.command()
@click.argument("key", type=PATH)
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
    document = KeygenDocument(
        key=str(key),
        public_key=str(public_path(key)),
        keyid=signer.public.keyid,
        key_type=KeyType(key_type),
    )
    output.result(
        document,
        lambda console: console.print(
            f"{key_type} key id {signer.public.keyid}\n"
            f"private  {printable(str(key))}  (mode 0600; whoever reads it signs as you)\n"
            f"public   {printable(str(public_path(key)))}  (give it to those who verify)",
            soft_wrap=True,
        ),
    )
