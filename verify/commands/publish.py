"""``receipts publish``."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
from safety_receipts.receipts.commands.options import (
    PATH,
    examples,
    key_option,
    passphrase_option,
    read_signers,
)
from safety_receipts.receipts.dsse import Envelope
from safety_receipts.receipts.errors import FileAccessError, IntegrityError, UsageError
from safety_receipts.receipts.io.files import atomic_write, new_folder, open_regular
from safety_receipts.receipts.io.text import printable
from safety_receipts.receipts.model.plan import EvidenceAccess
from safety_receipts.receipts.present.output import Output
from safety_receipts.receipts.present.tables import say
from safety_receipts.receipts.published import (
    UnpublishedFile,
    check_evidence,
    published_audits,
)
from safety_receipts.receipts.trust.load import load_trust
from safety_receipts.receipts.trust.trust_set import KeyRole
from safety_receipts.receipts.view.documents.commands import LeftOutPart, PublishDocument
from safety_receipts.verify.commands.options import trust_auditor_option, trust_option
from safety_receipts.verify.page.page import REPORT, report_page
from safety_receipts.verify.proofs import published_proofs


@click.command(
    epilog=examples(
        "receipts publish bundle --out public",
        "receipts publish bundle --out public --page --trust evaluator.pub",
    )
)
@click.argument("bundle", type=PATH)
@click.option("--out", type=PATH, required=True, help="New folder to copy to.")
@click.option(
    "--with-responses",
    is_flag=True,
    help="Copy the restricted records too (public evidence only).",
)
@click.option(
    "--page", is_flag=True, help="Make report.html of the copy, as `receipts report` does."
)
@trust_option
@trust_auditor_option
@key_option(
    "--key", "Auditor's key; it signs the public form of the auditor's results that have none."
)
@passphrase_option
@common_options
def publish(
    *,
    bundle: Path,
    out: Path,
    with_responses: bool,
    page: bool,
    trust: tuple[Path, ...],
    trust_auditor: tuple[Path, ...],
    key: tuple[Path, ...],
    passphrase_env: tuple[str, ...],
    output: Output,
) -> None:
    """Copy what BUNDLE's evidence access lets anyone hold.

    `auditors`: receipt, plan, announcements of audits and the public forms of their results,
    which name no point; verification of the copy then says "consistent: not checked (evidence
    held by auditors)".  `public`: audits in full, the evidence lines and inclusion proofs in the
    folder `proofs` as well; responses only when asked for.  A page is never copied but made anew,
    with --page, for those who trust the keys of --trust and --trust-auditor.
    """
    source = Bundle(bundle)
    access = _access(source)
    _check_options(access, with_responses=with_responses, page=page, keys=(*trust, *trust_auditor))
    keys = (
        (load_trust(trust, KeyRole.EVALUATOR), load_trust(trust_auditor, KeyRole.AUDITOR))
        if page
        else None
    )
    signer = read_signers(key, passphrase_env, output)
    files = [Path(name) for name in (RECEIPT, PLAN)]
    if access is EvidenceAccess.PUBLIC:
        wanted = (POINTS_FILE, RESPONSES_FILE) if with_responses else (POINTS_FILE,)
        files += [Path(name) for name in wanted if source.has(name)]
        if source.has(POINTS_FILE) or with_responses:
            check_evidence(source, with_responses=Path(RESPONSES_FILE) in files)
    audits = published_audits(source, access, signer)
    proofs = published_proofs(source, access, audits.copied)
    files += [*audits.copied, *proofs.copied]
    with _copied(source.folder, out, files, audits.signed) as copy:
        if keys is not None:
            with output.progress("verifying") as progress:
                made = report_page(Bundle(copy), *keys, progress=progress)
            atomic_write(copy / REPORT, made.html)
    left = [*audits.left, *proofs.left, *_pages(source, made=page)]
    document = PublishDocument(
        out=str(out),
        evidence_access=access,
        copied=tuple(map(str, files)),
        signed=tuple(f"{AUDITS}/{envelope.digest}.dsse.json" for envelope in audits.signed),
        withheld=tuple(
            name
            for name in (POINTS_FILE, RESPONSES_FILE)
            if source.has(name) and Path(name) not in files
        ),
        left_out=tuple(LeftOutPart(file=one.file, why=one.why) for one in left),
        made=(REPORT,) if page else (),
    )
    output.result(document, lambda console: _render(console, document))


def _check_options(
    access: EvidenceAccess, *, with_responses: bool, page: bool, keys: Sequence[Path]
) -> None:
    """Refuse options that would be ignored, or let out what must stay.

    Raises:
        UsageError: With the first of them.
    """
    if with_responses and access is not EvidenceAccess.PUBLIC:
        raise UsageError(
            "responses are never published under evidence access `auditors`",
            hint="leave out --with-responses",
        )
    if keys and not page:
        raise UsageError("keys are for the page, and none is asked for", hint="add --page")


def _pages(source: Bundle, *, made: bool) -> Iterator[UnpublishedFile]:
    """Yield the page that lies in a bundle, unless one is made in its place."""
    if source.has(REPORT) and not made:
        yield UnpublishedFile(REPORT, "no page is copied: --page makes it anew")


def _render(console: Console, document: PublishDocument) -> None:
    access = document.evidence_access.value
    console.print(f"published to {printable(document.out)} (evidence access: {access})")
    for word, names in (
        ("copied", document.copied),
        ("signed", document.signed),
        ("made", document.made),
        ("withheld", document.withheld),
    ):
        for name in names:
            console.print(f"  {word:8}  {printable(name)}", soft_wrap=True)
    for one in document.left_out:
        say(console, f"  left out  {printable(one.file)}: {printable(one.why)}")


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


@contextmanager
def _copied(
    folder: Path, out: Path, files: Sequence[Path], signed: Sequence[Envelope]
) -> Iterator[Path]:
    """Copy ``files`` of ``folder`` into a new folder that appears whole or not at all.

    What is done with the copy in the meantime belongs to it.

    Args:
        folder: The bundle.
        out: The new folder.
        files: Paths in the bundle.
        signed: Audits to be written beside them.

    Yields:
        The folder under a name that nobody looks for.
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
        yield temporary
