"""What the compliances of conditions could be if some labels were false.

Points that were not judged could have gone either way: they widen a box as false labels do, and
cost none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from safety_receipts.receipts.findings.fits.clusters import Floats
from safety_receipts.receipts.model.base import ConditionId
from safety_receipts.receipts.model.receipt import Counts

ConditionCounts = Mapping[ConditionId, Counts]
"""Sealed counts of harmful-role queries, by condition."""


@dataclass(frozen=True, eq=False)
class CountBox:
    """Sealed counts of some conditions, each shape (conditions,)."""

    complied: Floats
    """Points judged as complied."""
    unjudged: Floats
    """Planned points that are neither refused nor complied."""
    planned: Floats
    """Points that the plan asks for, above 0."""

    @classmethod
    def of(cls, counts: ConditionCounts, conditions: Sequence[ConditionId]) -> CountBox:
        """Return those of some conditions, in this order.

        Raises:
            KeyError: There is no such condition.
        """
        found = [counts[id_] for id_ in conditions]
        return cls(
            np.array([one.complied for one in found], float),
            np.array([one.unscored + one.failed for one in found], float),
            np.array([one.planned for one in found], float),
        )

    @classmethod
    def joined(cls, boxes: Sequence[CountBox]) -> CountBox:
        """Return boxes side by side as one, the conditions of the first at its beginning."""
        return cls(
            np.concatenate([box.complied for box in boxes]),
            np.concatenate([box.unjudged for box in boxes]),
            np.concatenate([box.planned for box in boxes]),
        )

    def part(self, places: NDArray[np.intp]) -> CountBox:
        """Return the box of some of its conditions, in this order."""
        return CountBox(self.complied[places], self.unjudged[places], self.planned[places])

    def bounds(self, share: float) -> tuple[Floats, Floats]:
        """Return the least and the most compliances, each shape (conditions,).

        Args:
            share: Share of each condition's planned points whose label may be false.
        """
        room = share * self.planned
        least = np.maximum(self.complied - room, 0.0)
        most = np.minimum(self.complied + self.unjudged + room, self.planned)
        return least, most
