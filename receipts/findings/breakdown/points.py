"""Counts of points, as they are sealed of each condition."""

from __future__ import annotations

import numpy as np

from safety_receipts.receipts.findings.breakdown.boxes import ConditionCounts
from safety_receipts.receipts.findings.fits.study import Mask, StudyPoints
from safety_receipts.receipts.model.receipt import Counts


def counts_of_points(study: StudyPoints) -> ConditionCounts:
    """Return the counts of harmful-role queries, by condition.

    How many stopped at their limit is not counted.
    """
    judged, complied, unscored = map(_counted, (study.judged, study.complied, study.unscored))
    planned = study.outcome[0].size
    return {
        condition.id: Counts(
            planned=planned,
            generated=judged[place] + unscored[place],
            failed=planned - judged[place] - unscored[place],
            refused=judged[place] - complied[place],
            complied=complied[place],
            unscored=unscored[place],
            length_stopped=0,
        )
        for place, condition in enumerate(study.plan.conditions)
    }


def _counted(mask: Mask) -> list[int]:
    """Return how many points are set, by condition; shape (conditions, queries, draws)."""
    conditions, queries, draws = mask.shape
    as_it_lies = mask.transpose(1, 0, 2).reshape(queries, conditions * draws)
    found = np.add.reduce(as_it_lies.view(np.uint8), axis=0, dtype=np.uint32)
    counts: list[int] = found.reshape(conditions, draws).sum(axis=1).tolist()
    return counts
