"""Evidence lines and texts that may leave, held to the verified receipt once more as they are read.

The folder can change between verification and export, and gigabytes are not kept: each line is
read again, and together they have the root that was verified, or nothing is written.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest

from safety_receipts.receipts.bundle import POINTS_FILE, RESPONSES_FILE, parse_point
from safety_receipts.receipts.errors import IncompleteError, IntegrityError, UsageError
from safety_receipts.receipts.model.plan import EvidenceAccess
from safety_receipts.receipts.model.point import Point, RestrictedRecord
from safety_receipts.verify.verified import VerifiedReceipt


def refuse_withheld(verified: VerifiedReceipt, what: str) -> None:
    """Refuse an export of points where nobody but auditors may hold these, or they are not here.

    Args:
        verified: The receipt.
        what: What needs them: ``rows of points``.

    Raises:
        UsageError: Evidence access is ``auditors``.
        IncompleteError: The bundle has no evidence lines.
    """
    if verified.predicate.evidence.access is not EvidenceAccess.PUBLIC:
        raise UsageError(
            f"{what} are not exported: evidence access is `auditors`, so outcomes of single points "
            "are withheld",
            hint="csv, parquet, cyclonedx and every-eval-ever export conditions",
        )
    if not verified.bundle.has(POINTS_FILE):
        raise IncompleteError(
            f"{what} need the evidence lines, which this bundle does not hold",
            file=verified.bundle.folder / POINTS_FILE,
            hint="ask whoever holds the evidence",
        )


def exported_points(verified: VerifiedReceipt) -> Iterator[Point]:
    """Yield the points in plan order.

    Raises:
        FileAccessError, MalformedError: As :meth:`~receipts.bundle.Bundle.sealed_lines`.
        IntegrityError: A line is of no query source of the receipt; or, after the last point, the
            lines are not those that were sealed.
    """
    file = verified.bundle.folder / POINTS_FILE
    sources = {source.name for source in verified.predicate.queries}
    for number, line in verified.bundle.sealed_lines(verified.predicate.evidence):
        point = parse_point(line, number, file)
        if point.source not in sources:
            raise IntegrityError("is not of this receipt", file=file, place=f"line {number:,}")
        yield point


def may_tell_texts(verified: VerifiedReceipt, *, wanted: bool) -> bool:
    """Say whether texts of responses go along: asked for, public, and in the bundle."""
    public = verified.predicate.evidence.access is EvidenceAccess.PUBLIC
    return wanted and public and holds_texts(verified)


def holds_texts(verified: VerifiedReceipt) -> bool:
    """Say whether points and texts of responses lie in the bundle."""
    return verified.bundle.has(POINTS_FILE) and verified.bundle.has(RESPONSES_FILE)


def points_with_records(
    verified: VerifiedReceipt, *, texts: bool
) -> Iterator[tuple[Point, RestrictedRecord | None]]:
    """Yield the points in plan order, each with its restricted record.

    Args:
        verified: The receipt.
        texts: Whether records are read (:func:`may_tell_texts`); without, each is None.

    Raises:
        IntegrityError: A record does not open its point's commitment, or there are others than
            points; or as :func:`exported_points`.
        FileAccessError, MalformedError: A file cannot be read.
    """
    if not texts:
        for point in exported_points(verified):
            yield point, None
        return
    file, setup = verified.bundle.folder / RESPONSES_FILE, verified.plan_predicate
    pairs = zip_longest(exported_points(verified), verified.bundle.responses())
    for number, (point, record) in enumerate(pairs, start=1):
        if point is None or record is None:
            raise IntegrityError("holds other records than there are points", file=file)
        if (problem := record.problem(point, setup)) is not None:
            raise IntegrityError(problem, file=file, place=f"record {number:,}")
        yield point, record
