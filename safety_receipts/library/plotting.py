"""Figures of a receipt or a comparison, as matplotlib figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safety_receipts.receipts.errors import UsageError
from safety_receipts.receipts.figures.drawing import who
from safety_receipts.receipts.figures.plots import (
    format_square,
    ordering_spread,
    rate_over_total,
    rates_over_benign,
    slopes_plot,
)
from safety_receipts.verify.compare.figures import rates_of, slopes_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from safety_receipts.receipts.model.receipt import EvaluationPredicate
    from safety_receipts.verify.compare.compared import ComparisonReport


class ReceiptPlots:
    """Figures of one receipt; each method returns a matplotlib figure.

    They raise UsageError where the receipt has nothing to draw, and IncompleteError where
    matplotlib is not installed.
    """

    def __init__(self, receipt: EvaluationPredicate) -> None:
        self._receipt = receipt

    def benign(self) -> Figure:
        """Compliance over the number of benign demonstrations at fixed harmful ones."""
        return rates_over_benign([(who(self._receipt), self._receipt)]).figure()

    def total(self) -> Figure:
        """Compliance over the number of demonstrations, one line a harmful share."""
        return rate_over_total(self._receipt).figure()

    def slopes(self) -> Figure:
        """Every slope of the findings, with its interval, on one scale."""
        return slopes_plot(self._receipt).figure()

    def orderings(self) -> Figure:
        """Compliance of each order, one panel a mixture."""
        return ordering_spread(self._receipt).figure()

    def formats(self) -> Figure:
        """How often a demonstrated prefix is adopted, among refusals and compliances."""
        return format_square(self._receipt).figure()

    def __repr__(self) -> str:
        return "<plots: benign(), total(), slopes(), orderings(), formats()>"


class ComparisonPlots:
    """Figures of a comparison; each method returns a matplotlib figure."""

    def __init__(self, compared: ComparisonReport) -> None:
        self._compared = compared

    def slopes(self) -> Figure:
        """The effect of benign demonstrations on each model, on one scale.

        Raises:
            UsageError: No model has a fitted effect.
            IncompleteError: matplotlib is not installed.
        """
        drawing = slopes_of(self._compared)
        if drawing is None:
            raise UsageError("there is no slope to draw")
        return drawing.figure()

    def benign(self) -> Figure:
        """Compliance over benign demonstrations, one panel a model.

        Raises:
            IncompleteError: matplotlib is not installed.
        """
        return rates_of(self._compared).figure()

    def __repr__(self) -> str:
        return "<plots: slopes(), benign()>"
