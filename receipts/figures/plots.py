"""Figures of the findings as SVG, drawn with matplotlib, which is loaded only then."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from math import log, log2
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Final

from safety_receipts.receipts.errors import FileAccessError, UsageError
from safety_receipts.receipts.figures.drawing import (
    BAND,
    COLOURS,
    LONGEST_FIGURE_NAME,
    UNSHOWN,
    WHISKERS,
    Dot,
    Drawing,
    condition_dot,
    draw_baseline,
    draw_dots,
    draw_rates,
    entitle,
    label_rows,
    percent_axis,
    require_matplotlib,
    share_dot,
    who,
)
from safety_receipts.receipts.io.text import printable
from safety_receipts.receipts.model.findings import AdoptionRate, Findings
from safety_receipts.receipts.model.receipt import ConditionResult, EvaluationPredicate
from safety_receipts.receipts.view.curves import benign_conditions, harmful_levels, share_curves
from safety_receipts.receipts.view.numerals import percent
from safety_receipts.receipts.view.slopes import slope_rows
from safety_receipts.receipts.view.words import change_words, logistic, quoted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ROW_INCHES: Final = 0.32
_MOST_ROWS: Final = 200
"""Most rows of one figure."""
_MOST_PANELS: Final = 12
"""Most mixtures of one figure."""
_MOST_LINES: Final = 14
"""Most lines of one panel, told apart by colour and marker."""
_MOST_TICKS: Final = 10
_PANEL_COLUMNS: Final = 44
"""Characters of a line over a panel."""
_FITTED: Final = "fitted"


def write_plots(receipt: EvaluationPredicate, folder: Path) -> list[Path]:
    """Write the figures that a receipt's findings feed, each whole or not at all.

    Other files of the folder stay as they are; figures of the same names are replaced.

    Args:
        receipt: The receipt's predicate.
        folder: Made if it does not exist.

    Returns:
        What was written, in order of the findings.

    Raises:
        IncompleteError: matplotlib is not installed.
        FileAccessError: The folder cannot be written to.
    """
    require_matplotlib()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileAccessError.from_os(error, "make", folder) from None
    written = []
    for name, drawing in drawings(receipt).items():
        path = folder / f"{name}.svg"
        drawing.write(path)
        written.append(path)
    return written


def drawings(receipt: EvaluationPredicate) -> dict[str, Drawing]:
    """Return the figures that a receipt's findings feed, by name, in order of the findings."""
    found = receipt.findings
    if found is None:
        return {}
    known: dict[str, Callable[[], Drawing] | None] = {
        "rate-over-total": (lambda: rate_over_total(receipt)) if found.total else None,
        "rate-over-benign": (
            (lambda: rates_over_benign([(who(receipt), receipt)])) if found.joint else None
        ),
        "slopes": (lambda: slopes_plot(receipt)) if list(_forest_rows(found)) else None,
        "orderings": (lambda: ordering_spread(receipt)) if found.orderings else None,
        "formats": (lambda: format_square(receipt)) if found.formats else None,
    }
    return {name: draw() for name, draw in known.items() if draw is not None}


def slopes_plot(receipt: EvaluationPredicate) -> Drawing:
    """Draw every slope of the findings on one scale.

    Raises:
        UsageError: The receipt has no slope.
    """
    rows = [] if receipt.findings is None else list(_forest_rows(receipt.findings))
    title = f"Effect of benign demonstrations\n{who(receipt)}"
    return forest_plot(rows, margin=float(receipt.effect_margin), title=title)


def rate_over_total(receipt: EvaluationPredicate) -> Drawing:
    """Draw compliance over the number of demonstrations N, one line a harmful share φ.

    Raises:
        UsageError: The receipt has no total-count finding.
    """
    finding = receipt.findings and receipt.findings.total
    if not finding:
        raise UsageError("the receipt has no total-count finding to draw")
    lines = share_curves(receipt, _MOST_LINES)
    totals = _ticks(row.total for row in finding.rows if row.total)

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        draw_baseline(axes, receipt)
        for place, line in enumerate(lines):
            nudge = 1.03 ** (place - (len(lines) - 1) / 2)  # lest intervals hide one another
            points = [(_total_of(condition) * nudge, condition) for condition in line.conditions]
            draw_rates(axes, points, place, f"φ = {line.share:.2f}", line="-")
        axes.set_xscale("log", base=2)
        axes.set_xticks(totals, [f"{total}" for total in totals])
        axes.minorticks_off()
        axes.set_xlabel("demonstrations N (log scale)")
        percent_axis(axes)
        entitle(figure, "Compliance by number and mix of demonstrations", who(receipt))
        axes.legend(title="harmful share", loc="center left", bbox_to_anchor=(1.0, 0.5))

    description = (
        f"Compliance rate with 95 % intervals at N = {_listed(totals)} demonstrations, one line "
        f"for each of {len(lines)} harmful shares, and the rate without demonstrations."
    )
    return Drawing((7.6, 4.6), f"Compliance over N: {who(receipt)}", description, paint)


