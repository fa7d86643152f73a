"""``receipts report``."""

from __future__ import annotations

from pathlib import Path

import click

from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.cli import common_options
from safety_receipts.receipts.commands.options import PATH, audits_option, examples
from safety_receipts.receipts.io.files import atomic_write
from safety_receipts.receipts.io.text import printable
from safety_receipts.receipts.present.output import Output
from safety_receipts.receipts.trust.load import load_trust
from safety_receipts.receipts.trust.trust_set import KeyRole
from safety_receipts.verify.commands.options import (
    log_policy_option,
    require_option,
    trust_auditor_option,
    trust_option,
    trust_terms,
    tsa_root_option,
)
from safety_receipts.verify.page.page import REPORT, refuse_other_file, report_page
from safety_receipts.verify.view.documents.report import ReportDocument


@click.command(
    epilog=examples(
        "receipts report bundle --trust evaluator.pub",
        "receipts report bundle --trust evaluator.pub --with-evidence --out page.html",
    )
)
@click.argument("bundle", type=PATH)
@trust_option
@require_option
@trust_auditor_option
@audits_option
@tsa_root_option
@log_policy_option
@click.option(
    "--out",
    type=PATH,
    default=Path(REPORT),
    show_default=True,
    help="The page; an earlier page there is replaced, nothing else is.",
)
@click.option(
    "--with-evidence", is_flag=True, help="Embed the evidence lines (public evidence only)."
)
@common_options
def report(
    *,
    bundle: Path,
    trust: tuple[Path, ...],
    require: tuple[Path, ...],
    trust_auditor: tuple[Path, ...],
    audits: tuple[Path, ...],
    tsa_root: tuple[Path, ...],
    log_policy: Path | None,
    out: Path,
    with_evidence: bool,
    output: Output,
) -> None:
    """Write one page about BUNDLE for people, which verifies itself in the reader's browser.

    It loads nothing and sends nothing.  Its script checks the signatures that are embedded in it
    and holds every number that it shows to the signed bytes; with the evidence, embedded or given
    by the reader, it works out every rate again.  Only a key that the reader gives makes it say
    that it is verified.
    """
    evaluators, auditors = (
        load_trust(trust, KeyRole.EVALUATOR),
        load_trust(trust_auditor, KeyRole.AUDITOR),
    )
    terms = trust_terms(require, tsa_root, log_policy)
    source = Bundle(bundle, audits=audits)
    refuse_other_file(out)
    with output.progress("verifying") as progress:
        page = report_page(
            source,
            evaluators,
            auditors,
            with_evidence=with_evidence,
            terms=terms,
            progress=progress,
        )
    atomic_write(out, page.html)
    document = ReportDocument(
        file=str(out),
        bytes=len(page.html),
        receipt=source.receipt_envelope.digest,
        level=page.verification.level,
        evidence=page.evidence,
        audits=page.audits,
        withheld_audits=page.withheld_audits,
    )
    output.result(
        document,
        lambda console: console.print(
            f"{printable(str(out))}: {len(page.html):,} bytes\n  receipt {document.receipt}",
            soft_wrap=True,
        ),
    )
    if not (trust or require):
        output.note("The page names no trusted key: give --trust KEY.pub.")
    if page.withheld_audits:
        output.note(
            f"Audits left out, as only those may see them who may hold the evidence: "
            f"{page.withheld_audits}."
        )
