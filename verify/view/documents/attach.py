"""What ``receipts attach --json`` prints."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from safety_receipts.receipts.model.base import Count, Digest
from safety_receipts.receipts.model.check import CheckLevel
from safety_receipts.receipts.view.documents.base import SCHEMA, Document


class AttachAction(StrEnum):
    """What became of a model card."""

    WRITTEN = "written"
    """It has what the receipt gives now."""
    UNCHANGED = "unchanged"
    """It had that already."""
    WOULD_BE_WRITTEN = "would be written"
    """Nothing was written: it was only asked what would change."""
    CHECKED = "checked"
    """It has what the receipt gives, and nothing of that was edited."""


class AttachDocument(Document):
    """What became of a model card to which a receipt is attached."""

    document: Annotated[Literal["cli-attach/1"], SCHEMA] = "cli-attach/1"
    readme: str
    """The card, as it was named."""
    action: AttachAction
    """What became of it."""
    receipt_digest: Digest
    """The receipt's digest."""
    keyid: str
    """The trusted key that signed the receipt."""
    level: CheckLevel
    """The level that verification reached: `authentic` where the evidence is withheld."""
    checkpoint: str
    """Name of the checkpoint."""
    stage: str
    """Its training stage."""
    instrument: bool
    """Whether it is a test instrument: its numbers say nothing about real models."""
    conditions: Count
    """Number of conditions with an entry in `model-index`."""
    replaced: tuple[Digest, ...]
    """Digests of the receipts whose place it takes."""
    results_file: str | None
    """The file of results on a benchmark of the hub; null: none was asked for."""
    diff: str | None
    """What would change in the card, as a unified diff; null: that was not asked for."""
