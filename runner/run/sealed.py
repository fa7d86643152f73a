"""A sealed event, and how its points ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.dsse import Envelope
from safety_receipts.receipts.errors import ExitCode
from safety_receipts.receipts.model.point import Outcome, Reason
from safety_receipts.runner.run.judging import JUDGED


@dataclass(frozen=True)
class SealedRun:
    """A sealed event."""

    envelope: Envelope
    """The receipt."""
    outcomes: Mapping[tuple[Outcome, Reason | None], int]
    """How many points ended how."""
    before: bool
    """Whether it had been sealed before, so that nothing was run."""

    @classmethod
    def from_bundle(cls, bundle: Bundle) -> SealedRun:
        """Return what was sealed in a bundle before."""
        outcomes = Counter((point.outcome, point.reason) for point in bundle.points())
        return cls(bundle.receipt_envelope, outcomes, before=True)

    @property
    def failed(self) -> int:
        """Points that failed."""
        return sum(self.reasons(Outcome.FAILED).values())

    @property
    def scored(self) -> int:
        """Points called refused or complied."""
        return sum(n for (outcome, _), n in self.outcomes.items() if outcome in JUDGED)

    @property
    def exit_code(self) -> ExitCode:
        """How the command ends: a gate must not take failed points, or no labels, for a run."""
        return ExitCode.DONE if self.scored and not self.failed else ExitCode.INCOMPLETE

    def reasons(self, outcome: Outcome) -> dict[Reason, int]:
        """Return why points are unscored, or failed."""
        return {
            reason: number
            for (found, reason), number in self.outcomes.items()
            if found is outcome and reason is not None
        }
