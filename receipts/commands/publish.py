"""``receipts publish``."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console

from safety_receipts.receipts.bundle import (
    AUDITS,
    PLAN,
    POINTS_FILE,
    RECEIPT,
    RESPONSES_FILE,
    Bundle,
    BundleWriter,
)
from safety_receipts.receipts.cli import common_options
from safety_receipts.receipts.commands.options import PATH, examples, passphrase_option, read_signer
from safety_receipts.receipts.dsse import Envelope
from safety_receipts.receipts.errors import FileAccessError, IntegrityError, UsageError
from safety_receipts.receipts.io.files import new_folder, open_regular
from safety_receipts.receipts.io.text import printable
from safety_receipts.receipts.model.plan import EvidenceAccess
from safety_receipts.receipts.present.output import Output
from safety_receipts.receipts.present.tables import say
from safety_receipts.receipts.published import check_evidence, published_audits
from safety_receipts.receipts.view.documents.commands import LeftOutPart, PublishDocument


@click.command(epilog=examples("receipts publish bundle --out public"))
@click.argument("bundle", type=PATH)
@click.option("--out", type=PATH, required=True, help="New folder to copy to.")
@click.option(
    "--with-responses",
    is_flag=True,
    help="Copy the restricted records too (public evidence only).",
)
@click.option(
    "--key",
    type=PATH,
    help="Auditor's key; it signs the public form of the auditor's results that have none.",
)
@passphrase_option
@common_options
def publish(
    *,
    bundle: Path,
    out: Path,
    with_responses: bool,
    key: Path | None,
    passphrase_env: str | None,
    output: Output,
) -> None:
    """Copy what BUNDLE's evidence access lets anyone hold.

    `auditors`: receipt, plan, announcements of audits and the public forms of their results,
    which name no point; verification of the copy then says "consistent: not checked (evidence
    held by auditors)".  `public`: audits in full and the evidence lines as well; responses only
    when asked for.
    """
    source = Bundle(bundle)
    access = _access(source)
    if with_responses and access is not EvidenceAccess.PUBLIC:
        raise UsageError(
            "responses are never published under evidence access `auditors`",
            hint="leave out --with-responses",
        )
    signer = None if key is None else read_signer(key, passphrase_env, output)
    files = [Path(name) for name in (RECEIPT, PLAN)]
    if access is EvidenceAccess.PUBLIC:
        wanted = (POINTS_FILE, RESPONSES_FILE) if with_responses else (POINTS_FILE,)
        files += [Path(name) for name in wanted if source.has(name)]
        if source.has(POINTS_FILE) or with_responses:
            check_evidence(source, with_responses=Path(RESPONSES_FILE) in files)
    audits = published_audits(source, access, signer)
    _copy(source.folder, out, [*files, *audits.copied], audits.signed)
    copied = [str(file) for file in (*files, *audits.copied)]
    signed = [f"{AUDITS}/{envelope.digest}.dsse.json" for envelope in audits.signed]
    withheld = [
        name
        for name in (POINTS_FILE, RESPONSES_FILE)
        if source.has(name) and Path(name) not in files
    ]

    def render(console: Console) -> None:
        console.print(f"published to {printable(str(out))} (evidence access: {access.value})")
        for word, names in (("copied", copied), ("signed", signed), ("withheld", withheld)):
            for name in names:
                console.print(f"  {word:8}  {printable(name)}", soft_wrap=True)
        for one in audits.left:
            say(console, f"  left out  {printable(one.file)}: {printable(one.why)}")

    document = PublishDocument(
        out=str(out),
        evidence_access=access,
        copied=tuple(copied),
        signed=tuple(signed),
        withheld=tuple(withheld),
        left_out=tuple(LeftOutPart(file=one.file, why=one.why) for one in audits.left),
    )
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


def _copy(folder: Path, out: Path, files: Sequence[Path], signed: Sequence[Envelope]) -> None:
    """Copy ``files`` of ``folder`` into a new folder that appears whole or not at all.

    Args:
        folder: The bundle.
        out: The new folder.
        files: Paths in the bundle.
        signed: Audits to be written beside them.
    """
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
        for envelope in signed:
            BundleWriter(temporary).write_audit(envelope)
