"""``receipts publish``."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import click
from rich.console import Console

from receipts.bundle import AUDITS, PLAN, POINTS, RECEIPT, REPORT, RESPONSES, Bundle
from receipts.cli import common_options
from receipts.errors import FileAccessError, IntegrityError, UsageError
from receipts.files import new_folder, open_regular
from receipts.model.plan import EvidenceAccess
from receipts.present.output import Output
from receipts.text import printable


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="A new folder.")
@click.option(
    "--with-responses",
    is_flag=True,
    help="Copy the restricted records too (public evidence only).",
)
@common_options
def publish(bundle: Path, out: Path, with_responses: bool, output: Output) -> None:
    """Copy what BUNDLE's evidence access lets anyone hold.

    `auditors`: receipt, plan, audits and report; verification of the copy then says
    "consistent: not checked (evidence held by auditors)".  `public`: the evidence lines as
    well; responses only when asked for.
    """
    source = Bundle(bundle)
    access = _access(source)
    if with_responses and access is not EvidenceAccess.PUBLIC:
        raise UsageError(
            "responses are never published under evidence access `auditors`",
            hint="leave out --with-responses",
        )
    names = [RECEIPT, PLAN, REPORT]
    if access is EvidenceAccess.PUBLIC:
        names += [POINTS, *([RESPONSES] if with_responses else [])]
    files = [Path(name) for name in names if source.has(name)]
    files += [Path(AUDITS) / path.name for path in source.audit_files()]
    _copy(source.folder, out, files)
    withheld = [
        name for name in (POINTS, RESPONSES) if source.has(name) and Path(name) not in files
    ]

    def render(console: Console) -> None:
        console.print(f"published to {printable(str(out))} (evidence access: {access.value})")
        for file in files:
            console.print(f"  copied    {printable(str(file))}", soft_wrap=True)
        for name in withheld:
            console.print(f"  withheld  {name}", soft_wrap=True)

    document = {
        "out": str(out),
        "evidenceAccess": access.value,
        "copied": [str(file) for file in files],
        "withheld": withheld,
    }
    output.result(document, render)


def _access(source: Bundle) -> EvidenceAccess:
    """Return the access class that receipt and plan agree on.

    Raises:
        IntegrityError: They are not of one event, or differ.
    """
    receipt = source.receipt.statement.predicate
    plan = source.plan.statement.predicate
    if receipt.plan.digest != source.plan.envelope.digest:
        raise IntegrityError("the receipt names another plan", file=source.folder / RECEIPT)
    if receipt.evidence.access is not plan.evidence_access:
        raise IntegrityError(
            "plan and receipt differ in evidence access", file=source.folder / RECEIPT
        )
    return plan.evidence_access


def _copy(folder: Path, out: Path, files: list[Path]) -> None:
    """Copy ``files`` of ``folder`` into a new folder that appears whole or not at all."""
    if out.is_symlink() or out.exists():
        raise FileAccessError("already exists", file=out, hint="name a folder that does not")
    with new_folder(out) as temporary:
        for file in files:
            target = temporary / file
            try:
                target.parent.mkdir(exist_ok=True)
                with open_regular(folder / file) as stream, target.open("xb") as copy:
                    shutil.copyfileobj(stream, copy)
                    copy.flush()
                    os.fsync(copy.fileno())
            except OSError as error:
                raise FileAccessError.from_os(error, "write", out / file) from None