def rates_over_benign(series: Sequence[tuple[str, EvaluationPredicate]]) -> Drawing:
    """Draw compliance over the number of benign demonstrations N_b at fixed harmful ones N_h.

    The conditions are those of the joint fit, whose curve is dotted, or without one all plain
    conditions in suffix order.  One panel a receipt, on common axes.

    Args:
        series: Receipts with the titles of their panels.

    Raises:
        UsageError: There is no receipt to draw.
    """
    if not series:
        raise UsageError("there is no receipt to draw")
    columns = min(3, len(series))
    rows = -(-len(series) // columns)
    drawn = [condition for _, receipt in series for condition in benign_conditions(receipt)]
    levels = harmful_levels(drawn, len(COLOURS))

    def paint(figure: Figure) -> None:
        grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        panels = list(grid.flat)
        for axes, (title, receipt) in zip(panels, series, strict=False):
            _over_benign(axes, receipt, levels)
            name = fill(printable(title, 3 * LONGEST_FIGURE_NAME), _PANEL_COLUMNS)
            axes.set_title(name, fontsize="medium")
            axes.tick_params(labelbottom=True)
        for axes in panels[len(series) :]:
            axes.set_visible(False)
        for axes in grid[:, 0]:
            percent_axis(axes)
        handles = {
            label: handle
            for axes in panels[: len(series)]
            for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        names = [UNSHOWN, BAND, *map(_level_name, levels), _FITTED]
        named = {name: handles[name] for name in names if name in handles}
        figure.legend(named.values(), named.keys(), loc="outside right center")
        entitle(figure, "Compliance over benign demonstrations at fixed harmful ones")

    description = (
        "Compliance rate with 95 % intervals over the number of benign demonstrations N_b, one "
        f"line for each number of harmful ones ({_listed(levels)}), dotted: the fitted logit, "
        "dashed: without demonstrations."
    )
    size = (2.2 + 4.2 * columns, 0.8 + 3.6 * rows)
    names = ", ".join(printable(title, LONGEST_FIGURE_NAME) for title, _ in series)
    title = f"Compliance over benign demonstrations: {names}"
    return Drawing(size, title, description, paint)


def ordering_spread(receipt: EvaluationPredicate) -> Drawing:
    """Draw the compliance rate of each order, one panel a mixture.

    Raises:
        UsageError: The receipt has no ordering finding.
    """
    found = (receipt.findings and receipt.findings.orderings) or ()
    if not found:
        raise UsageError("the receipt has no ordering finding to draw")
    shown = found[:_MOST_PANELS]
    conditions = {condition.id: condition for condition in receipt.conditions}

    def paint(figure: Figure) -> None:
        heights = [len(finding.rates) for finding in shown]
        grid = figure.subplots(len(shown), 1, sharex=True, squeeze=False, height_ratios=heights)
        for axes, finding in zip(grid[:, 0], shown, strict=True):
            draw_baseline(axes, receipt, upright=True)
            dots = [condition_dot(conditions.get(one.condition)) for one in finding.rates]
            draw_dots(axes, list(enumerate(dots)))
            label_rows(axes, [one.ordering.value for one in finding.rates])
            title = f"{finding.n_harmful} harmful + {finding.n_benign} benign"
            if finding.spread is not None:
                title += f": suffix − prefix {change_words(finding.spread)}"
            axes.set_title(title, fontsize="medium")
        grid[-1, 0].set_xlabel(f"compliance rate (%); {WHISKERS}")
        grid[-1, 0].set_xlim(left=0.0)
        figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside lower right")
        entitle(figure, "Compliance by order", who(receipt))

    lines = (
        f"{finding.n_harmful} harmful and {finding.n_benign} benign: "
        + ", ".join(
            f"{one.ordering.value} {percent(one.compliance_rate)} %" for one in finding.rates
        )
        for finding in shown
    )
    height = 1.2 + sum(0.7 + _ROW_INCHES * len(finding.rates) for finding in shown)
    return Drawing((7.6, height), f"Compliance by order: {who(receipt)}", "; ".join(lines), paint)


def format_square(receipt: EvaluationPredicate) -> Drawing:
    """Draw how often a demonstrated opening is adopted among refusals and among compliances.

    Raises:
        UsageError: The receipt has no format finding.
    """
    found = (receipt.findings and receipt.findings.formats) or ()
    if not found:
        raise UsageError("the receipt has no format finding to draw")
    shown = found[: _MOST_ROWS // 2]

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        places = [3.0 * place for place in range(len(shown))]
        for place, (which, rates) in enumerate(
            (
                ("refusals", [_adopted(finding.among_refusals) for finding in shown]),
                ("compliances", [_adopted(finding.among_compliances) for finding in shown]),
            )
        ):
            rows = [(y + place, dot) for y, dot in zip(places, rates, strict=True)]
            draw_dots(axes, rows, place, f"among {which}")
        axes.axvline(5.0, color="black", linestyle=":", linewidth=1.0, label="one in twenty")
        names = [f"{quoted(finding.prefix)}\n{finding.condition}" for finding in shown]
        axes.set_yticks([y + 0.5 for y in places], names)
        axes.set_ylim(3.0 * len(shown) - 1.0, -1.0)
        axes.set_xlabel(f"responses that start with it (%); {WHISKERS}")
        axes.set_xlim(left=0.0)
        entitle(figure, "Uptake of a demonstrated opening of responses", who(receipt))
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))

    lines = (
        f"{quoted(finding.prefix)}: {percent(finding.among_refusals.rate)} % of refusals, "
        f"{percent(finding.among_compliances.rate)} % of compliances"
        for finding in shown
    )
    title = f"Uptake of a demonstrated opening of responses: {who(receipt)}"
    size = (9.0, 1.6 + 3 * _ROW_INCHES * len(shown))
    return Drawing(size, title, "; ".join(lines), paint)


def forest_plot(
    rows: Sequence[tuple[str, float, float, float]],
    *,
    margin: float | None = None,
    title: str = "Effect of benign demonstrations",
) -> Drawing:
    """Draw slopes with their intervals on one scale.

    Args:
        rows: Label, β2, lower and upper end of its interval; from top to bottom.
        margin: Half width of the band around zero that the plan calls none.
        title: Title of the figure; its lines are kept.

    Raises:
        UsageError: There is no row.
    """
    if not rows:
        raise UsageError("there is no slope to draw")
    shown = rows[:_MOST_ROWS]

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        if margin is not None:
            axes.axvspan(
                -margin, margin, color="#EEEEEE", label=f"called none: β2 within ±{margin:g}"
            )
        axes.axvline(0.0, color="black", linewidth=1.0)
        dots: list[Dot] = [(value, lower, upper) for _, value, lower, upper in shown]
        draw_dots(axes, list(enumerate(dots)))
        label_rows(axes, [printable(label, 2 * LONGEST_FIGURE_NAME) for label, *_ in shown])
        axes.set_xlabel(
            f"β2: change of the log-odds of compliance per unit of log(N_b + 1)\n{WHISKERS}"
        )
        entitle(figure, *(printable(line, 3 * LONGEST_FIGURE_NAME) for line in title.splitlines()))
        if margin is not None:
            figure.legend(loc="outside lower right")

    lines = (
        f"{printable(label, LONGEST_FIGURE_NAME)} {value:+.3f} ({lower:+.3f} to {upper:+.3f})"
        for label, value, lower, upper in shown
    )
    size = (8.4, 1.5 + _ROW_INCHES * len(shown))
    return Drawing(size, printable(title.replace("\n", ": ")), "; ".join(lines), paint)


def _total_of(condition: ConditionResult) -> int:
    return condition.n_harmful + condition.n_benign


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, numbers))


