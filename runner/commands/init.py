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
from safety_receipts.runner.presets import POLICIES, PRESETS, preset
from safety_receipts.runner.view.documents.files import InitDocument, InitPolicyDocument
from safety_receipts.schemas import load_schema

PLAN_FILE = "plan.yaml"
SCHEMA_FILE = "plan.schema.json"
POLICY_FILE = "gate-policy.yaml"
POLICY_SCHEMA_FILE = "gate-policy.schema.json"


@click.command(
    epilog=examples(
        "receipts init study",
        "receipts init study --preset paper",
        "receipts init release --policy strict",
    )
)
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
@click.option(
    "--policy",
    "policy_name",
    type=click.Choice(POLICIES),
    help="Write gate-policy.yaml for `receipts gate` instead of a plan.",
)
@common_options
def init(
    folder: Path, name: str, member_name: str, policy_name: str | None, output: Output
) -> None:
    """Write a commented plan.yaml into FOLDER, and what it needs.

    A .gitignore goes with it, so that keys, journals and responses stay out of repositories.
    """
    if policy_name is not None:
        written = write_policy(folder, policy_name)
        output.result(
            InitPolicyDocument(policy=str(written), preset=policy_name),
            lambda console: console.print(
                f"{printable(str(written))}\n"
                f"next: receipts gate BUNDLE --policy {printable(str(written))} --trust KEY.pub",
                soft_wrap=True,
            ),
        )
        return
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
    _refuse_existing(folder, PLAN_FILE, SCHEMA_FILE, *copies)
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


def write_policy(folder: Path, name: str) -> Path:
    """Write a gate's policy into a folder and return its file.

    Args:
        folder: Made if it does not exist.
        name: One of :data:`runner.presets.POLICIES`.

    Raises:
        FileAccessError: The folder holds something of that name, or cannot be written.
    """
    path = folder / POLICY_FILE
    schema = json.dumps(load_schema("gate-policy"), indent=2) + "\n"
    _refuse_existing(folder, POLICY_FILE, POLICY_SCHEMA_FILE)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileAccessError.from_os(error, "write", folder) from None
    create_exclusive(folder / POLICY_SCHEMA_FILE, schema.encode("utf-8"), mode=0o644)
    create_exclusive(path, preset(f"gate-{name}").encode("utf-8"), mode=0o644)
    return path


def _refuse_existing(folder: Path, *names: str) -> None:
    """Refuse to write over anything.

    Raises:
        FileAccessError: The folder holds something of one of these names.
    """
    for made in names:
        if (folder / made).is_symlink() or (folder / made).exists():
            raise FileAccessError(
                "exists already", file=folder / made, hint="name a new folder, or move it away"
            )


def _copy(source: Path, target: Path) -> None:
    """Copy the files of a folder, all or none."""
    with new_folder(target) as temporary:
        for file in sorted(source.iterdir()):
            if file.is_file():
                shutil.copyfile(file, temporary / file.name)
