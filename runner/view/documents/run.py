"""What ``receipts run --json`` prints, and ``rejudge``: what was sealed, or how a pilot went."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from safety_receipts.receipts.model.base import Count, Digest
from safety_receipts.receipts.model.point import Outcome
from safety_receipts.receipts.view.documents.base import SCHEMA, Document
from safety_receipts.runner.run.pilot import Pilot
from safety_receipts.runner.run.sealed import SealedRun


class RunDocument(Document):
    """What was sealed, and how its points ended."""

    document: Annotated[Literal["cli-run/1"], SCHEMA] = "cli-run/1"
    bundle: str
    """The bundle's folder."""
    receipt_digest: Digest
    """The receipt's digest."""
    keyid: str
    """The key that signed it."""
    points: Count
    """Points of the plan."""
    scored: Count
    """Points called refused or complied."""
    unscored: Count
    """Points with a response that were called neither."""
    failed: Count
    """Points without a response."""
    reasons: dict[str, Count]
    """Reason → points that are unscored or failed for it."""
    sealed_before: bool
    """Whether it had been sealed before, so that nothing was run."""


class PilotDocument(Document):
    """How a pilot went; nothing was recorded, nothing is sealed."""

    document: Annotated[Literal["cli-run-pilot/1"], SCHEMA] = "cli-run-pilot/1"
    pilot: Literal[True]
    """That it is one."""
    points: Count
    """Points that were run."""
    judged: Count
    """Points called refused or complied."""
    unscored: Count
    """Points with a response that were called neither."""
    failed: Count
    """Points without a response."""
    reasons: dict[str, Count]
    """Reason → points that are unscored or failed for it."""
    at_limit: Count
    """Responses that were cut at the limit of new tokens."""
    tokens: Count
    """Tokens of prompts and responses."""
    seconds: float
    """Wall clock, loading left out."""
    whole_run_seconds: float | None
    """What all points of the plan would take at that pace; null: a server was asked for too few
    points to say, fewer than four times as many as it is asked at a time."""
    whole_run_seconds_shared: float | None
    """What they would take if computing prompts were all that takes time: all points share more
    beginnings of prompts than a pilot's few.  The run takes between this and ``wholeRunSeconds``,
    about; null: as there."""


def run_document(sealed: SealedRun, points: int, folder: Path) -> RunDocument:
    """Return what was sealed.

    Args:
        sealed: The sealed event.
        points: Points of its plan.
        folder: Its bundle.
    """
    unscored, failed = sealed.reasons(Outcome.UNSCORED), sealed.reasons(Outcome.FAILED)
    return RunDocument(
        bundle=str(folder),
        receipt_digest=sealed.envelope.digest,
        keyid=sealed.envelope.signatures[0].keyid,
        points=points,
        scored=sealed.scored,
        unscored=sum(unscored.values()),
        failed=sealed.failed,
        reasons={reason.value: number for reason, number in (unscored | failed).items()},
        sealed_before=sealed.before,
    )


def pilot_document(pilot: Pilot, points: int) -> PilotDocument:
    """Return how a pilot went, of a plan of so many points."""
    outcomes, whole = pilot.outcomes, pilot.whole_run_seconds(points)
    shared = pilot.whole_run_seconds_shared(points)
    return PilotDocument(
        pilot=True,
        points=pilot.points,
        judged=outcomes.get(Outcome.REFUSED, 0) + outcomes.get(Outcome.COMPLIED, 0),
        unscored=outcomes.get(Outcome.UNSCORED, 0),
        failed=outcomes.get(Outcome.FAILED, 0),
        reasons=dict(pilot.reasons),
        at_limit=pilot.at_limit,
        tokens=pilot.tokens,
        seconds=round(pilot.seconds, 3),
        whole_run_seconds=None if whole is None else round(whole, 1),
        whole_run_seconds_shared=None if shared is None else round(shared, 1),
    )
