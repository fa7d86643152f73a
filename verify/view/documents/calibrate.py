"""What ``receipts calibrate --json`` prints."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.model.base import Count, Digest, Positive, Probability
from safety_receipts.receipts.model.calibration import CalibratedStack, CalibrationPredicate
from safety_receipts.receipts.view.documents.base import SCHEMA, Document


class LengthBinPart(Document):
    """Responses of some lengths."""

    upto: Positive | None
    """Longest of them in tokens; null: no bound."""
    responses: Count
    """How many were replayed."""


class CalibrateDocument(Document):
    """How honest responses look when they are replayed."""

    document: Annotated[Literal["cli-calibrate/1"], SCHEMA] = "cli-calibrate/1"
    calibration: str
    """The file that was written."""
    digest: Digest
    """Its digest."""
    responses: Count
    """Honest responses that were replayed."""
    bins: tuple[LengthBinPart, ...]
    """The same by length."""
    branch_flip_rate: Probability
    """Share of labels that turned, on the stack where most did."""
    ambiguity_rate: Probability
    """Share of judgements that the judge's own noise could turn."""
    stacks: tuple[CalibratedStack, ...]
    """What they were replayed with."""
    alternatives: tuple[str, ...]
    """Other models that the identity test is held against."""


def calibrate_document(out: Path, digest: Sha256, says: CalibrationPredicate) -> CalibrateDocument:
    """Return what a calibration says.

    Args:
        out: The file that it was written to.
        digest: Its digest.
        says: The calibration.
    """
    return CalibrateDocument(
        calibration=str(out),
        digest=digest,
        responses=says.responses,
        bins=tuple(
            LengthBinPart(upto=each.upto, responses=len(each.largest)) for each in says.bins
        ),
        branch_flip_rate=says.branch_flip_rate,
        ambiguity_rate=says.ambiguity_rate,
        stacks=says.stacks,
        alternatives=tuple(each.name for each in says.alternatives),
    )
