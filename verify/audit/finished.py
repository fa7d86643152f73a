"""Audits that have a result: the same command again reports it, and announces nothing.

An auditor who is killed just after the result, or only wants to see it again, must not announce
another audit by that: announced audits count, and the risk with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from safety_receipts.receipts.audit_forms import DRAWN_POINTS, has_public_form, sign_public_form
from safety_receipts.receipts.bundle import BundleWriter
from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.dsse import Envelope
from safety_receipts.receipts.errors import FileAccessError, IntegrityError, UsageError
from safety_receipts.receipts.keys import Signer
from safety_receipts.receipts.model.check import CheckStatus
from safety_receipts.receipts.model.statement import AuditStatement
from safety_receipts.verify.audit.journals.replays import audit_journal_path
from safety_receipts.verify.audit.run import (
    AnnouncedAudit,
    own_audits,
    own_results,
    signed_public_form,
)
from safety_receipts.verify.audit.session import AuditSubject
from safety_receipts.verify.audit.terms import AuditOptions, requested_terms


@dataclass(frozen=True)
class FinishedAudit:
    """An audit's result."""

    envelope: Envelope
    """As it was signed."""
    statement: AuditStatement
    """What it says."""

    def refuse_broken(self, bundle: Path) -> None:
        """End as the audit did, where a drawn point did not follow.

        Raises:
            IntegrityError: One did not.
        """
        for check in self.statement.predicate.checks:
            if (check.name, check.status) == (DRAWN_POINTS, CheckStatus.FAILED):
                raise IntegrityError(
                    check.detail, file=bundle, hint=f"signed as audit {self.envelope.digest}"
                )


def finished_audits(
    receipt: Sha256, signer: Signer, folders: Sequence[Path]
) -> dict[Sha256, FinishedAudit]:
    """Return what a key found of a receipt: of each announcement the latest, by its digest."""
    results = [
        FinishedAudit(envelope, statement)
        for envelope, statement in own_results(receipt, signer, folders)
    ]
    results.sort(key=lambda one: (one.statement.predicate.finished_at, one.envelope.digest))
    return {one.statement.predicate.start.digest: one for one in results}


def finished_before(
    subject: AuditSubject,
    options: AuditOptions,
    signer: Signer,
    out: Path,
    *,
    beacon_value: str | None = None,
) -> FinishedAudit | None:
    """Return the latest result on the terms that an auditor asks for; None: there is none.

    None too where another is asked for, or one on these terms is announced and not finished: that
    one is gone on with.  Journals that finished audits left behind are removed.

    Args:
        subject: The receipt.
        options: What the auditor asks for.
        signer: The auditor.
        out: The folder whose ``audits`` are written to; the bundle's are looked at as well.
        beacon_value: What the announced beacon round is said to have said.

    Raises:
        UsageError, IncompleteError: As :func:`verify.audit.terms.terms_of`.
        FileAccessError: A journal cannot be removed.
    """
    folders = [subject.bundle.folder, out]
    results = finished_audits(subject.digest, signer, folders)
    for start in results:
        _remove(audit_journal_path(out, start))
    if options.new:
        return None
    wanted = requested_terms(subject, options)
    starts = [
        one for one in own_audits(subject.digest, signer, folders) if wanted.met_by(one.terms)
    ]
    if any(one.envelope.digest not in results for one in starts):
        return None
    found = [results[one.envelope.digest] for one in starts]
    if beacon_value is not None:
        found = [one for one in found if one.statement.predicate.beacon_value == beacon_value]
    return max(found, key=lambda one: one.statement.predicate.finished_at, default=None)


def publish_finished(
    finished: FinishedAudit, subject: AuditSubject, signer: Signer, out: Path
) -> None:
    """Sign the public form of a result that has none: its audit was killed before, or is older.

    Raises:
        FileAccessError: The folder cannot be written.
    """
    said = finished.statement.predicate
    if has_public_form(said) and not signed_public_form(
        said.start.digest, signer, [subject.bundle.folder, out]
    ):
        envelope = sign_public_form(said, finished.envelope.digest, signer)
        BundleWriter(out).write_audit(envelope)


def refuse_finished(
    subject: AuditSubject, announced: AnnouncedAudit, signer: Signer, out: Path
) -> None:
    """Refuse to go on with an audit that another process finished a moment ago, elsewhere.

    Raises:
        UsageError: It has a result.
    """
    digest = announced.envelope.digest
    if digest in finished_audits(subject.digest, signer, [subject.bundle.folder, out]):
        raise UsageError(
            f"audit {digest[:12]}… was finished a moment ago",
            file=subject.bundle.folder,
            hint="run the same command again to see its result",
        )


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise FileAccessError.from_os(error, "remove", path) from None
