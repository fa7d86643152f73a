"""Pages about receipts, in Python."""

from __future__ import annotations

from safety_receipts.library.arguments import (
    AnyPath,
    AnyPaths,
    auditors_of,
    evaluators_of,
    path_of,
    paths_of,
)
from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.io.files import atomic_write
from safety_receipts.verify.page.page import refuse_other_file, report_page
from safety_receipts.verify.verification import Verification


def report(
    bundle: AnyPath,
    out: AnyPath,
    *,
    trust: AnyPaths | None = None,
    trust_auditor: AnyPaths | None = None,
    audits: AnyPaths | None = None,
    with_evidence: bool = False,
) -> Verification:
    """Write a page about a receipt that verifies itself in the reader's browser.

    Args:
        bundle: The bundle, as path or as receipt.
        out: The page; an earlier page there is replaced, nothing else is.
        trust: Public keys of evaluators you trust; without any the page says that nobody vouches
            for who signed.
        trust_auditor: Public keys of auditors you trust: no other audit stands on the page.
        audits: Folders of audits that are kept elsewhere.
        with_evidence: Embed the evidence lines, where they are public.

    Returns:
        What verification of the bundle found.

    Raises:
        IntegrityError: A check failed; no page is written.
        UsageError: The evidence is not public, and was to be embedded.
        FileAccessError, MalformedError, KeyFileError: A file is not what it should be.
    """
    file = path_of(out)
    refuse_other_file(file)
    page = report_page(
        Bundle(path_of(bundle), audits=paths_of(audits)),
        evaluators_of(trust),
        auditors_of(trust_auditor),
        with_evidence=with_evidence,
    )
    atomic_write(file, page.html)
    return page.verification
