"""A difference of two rates."""

from __future__ import annotations

from safety_receipts.receipts.model.base import Rate, Score, WireModel
from safety_receipts.receipts.model.judge import IntervalMethod


class Difference(WireModel):
    """The difference of two rates of one event, from −1 to 1, with its interval."""

    value: Score
    """The first rate minus the second."""
    method: IntervalMethod
    """Method with which the interval was computed."""
    level: Rate
    """Nominal coverage of the interval, from 0 to 1."""
    lower: Score
    """Lower end of the interval, from −1 to 1."""
    upper: Score
    """Upper end of the interval, from −1 to 1."""