def _ticks(numbers: Iterable[int]) -> list[int]:
    """Return the numbers to name on an axis: all, or evenly fewer of many."""
    found = sorted(set(numbers))
    return found[:: max(1, -(-len(found) // _MOST_TICKS))]


def _forest_rows(findings: Findings) -> Iterator[tuple[str, float, float, float]]:
    heading = ""
    for row in slope_rows(findings):
        if row.beta is None:
            heading = f"{row.label}: "
        else:
            yield heading + row.label.strip(), float(row.beta), *row.ends


def _over_benign(axes: Axes, receipt: EvaluationPredicate, levels: Sequence[int]) -> None:
    joint = receipt.findings.joint if receipt.findings is not None else None
    fit = None if joint is None else joint.clustered
    conditions = benign_conditions(receipt)
    draw_baseline(axes, receipt)
    for place, level in enumerate(levels):
        found = sorted(
            (condition for condition in conditions if condition.n_harmful == level),
            key=lambda condition: condition.n_benign,
        )
        if not found:
            continue
        points = [(_stretched(condition.n_benign), condition) for condition in found]
        draw_rates(axes, points, place, _level_name(level))
        if fit is not None:
            ends = _stretched(found[0].n_benign), _stretched(found[-1].n_benign)
            xs = [ends[0] + (ends[1] - ends[0]) * step / 40 for step in range(41)]
            start = float(fit.beta0) + float(fit.beta1 or 0) * log(level + 1)
            ys = [100 * logistic(start + float(fit.beta2) * x * log(2)) for x in xs]
            axes.plot(xs, ys, color=COLOURS[place], linestyle=":", label=_FITTED)
    numbers = _ticks(one.n_benign for one in conditions if one.n_harmful in levels)
    axes.set_xticks([_stretched(number) for number in numbers], [f"{n}" for n in numbers])
    axes.set_xlabel("benign demonstrations N_b (scale of log(N_b + 1))")


def _level_name(n_harmful: int) -> str:
    return f"N_h = {n_harmful}"


def _stretched(n_benign: int) -> float:
    return log2(n_benign + 1)


def _adopted(rate: AdoptionRate) -> Dot:
    return share_dot(rate.rate, rate.lower, rate.upper)
