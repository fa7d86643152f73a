"""What is drawn from to test the direction of a slope as a whole.

Labels of some conditions move a slope more than those of others. Each judged point of a condition
gets as many tickets as its label's influence asks for, and tickets are drawn. Labels that turn the
slope have at least :attr:`SlopeUrn.hidden` tickets together (:mod:`.turning`), whichever they are:
"so many of the tickets are of false labels" is what a test of the slope's direction rejects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, isinf
from typing import Final

import numpy as np

from safety_receipts.receipts.findings.breakdown.boxes import CountBox
from safety_receipts.receipts.findings.breakdown.foreseen import SlopeLimit
from safety_receipts.receipts.findings.breakdown.many_fits import fit_many, influences
from safety_receipts.receipts.findings.breakdown.turning import TurningPrice
from safety_receipts.receipts.findings.fits.clusters import Floats
from safety_receipts.receipts.model.audit import MAX_URN

MOST_TICKETS: Final = 10
"""Tickets of a point of the condition with the most influence. Finer steps save next to nothing."""
_NOTHING: Final = 1e-6
_GIVEN_AWAY: Final = 1e-3
"""Part of a bound that is given away, so that whoever computes with other last bits can show it."""


@dataclass(frozen=True, eq=False)
class FittedSlope:
    """One slope with the counts that it is fitted to."""

    covariates: Floats
    """Shape (conditions, 2 or 3); the last is the slope's."""
    box: CountBox
    """The sealed counts."""
    limits: tuple[SlopeLimit, ...]
    """What it stays below, or above, for what it is called (:func:`.shares.slope_limits`)."""

    def tickets(self) -> tuple[int, ...]:
        """Return how many each judged point of a condition gets, in the order of the counts."""
        box = self.box
        others = fit_many(self.covariates[:, :-1], box.complied[None], box.planned)[0]
        flat = np.append(others, 0.0)  # as it is where a slope turns
        influence = np.abs(influences(self.covariates, flat, box.planned))
        most = influence.max()
        if not most > 0:
            return (1,) * len(influence)
        parts = influence / most
        finest = MAX_URN / float((parts * (box.planned - box.unjudged)).sum() + 1)
        return tuple(int(one) for one in np.rint(min(MOST_TICKETS, int(finest)) * parts))

    def urn(self, tickets: Sequence[int]) -> SlopeUrn:
        """Return an urn of so many tickets.

        Args:
            tickets: Of each judged point, by condition, in the order of the counts.
        """
        recorded, price = self.size(tickets), self._price(tickets)
        least = min(price.of(*limit) for limit in self.limits)
        hidden = recorded if isinf(least) else ceil(least * (1 - _GIVEN_AWAY))
        return SlopeUrn(tuple(tickets), recorded, min(recorded, hidden))

    def size(self, tickets: Sequence[int]) -> int:
        """Return how many tickets lie in such an urn."""
        return int((np.array(tickets, float) * (self.box.planned - self.box.unjudged)).sum())

    def takes(self, hidden: int, tickets: Sequence[int]) -> bool:
        """Say whether labels that turn the slope have at least ``hidden`` tickets together.

        Labels are whole and so are tickets: more than ``hidden`` − 1 is as much as ``hidden``.
        """
        price = self._price(tickets)
        return all(price.is_at_least(hidden - 1 + _NOTHING, *limit) for limit in self.limits)

    def _price(self, tickets: Sequence[int]) -> TurningPrice:
        return TurningPrice(self.covariates, self.box, np.array(tickets, float))


@dataclass(frozen=True)
class SlopeUrn:
    """Tickets of the points that a slope is fitted to."""

    tickets: tuple[int, ...]
    """Of each judged point, by condition."""
    recorded: int
    """Tickets in all (N0)."""
    hidden: int
    """Labels that turn the slope have at least so many together (k); 0: what was not judged could
    turn it alone."""
