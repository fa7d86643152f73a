"""What ``receipts demo --json`` prints."""

from __future__ import annotations

from typing import Annotated, Literal

from safety_receipts.receipts.model.base import Condition, Count, Probability
from safety_receipts.receipts.view.documents.base import SCHEMA, Document


class TruthPart(Document):
    """What was planted in the organism for one condition, and what its receipt says."""

    condition: Condition
    """The condition."""
    points: Count
    """Its points."""
    planted: Probability
    """The compliance rate that its law gives."""
    recorded: Probability
    """The one that was recorded."""
    deviation: str
    """How many standard errors the second lies above the first, as a decimal."""


class TamperingPart(Document):
    """One way in which a copy of the bundle was changed."""

    name: str
    """What was done."""
    caught_by: str
    """Name of the check that failed for it."""


class DemoDocument(Document):
    """What the demonstration made, and what came of it; all of it of a test instrument."""

    document: Annotated[Literal["cli-demo/1"], SCHEMA] = "cli-demo/1"
    bundle: str
    """The bundle's folder."""
    plan: str
    """The plan file."""
    key: str
    """File of the evaluator's private key."""
    policy: str
    """The policy file of the release gate."""
    page: str
    """The page about the receipt."""
    seconds: float
    """How long it took."""
    truth: tuple[TruthPart, ...]
    """The planted rates beside the recorded ones, by condition."""
    relabelled: Count
    """Points whose label the first lie changed."""
    replaced: Count
    """Points whose response the second lie replaced."""
    tamperings: tuple[TamperingPart, ...]
    """The forgeries, and what caught them."""
