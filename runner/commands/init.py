"""``receipts init``."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import click

from safety_receipts.receipts.cli import common_options
from safety_receipts.receipts.commands.options import PATH, examples
from safety_receipts.receipts.errors import FileAccessError
from safety_receipts.receipts.io.files import create_exclusive, new_folder
from safety_receipts.receipts.io.ignored import write_ignore_file
from safety_receipts.receipts.io.text import printable
from safety_receipts.receipts.present.output import Output
from safety_receipts.runner.organism import data_folder, member, members
from safety_receipts.runner.presets import PRESETS, preset
from safety_receipts.runner.view.documents.files import InitDocument
from safety_receipts.schemas import load_schema

PLAN_FILE = "plan.yaml"
SCHEMA_FILE = "plan.schema.json"


@click.command(epilog=examples("receipts init study", "receipts init study --preset paper"))
@click.argument("folder", type=PATH, default=Path())
@click.option(
    "--preset",
    "name",
    type=click.Choice(PRESETS),
    default=PRESETS[0],
    show_default=True,
    help="demo: the embedded organism, ready to run. paper: the published study, to fill in.",
)
@click.option(
    "--member",
    "member_name",
    type=click.Choice([each.name for each in members()]),
    default="diluting",
    show_default=True,
    help="Member of the organism (preset demo).",
)
@common_options
def init(folder: Path, name: str, member_name: str, output: Output) -> None:
    """Write a commented plan.yaml into FOLDER, and what it needs.

    A .gitignore goes with it, so that keys, journals and responses stay out of repositories.
    """
    written = write_preset(folder, name, member_name)
    document = InitDocument(plan=str(written), preset=name)
    output.result(
        document,
        lambda console: console.print(
            f"{printable(str(written))}\nnext: receipts plan {printable(str(written))}",
            soft_wrap=True,
        ),
    )


def write_preset(folder: Path, name: str, member_name: str = "diluting") -> Path:
    """Write a preset into a folder and return the plan file.

    Args:
        folder: Made if it does not exist.
        name: One of :data:`runner.presets.PRESETS`.
        member_name: Which organism, for the preset ``demo``.

    Raises:
        FileAccessError: The folder holds something of that name, or cannot be written.
    """
    path = folder / PLAN_FILE
    text = preset(name)
    copies: dict[str, Path] = {}
    if name == "demo":
        text = text.replace("organism-diluting", f"organism-{member_name}")
        copies = {"checkpoint": member(member_name).folder, "data": data_folder()}
    schema = json.dumps(load_schema("plan-file"), indent=2) + "\n"
    for made in (PLAN_FILE, SCHEMA_FILE, *copies):
        if (folder / made).is_symlink() or (folder / made).exists():
            raise FileAccessError(
                "exists already", file=folder / made, hint="name a new folder, or move it away"
            )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for target, source in copies.items():
            _copy(source, folder / target)
        create_exclusive(folder / SCHEMA_FILE, schema.encode("utf-8"), mode=0o644)
        write_ignore_file(folder)
    except OSError as error:
        raise FileAccessError.from_os(error, "write", folder) from None
    # Last: a folder with a plan is whole.
    create_exclusive(path, text.encode("utf-8"), mode=0o644)
    return path


def _copy(source: Path, target: Path) -> None:
    """Copy the files of a folder, all or none."""
    with new_folder(target) as temporary:
        for file in sorted(source.iterdir()):
            if file.is_file():
                shutil.copyfile(file, temporary / file.name)
