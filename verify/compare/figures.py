"""Figures of a comparison."""

from __future__ import annotations

from pathlib import Path

from safety_receipts.receipts.errors import FileAccessError
from safety_receipts.receipts.figures.drawing import LONGEST_FIGURE_NAME, Drawing, who
from safety_receipts.receipts.figures.plots import forest_plot, rates_over_benign
from safety_receipts.receipts.io.text import printable
from safety_receipts.verify.compare.compared import ComparisonReport, interval_of
from safety_receipts.verify.compare.evaluations import Evaluation


def slopes_of(compared: ComparisonReport) -> Drawing | None:
    """Return the figure of every model's β2 on one scale; None where none was fitted."""
    named = {each.label: _named(each) for each in compared.evaluations}
    rows = [
        (named[one.model.label], *ends)
        for one in compared.comparison.models
        if (ends := interval_of(one)) is not None
    ]
    margins = {float(one.model.finding.margin) for one in compared.comparison.models}
    if not rows:
        return None
    title = f"Effect of benign demonstrations, {len(compared.conditions):,} common conditions"
    if any(each.receipt.instrument for each in compared.evaluations):
        title += "\nTEST INSTRUMENT: such numbers say nothing about any real model"
    return forest_plot(rows, margin=margins.pop() if len(margins) == 1 else None, title=title)


def rates_of(compared: ComparisonReport) -> Drawing:
    """Return the figure of compliance over benign demonstrations, one panel a model."""
    return rates_over_benign([(who(each.receipt), each.receipt) for each in compared.evaluations])


def _named(each: Evaluation) -> str:
    """Return what a model is called in a row: its label, and its checkpoint where that differs."""
    name = printable(each.receipt.checkpoint.name, LONGEST_FIGURE_NAME)
    return each.label if name in each.label else f"{each.label}: {name}"


def write_comparison_plots(compared: ComparisonReport, folder: Path) -> list[Path]:
    """Write both figures as SVG, each whole or not at all.

    Args:
        compared: The comparison.
        folder: Made if it does not exist.

    Returns:
        What was written.

    Raises:
        IncompleteError: matplotlib is not installed.
        FileAccessError: The folder cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileAccessError.from_os(error, "create", folder) from None
    slopes = slopes_of(compared)
    drawings = {"beta2": slopes, "rates": rates_of(compared)}
    written = []
    for name, drawing in drawings.items():
        if drawing is not None:
            path = folder / f"{name}.svg"
            drawing.write(path)
            written.append(path)
    return written
