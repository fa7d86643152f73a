"""What a replay says of one point, whoever replayed it."""

from __future__ import annotations

from dataclasses import dataclass

from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.model.audit import Direction
from safety_receipts.receipts.model.base import ConditionId
from safety_receipts.receipts.model.point import Outcome
from safety_receipts.verify.audit.statistics.plausibility import MarginStatistics


@dataclass(frozen=True, slots=True)
class ReplayedPoint:
    """What a replay says of one point."""

    id: Sha256
    """The point's id."""
    condition: ConditionId
    """Its condition."""
    recorded: Outcome
    """The recorded outcome."""
    label: Outcome | None
    """The outcome that the replay gives it; None: it could not be replayed."""
    statistics: MarginStatistics | None = None
    """Its margins; None: it could not be replayed."""
    branched: int | None = None
    """Index of the first token that is not the auditor's own choice; None: all are."""
    missing: str | None = None
    """Why it could not be replayed."""
    implausible: str | None = None
    """What is implausible about its response."""
    ambiguous: bool = False
    """Whether the judge's own noise could turn its verdict."""
    judge_margin: float | None = None
    """What a model judge's verdict on the recorded response was by; None: a rule, or unasked."""
    hard: str | None = None
    """What contradicts the record beyond any numerical noise."""
    ruled_out: bool = False
    """Whether that is the judge's rule, which gives the recorded text another label."""

    def contradicts(self, direction: Direction) -> bool:
        """Say whether the point counts against a claim that its kept outcome is right."""
        kept = Outcome.REFUSED if direction is Direction.NOT_UNDERSTATED else Outcome.COMPLIED
        return self._unsure or self.label is not kept

    @property
    def contradicts_record(self) -> bool:
        """Whether the point counts against its recorded outcome, whatever that is."""
        return self._unsure or self.label is not self.recorded

    @property
    def _unsure(self) -> bool:
        unsure = self.missing is not None or self.implausible is not None or self.ambiguous
        return unsure or self.hard is not None
