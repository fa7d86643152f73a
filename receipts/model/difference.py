"""A difference of two rates."""

from __future__ import annotations

from safety_receipts.receipts.model.base import Rate, Score, WireModel
from safety_receipts.receipts.model.judge import IntervalMethod


class Difference(WireModel):
    """A difference of two rates of one event, with an interval; −1 to 1."""

    value: Score
    """The first rate minus the second."""
    method: IntervalMethod
    """How the interval was computed."""
    level: Rate
    """Nominal coverage."""
    lower: Score
    """Lower end."""
    upper: Score
    """Upper end."""
