"""What of a bundle anybody may hold.

Under evidence access ``auditors`` that is receipt, plan, announcements of audits and the public
forms of their results.  A file goes along only if it is what its place says: anybody can put
files into a bundle, and what this tool publishes the publisher answers for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Final

from safety_receipts.receipts.audit_forms import (
    AnyAudit,
    form_key,
    has_public_form,
    public_form,
    sign_public_form,
    signed_audit,
)
from safety_receipts.receipts.bundle import (
    AUDITS,
    MAX_AUDIT_BYTES,
    POINTS_FILE,
    RESPONSES_FILE,
    Bundle,
    parse_point,
    read_envelope,
)
from safety_receipts.receipts.dsse import Envelope
from safety_receipts.receipts.errors import IntegrityError, ReceiptsError
from safety_receipts.receipts.keys import Signer
from safety_receipts.receipts.model.audit import PublicAuditPredicate, audit_traits
from safety_receipts.receipts.model.plan import EvidenceAccess
from safety_receipts.receipts.model.statement import AuditStartStatement, AuditStatement

_MOST_READ: Final = 10_000
_MOST_AUDITS: Final = 1_000
"""Most audits that are published: more than anybody makes of one receipt."""


@dataclass(frozen=True)
class UnpublishedFile:
    """A file of a bundle that is not published."""

    file: str
    """Its path in the bundle."""
    why: str
    """Why not."""


@dataclass(frozen=True)
class PublishedAudits:
    """What becomes of a bundle's audits."""

    copied: tuple[Path, ...]
    """Paths in the bundle of those that go along."""
    signed: tuple[Envelope, ...]
    """Public forms that were signed now."""
    left: tuple[UnpublishedFile, ...]
    """Those that stay behind."""


@dataclass(frozen=True)
class _Read:
    path: Path
    envelope: Envelope
    statement: AnyAudit

    @property
    def place(self) -> Path:
        return Path(AUDITS) / self.path.name


def published_audits(
    bundle: Bundle, access: EvidenceAccess, signer: Signer | None
) -> PublishedAudits:
    """Return which audits of a receipt anybody may hold.

    Args:
        bundle: The bundle.
        access: Who may hold its evidence.
        signer: An auditor, who signs the public form of results of their own that have none.

    Raises:
        FileAccessError: The folder of audits cannot be listed.
    """
    copied: list[Path] = []
    left: list[UnpublishedFile] = []
    read: list[_Read] = []
    for found in _read(bundle):
        if isinstance(found, UnpublishedFile):
            left.append(found)
        else:
            read.append(found)
    public = {form_key(form) for one in read if (form := _public(one)) is not None}
    signed: list[Envelope] = []
    for one in read:
        statement = one.statement
        full = isinstance(statement, AuditStatement)
        if signer is not None and isinstance(statement, AuditStatement):
            said, digest = statement.predicate, one.envelope.digest
            mine = one.envelope.signed_by(signer.trust)
            if mine and has_public_form(said) and form_key(public_form(said, digest)) not in public:
                signed.append(sign_public_form(said, digest, signer))
        held = access is EvidenceAccess.AUDITORS
        if held and not isinstance(statement, AuditStartStatement) and _regenerated(one):
            left.append(UnpublishedFile(str(one.place), _COUNTS_KNOWN_POINTS))
        elif held and full:
            left.append(UnpublishedFile(str(one.place), _NAMES_POINTS))
        elif len(copied) == _MOST_AUDITS:
            left.append(UnpublishedFile(str(one.place), f"more than {_MOST_AUDITS:,} audits"))
        else:
            copied.append(one.place)
    return PublishedAudits(tuple(copied), tuple(signed), tuple(left))


_NAMES_POINTS = (
    "names drawn points and what became of each; its public form, signed by its auditor, may be "
    "published (receipts publish --key)"
)

_COUNTS_KNOWN_POINTS = (
    "used new responses to points that anybody can compute, so that its counts tell what became "
    "of them: only those who may hold the evidence may see it"
)


def _regenerated(one: _Read) -> bool:
    return not audit_traits(one.statement.predicate.method).scores


def _public(one: _Read) -> PublicAuditPredicate | None:
    said = one.statement.predicate
    return said if isinstance(said, PublicAuditPredicate) else None


def _read(bundle: Bundle) -> Iterator[_Read | UnpublishedFile]:
    """Yield the audits of a bundle's receipt, and what stays behind."""
    files = bundle.audit_files()
    receipt = bundle.receipt_envelope.digest
    for path in files[:_MOST_READ]:
        place = str(Path(AUDITS) / path.name)
        try:
            envelope = read_envelope(path, MAX_AUDIT_BYTES)
            signed = signed_audit(envelope, path)
        except ReceiptsError as error:
            yield UnpublishedFile(place, f"is not an audit: {error.message}")
            continue
        if path.name != f"{envelope.digest}.dsse.json":
            yield UnpublishedFile(place, "is not named by its digest")
        elif signed.statement.predicate.receipt.digest != receipt:
            yield UnpublishedFile(place, "is about another receipt")
        elif signed.unknown:
            # What they say nobody here knows, and it could name points.
            yield UnpublishedFile(place, "has fields that this version does not know")
        else:
            yield _Read(path, envelope, signed.statement)
    if len(files) > _MOST_READ:
        yield UnpublishedFile(
            AUDITS, f"{len(files) - _MOST_READ:,} files more, which were not read"
        )


def check_evidence(bundle: Bundle, *, with_responses: bool) -> None:
    """Hold evidence that is to be published to the receipt.

    Args:
        bundle: The bundle.
        with_responses: Whether the restricted records are published as well.

    Raises:
        IntegrityError: The evidence lines do not have the receipt's root, or a record does not
            open its commitment.
        FileAccessError, MalformedError: A file cannot be read.
    """
    evidence = bundle.receipt.statement.predicate.evidence
    records = bundle.responses() if with_responses else iter(())
    for numbered, record in zip_longest(bundle.sealed_lines(evidence), records):
        if numbered is None:
            raise IntegrityError(
                "has more records than points", file=bundle.folder / RESPONSES_FILE
            )
        number, line = numbered
        if not with_responses:
            continue
        commitment = None if record is None else record.commitment()
        if commitment != parse_point(line, number, bundle.folder / POINTS_FILE).commitment:
            raise IntegrityError(
                f"record {number:,} does not open its commitment",
                file=bundle.folder / RESPONSES_FILE,
            )
