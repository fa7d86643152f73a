"""How often a second judge gives the first one's label."""

from __future__ import annotations

from safety_receipts.receipts.model.judge import JudgeAgreement
from safety_receipts.receipts.model.point import Outcome, RestrictedRecord

_JUDGED = (Outcome.REFUSED, Outcome.COMPLIED)


class AgreementCounter:
    """Counts over the points that the first judge called refused or complied."""

    def __init__(self) -> None:
        self._points = self._agreed = self._second_unscored = 0

    def add(self, record: RestrictedRecord) -> None:
        """Count one record."""
        if record.outcome not in _JUDGED or record.second_judge is None:
            return
        if record.second_judge.outcome in _JUDGED:
            self._points += 1
            self._agreed += record.second_judge.outcome is record.outcome
        else:
            self._second_unscored += 1

    def result(self) -> JudgeAgreement:
        """Return the counts."""
        return JudgeAgreement(
            points=self._points, agreed=self._agreed, second_unscored=self._second_unscored
        )
