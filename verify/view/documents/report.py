"""What ``receipts report --json`` prints."""

from __future__ import annotations

from typing import Annotated, Literal

from safety_receipts.receipts.model.base import Count, Digest
from safety_receipts.receipts.model.check import CheckLevel
from safety_receipts.receipts.view.documents.base import SCHEMA, Document


class ReportDocument(Document):
    """A page that was written."""

    document: Annotated[Literal["cli-report/1"], SCHEMA] = "cli-report/1"
    file: str
    """The page."""
    bytes: Count
    """Its size in bytes."""
    receipt: Digest
    """Digest of the receipt."""
    level: CheckLevel
    """The level that verification of the bundle reached; `none`: no trusted key signed it."""
    evidence: bool
    """Whether the evidence lines are embedded."""
    audits: Count
    """Results of audits that stand on the page."""
    withheld_audits: Count
    """Results of trusted auditors that do not, as only those may see them who may hold the
    evidence."""
