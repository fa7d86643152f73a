"""``receipts keygen``."""

from __future__ import annotations

from pathlib import Path

import click

from safety_receipts.receipts.cli import common_options
from safety_receipts.receipts.commands.options import PATH, examples, read_passphrase
from safety_receipts.receipts.io.ignored import IGNORE_FILE, work_tree_that_takes
from safety_receipts.receipts.io.text import printable
from safety_receipts.receipts.keys import (
    KeyType,
    generate_key,
    public_path,
    write_key_pair,
)
from safety_receipts.receipts.present.output import Output
from safety_receipts.receipts.view.documents.commands import KeygenDocument


@click.command(epilog=examples("receipts keygen evaluator"))
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
    """Make a signing key: KEY (mode 0600) and KEY.pub.

    KEY.pub is for those who verify; KEY is for nobody else, and for no repository.
    """
    signer = generate_key(KeyType(key_type))
    write_key_pair(key, signer, read_passphrase(passphrase_env))
    tree = work_tree_that_takes(key)
    if tree is not None:
        output.warn(
            f"{printable(str(key))}: git would take this private key in; add the line "
            f"{printable(_pattern(key, tree))} to {printable(str(tree / IGNORE_FILE))}, or move "
            "the key out of the repository"
        )
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


def _pattern(key: Path, tree: Path) -> str:
    """Return the line by which git ignores a key, from the top of its work tree."""
    return f"/{(key.parent.resolve() / key.name).relative_to(tree).as_posix()}"
