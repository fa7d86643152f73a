"""The charts of a page: rates over N and over N_b, orders, slopes, contexts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Final

from safety_receipts.receipts.model.base import ConditionId
from safety_receipts.receipts.model.receipt import ConditionResult, EvaluationPredicate
from safety_receipts.receipts.view.curves import (
    benign_conditions,
    harmful_levels,
    share_curves,
)
from safety_receipts.verify.page.chart import MOST_SERIES, At, Axis, Chart, ScaleKind, apart
from safety_receipts.verify.page.markup import Element, Node, el, text_of
from safety_receipts.verify.page.sealed import Form, SealedDocuments, pointer

_WIDTH: Final = 460.0
_HEIGHT: Final = 300.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 44.0, 384.0, 24.0, 254.0
_ROW: Final = 26.0
_NAMES: Final = 170.0
"""Room for names of rows."""
_MOST_ROWS: Final = 24
_MOST_TICKS: Final = 8
_LONGEST_LABEL: Final = 24
"""Characters of a name beside a row."""


@dataclass(frozen=True)
class _Series:
    """Conditions that a line joins."""

    label: tuple[Node, ...]
    """What it is called."""
    places: tuple[tuple[str, int], ...]
    """Place of the number of demonstrations, and index of the condition."""


def figures(receipt: EvaluationPredicate, documents: SealedDocuments) -> list[Element]:
    """Return the charts that a receipt feeds.

    Args:
        receipt: The receipt.
        documents: Its values.
    """
    drawn = (
        _over_total(receipt, documents),
        _over_benign(receipt, documents),
        _slopes(receipt, documents),
        _orders(receipt, documents),
        _contexts(receipt, documents),
    )
    return [one for one in drawn if one is not None]


def _over_total(receipt: EvaluationPredicate, documents: SealedDocuments) -> Element | None:
    finding = receipt.findings and receipt.findings.total
    index = _indices(receipt)
    there = len(share_curves(receipt, len(receipt.conditions)))
    row = {one.total: number for number, one in enumerate(finding.rows)} if finding else {}
    series = []
    for line in share_curves(receipt, MOST_SERIES):
        places = tuple(
            (pointer("r", "findings", "total", "rows", row[total], "total"), index[one.id])
            for one in line.conditions
            if (total := one.n_harmful + one.n_benign) in row and one.compliance_rate is not None
        )
        label = el("tspan", f"φ = {line.share:.2f}", data_fixed=True)
        series += [_Series((label,), places)] if places else []
    return _rates(
        receipt,
        documents,
        series,
        name="over-total",
        title="Compliance over the number of demonstrations",
        note="One line for each harmful share φ; whiskers are intervals. Dashed: without "
        f"demonstrations.{_left_out(len(series), there, 'shares')}",
        axis="demonstrations N, on a scale of log(N + 1)",
    )


def _over_benign(receipt: EvaluationPredicate, documents: SealedDocuments) -> Element | None:
    index = _indices(receipt)
    conditions = benign_conditions(receipt)
    there = len(harmful_levels(conditions, len(conditions)))
    series = []
    for level in harmful_levels(conditions, MOST_SERIES):
        line = [one for one in conditions if one.n_harmful == level]
        found = [index[one.id] for one in sorted(line, key=lambda one: one.n_benign)]
        label = ("N_h = ", _number(documents, pointer("r", "conditions", found[0], "nHarmful")))
        places = ((pointer("r", "conditions", each, "nBenign"), each) for each in found)
        series.append(_Series(label, tuple(places)))
    return _rates(
        receipt,
        documents,
        series,
        name="over-benign",
        title="Compliance over benign demonstrations at fixed harmful ones",
        note="One line for each number of harmful demonstrations N_h; whiskers are intervals. "
        f"Dashed: without demonstrations.{_left_out(len(series), there, 'numbers')}",
        axis="benign demonstrations N_b, on a scale of log(N_b + 1)",
    )


def _left_out(drawn: int, there: int, what: str) -> str:
    """Return that a picture is not of all there is; empty: it is."""
    if drawn >= there:
        return ""
    return f" Of {there} {what} {drawn} are drawn; the tables have all."


def _number(documents: SealedDocuments, place: str) -> Element:
    return documents.show(place, Form.PLAIN, "tspan")


def _rates(
    receipt: EvaluationPredicate,
    documents: SealedDocuments,
    series: Sequence[_Series],
    *,
    name: str,
    title: str,
    note: str,
    axis: str,
) -> Element | None:
    known = [index for one in series for _, index in one.places]
    if not known:
        return None
    numbers = sorted({int(documents.value(place)) for one in series for place, _ in one.places})
    top = _top([*(receipt.conditions[index] for index in known), receipt.conditions[0]])
    first = round(numbers[0] / 1.5, 2)  # some room on the left where nothing stands at zero
    x = Axis(ScaleKind.LOG_1P, first, max(1, numbers[-1]), _LEFT, _RIGHT)
    y = Axis(ScaleKind.LINEAR, 0, top, _BOTTOM, _TOP)
    chart = Chart(documents, x, y, (_WIDTH, _HEIGHT))
    _rate_ticks(chart, top)
    for number in numbers[:: max(1, ceil(len(numbers) / _MOST_TICKS))]:
        chart.tick(f"{number}", number, upright=False)
    chart.name_axis("compliance", upright=True)
    chart.name_axis(axis, upright=False)
    baseline = chart.sealed(pointer("r", "conditions", 0, "complianceRate"))
    if baseline is not None:
        chart.level(baseline, "baseline")
    ends = []
    for number, one in enumerate(series):
        ends.append(_line(chart, one, number))
    shifts = apart([y.at(end[1].value) for end in ends])
    for number, (one, end) in enumerate(zip(series, ends, strict=True)):
        place = (7.0, shifts[number])
        chart.label(*end, one.label, shift=place, name=f"label s{number}")
    return _figure(chart, name, title, note)


def _line(chart: Chart, series: _Series, number: int) -> tuple[At, At]:
    """Draw a series; return its last place."""
    last: tuple[At, At] | None = None
    for place, index in series.places:
        x = chart.sealed(place)
        y = chart.sealed(pointer("r", "conditions", index, "complianceRate"))
        if x is None or y is None:
            continue
        _whisker(chart, x, index, number)
        if last is not None:
            chart.line(last, (x, y), f"line s{number}")
        chart.dot(x, y, number)
        last = (x, y)
    assert last is not None  # each has a rate
    return last


def _whisker(chart: Chart, x: At, index: int, number: int) -> None:
    lower = chart.sealed(pointer("r", "conditions", index, "interval", "lower"))
    upper = chart.sealed(pointer("r", "conditions", index, "interval", "upper"))
    if lower is not None and upper is not None:
        chart.line((x, lower), (x, upper), f"whisker s{number}")


def _top(conditions: Sequence[ConditionResult]) -> float:
    """Return the end of an axis of rates: the next tenth above all of them."""
    ends = [float(one.interval.upper) for one in conditions if one.interval is not None]
    rates = [float(one.compliance_rate) for one in conditions if one.compliance_rate is not None]
    return min(1.0, ceil(10 * max([*ends, *rates, 0.05]) - 1e-9) / 10)


def _rate_ticks(chart: Chart, top: float, *, upright: bool = True) -> None:
    step = 0.1 if top <= 0.5 else 0.2
    for number in range(int(top / step + 1e-9) + 1):
        chart.tick(f"{100 * step * number:.0f} %", round(step * number, 2), upright=upright)


def _indices(receipt: EvaluationPredicate) -> Mapping[ConditionId, int]:
    return {condition.id: index for index, condition in enumerate(receipt.conditions)}


# Rows with intervals


@dataclass(frozen=True)
class _DrawnRow:
    """A value with its interval, on a line of its own."""

    label: tuple[Node, ...]
    """What it is."""
    value: str
    """Place of the value."""
    lower: str
    """Place of the lower end of its interval."""
    upper: str
    """Place of the upper end."""
    mark: int = 0
    """Which series it is drawn as."""


def _slopes(receipt: EvaluationPredicate, documents: SealedDocuments) -> Element | None:
    rows = list(_slope_rows(receipt, documents))
    if not rows:
        return None
    ends = _ends(documents, rows)
    margin = float(receipt.effect_margin)
    chart = _rows(documents, rows, min([*ends, -margin]), max([*ends, margin]))
    for place in (At.number(-margin), At.number(margin)):
        chart.across(place, "margin")
    chart.across(At.number(0), "zero")
    return _rows_figure(
        chart,
        len(rows),
        "slopes",
        "What benign demonstrations do: slope β2",
        "Change of the log-odds of compliance per unit of log(N_b + 1), with intervals. Left of "
        "zero: dilution; right: amplification. Dotted: the margin within which the plan says none.",
    )


def _slope_rows(receipt: EvaluationPredicate, documents: SealedDocuments) -> Iterator[_DrawnRow]:
    findings = receipt.findings
    if findings is None:
        return
    root = pointer("r", "findings")
    if findings.joint is not None and findings.joint.clustered and findings.joint.interval:
        yield _interval_row(("all of the fit",), f"{root}/joint", "clustered/beta2")
    for index, other in enumerate(findings.joint_in_other_orders or ()):
        if other.clustered is not None and other.interval is not None:
            order = "no" if other.ordering is None else other.ordering.value
            place = f"{root}/jointInOtherOrders/{index}"
            yield _interval_row((f"in {order} order",), place, "clustered/beta2")
    if findings.sources is not None:
        for index, _ in enumerate(findings.sources.slopes):
            place = f"{root}/sources/slopes/{index}"
            name = documents.show(f"{place}/source", Form.TEXT, "tspan")
            yield _interval_row((_drawn_name(name),), place, "beta", mark=1)
        for index, _ in enumerate(findings.sources.length_matched):
            place = f"{root}/sources/lengthMatched/{index}"
            names = (
                _drawn_name(documents.show(f"{place}/{field}", Form.TEXT, "tspan"))
                for field in ("source", "filler")
            )
            yield _interval_row((next(names), " − ", next(names)), place, "beta", mark=2)


def _drawn_name(shown: Element) -> Element:
    """Return a name as a drawing can hold it, which has no element for the direction of text."""
    text = text_of(shown)
    if len(text) > _LONGEST_LABEL:
        return el("tspan", f"{text[: _LONGEST_LABEL - 1]}…", data_fixed=True)
    return Element(shown.tag, shown.attributes, (text,))


def _interval_row(label: tuple[Node, ...], place: str, value: str, *, mark: int = 0) -> _DrawnRow:
    ends = f"{place}/interval/lower", f"{place}/interval/upper"
    return _DrawnRow(label, f"{place}/{value}", *ends, mark)


def _orders(receipt: EvaluationPredicate, documents: SealedDocuments) -> Element | None:
    found = (receipt.findings and receipt.findings.orderings) or ()
    index = _indices(receipt)
    rows = []
    for number, finding in enumerate(found):
        for rate, one in enumerate(finding.rates):
            condition = index.get(one.condition)
            if condition is None or one.compliance_rate is None:
                continue
            here = pointer("r", "findings", "orderings", number)
            label = (
                _number(documents, f"{here}/nHarmful"),
                " + ",
                _number(documents, f"{here}/nBenign"),
                f" {one.ordering.value}",
            )
            ends = pointer("r", "conditions", condition, "interval")
            row = f"{here}/rates/{rate}/complianceRate"
            rows.append(_DrawnRow(label, row, f"{ends}/lower", f"{ends}/upper", number % 2))
    if not rows:
        return None
    top = min(1.0, ceil(10 * max([*_ends(documents, rows), 0.05]) - 1e-9) / 10)
    chart = _rows(documents, rows, 0.0, top, percent=True)
    baseline = chart.sealed(pointer("r", "conditions", 0, "complianceRate"))
    if baseline is not None:
        chart.across(baseline, "baseline")
    return _rows_figure(
        chart,
        len(rows),
        "orders",
        "Compliance by the order of the same demonstrations",
        "Harmful + benign demonstrations, and their order; whiskers are intervals. Dashed: without "
        "demonstrations.",
    )


def _contexts(receipt: EvaluationPredicate, documents: SealedDocuments) -> Element | None:
    rows = []
    for number, one in enumerate((receipt.findings and receipt.findings.contexts) or ()):
        if one.change is None:
            continue
        here = pointer("r", "findings", "contexts", number)
        label = _drawn_name(documents.show(f"{here}/condition", Form.TEXT, "tspan"))
        ends = f"{here}/change/interval/lower", f"{here}/change/interval/upper"
        rows.append(_DrawnRow((label,), f"{here}/change/value", *ends))
    if not rows:
        return None
    ends_of = [*_ends(documents, rows), 0.0]
    chart = _rows(documents, rows, min(ends_of), max(ends_of), percent=True)
    chart.across(At.number(0), "zero")
    return _rows_figure(
        chart,
        len(rows),
        "contexts",
        "Other contexts minus plain turns",
        "Difference of compliance in percentage points, with intervals.",
    )


def _ends(documents: SealedDocuments, rows: Sequence[_DrawnRow]) -> list[float]:
    known = (documents.value(place) for row in rows for place in (row.value, row.lower, row.upper))
    return [float(value) for value in known if value is not None]


def _rows(
    documents: SealedDocuments,
    rows: Sequence[_DrawnRow],
    lower: float,
    upper: float,
    *,
    percent: bool = False,
) -> Chart:
    """Return a chart with a row for each value."""
    shown = rows[:_MOST_ROWS]
    span = (upper - lower) or 1.0
    low = lower if percent and lower == 0 else lower - 0.04 * span
    high = upper if percent and lower == 0 else upper + 0.04 * span
    bottom = _TOP + _ROW * len(shown)
    x = Axis(ScaleKind.LINEAR, float(f"{low:.4g}"), float(f"{high:.4g}"), _NAMES, _WIDTH - 18)
    y = Axis(ScaleKind.LINEAR, len(shown), 0, bottom, _TOP)
    chart = Chart(documents, x, y, (_WIDTH, bottom + 26))
    for number in _round_numbers(low, high):
        text = f"{100 * number:.0f} %" if percent else f"{number:g}".replace("-", "−")
        chart.tick(text, number, upright=False)
    for number, row in enumerate(shown):
        here = At.number(number + 0.5)
        chart.label(At.number(x.lower), here, row.label, shift=(-8.0, 0.0), name="row-label")
        low_end, high_end = chart.sealed(row.lower), chart.sealed(row.upper)
        if low_end is not None and high_end is not None:
            chart.line((low_end, here), (high_end, here), f"whisker s{row.mark}")
        value = chart.sealed(row.value)
        if value is not None:
            chart.dot(value, here, row.mark)
    return chart


def _round_numbers(lower: float, upper: float) -> list[float]:
    """Return some round numbers between two, zero among them where it lies there."""
    span = upper - lower
    step = next(
        step
        for power in range(-6, 3)
        for step in (1 * 10.0**power, 2 * 10.0**power, 5 * 10.0**power)
        if span / step <= 5
    )
    return [
        round(step * number, 8)
        for number in range(ceil(lower / step - 1e-9), int(upper // step) + 1)
    ]


def _rows_figure(chart: Chart, there: int, name: str, title: str, note: str) -> Element:
    left = _left_out(min(there, _MOST_ROWS), there, "rows")
    return _figure(chart, name, title, note + left)


def _figure(chart: Chart, name: str, title: str, note: str) -> Element:
    return el(
        "figure",
        el("figcaption", el("strong", title, id=f"{name}-title", data_fixed=True)),
        chart.drawn(name, [note]),
        el("p", note, class_="note", data_fixed=True, aria_hidden="true"),
        class_="chart",
    )
