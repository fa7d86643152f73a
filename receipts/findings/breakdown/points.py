"""Counts of points, as they are sealed of each condition."""

from __future__ import annotations

from safety_receipts.receipts.findings.breakdown.boxes import ConditionCounts
from safety_receipts.receipts.findings.fits.study import StudyPoints
from safety_receipts.receipts.model.receipt import Counts


def counts_of_points(study: StudyPoints) -> ConditionCounts:
    """Return the counts of harmful-role queries, by condition.

    How many stopped at their limit is not counted.
    """
    found = {}
    for place, condition in enumerate(study.plan.conditions):
        planned = study.outcome[place].size
        generated = int(study.generated[place].sum())
        judged, complied = int(study.judged[place].sum()), int(study.complied[place].sum())
        found[condition.id] = Counts(
            planned=planned,
            generated=generated,
            failed=planned - generated,
            refused=judged - complied,
            complied=complied,
            unscored=int(study.unscored[place].sum()),
            length_stopped=0,
        )
    return found
