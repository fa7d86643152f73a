"""What ``receipts export --json`` prints."""

from __future__ import annotations

from typing import Annotated, Literal

from safety_receipts.receipts.model.base import Count, Digest
from safety_receipts.receipts.model.check import CheckLevel
from safety_receipts.receipts.model.plan import EvidenceAccess
from safety_receipts.receipts.view.documents.base import SCHEMA, Document


class ExportDocument(Document):
    """A receipt that was written in another tool's format."""

    document: Annotated[Literal["cli-export/1"], SCHEMA] = "cli-export/1"
    format: str
    """The format, as ``--format`` names it."""
    files: tuple[str, ...]
    """The files that were written."""
    entries: str
    """What one entry of the format is, in the plural: ``samples``."""
    count: Count
    """How many of them were written."""
    receipt_digest: Digest
    """The receipt's digest."""
    level: CheckLevel
    """The level that verification reached."""
    evidence_access: EvidenceAccess
    """Who may hold outcomes of single points, as receipt and plan say."""
    instrument: bool
    """Whether the receipt is of a test instrument, which says nothing about any real model."""
    remarks: tuple[str, ...]
    """What the format does not carry, and what was changed, a sentence each."""
