"""Findings as tables with the remarks under them, the primary hypothesis first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Final, TypeAlias

from safety_receipts.receipts.io.text import printable
from safety_receipts.receipts.model.base import ConditionId
from safety_receipts.receipts.model.findings import (
    AdoptionRate,
    ContextFinding,
    Findings,
    FormatFinding,
    HypothesisRole,
    HypothesisTest,
    OrderingFinding,
    PositionRow,
    RateChange,
    TotalRow,
)
from safety_receipts.receipts.model.plan import Hypothesis
from safety_receipts.receipts.model.receipt import ConditionResult, EvaluationPredicate
from safety_receipts.receipts.view.numerals import (
    NOTHING,
    counted,
    p_number,
    p_value,
    percent,
    percentage_points,
    point_span,
    signed_number,
    statistic,
)
from safety_receipts.receipts.view.slopes import slope_remarks, slope_rows, slope_table, t_ends
from safety_receipts.receipts.view.tables import (
    Column,
    ColumnKind,
    Estimate,
    Row,
    Series,
    Share,
    Table,
    Tone,
    Words,
    common_scale,
    numbers,
)
from safety_receipts.receipts.view.words import adoption_interval, null_words, quoted

_MOST_TESTS: Final = 40
"""Rows of the table of tests; the JSON document has all."""

Remark: TypeAlias = tuple[str | Series, ...]
"""A sentence, in which numbers may be drawn."""


class SectionName(StrEnum):
    """What a table of findings is of."""

    TOTAL = "total"
    SLOPES = "slopes"
    ORDERINGS = "orderings"
    FORMATS = "formats"
    CONTEXTS = "contexts"
    TESTS = "tests"


@dataclass(frozen=True)
class Section:
    """A table of findings with the remarks under it."""

    name: SectionName
    """What it is of."""
    table: Table | None
    """The table; None: there are remarks alone."""
    remarks: tuple[Remark, ...] = ()
    """The remarks."""


_Conditions: TypeAlias = Mapping[ConditionId, ConditionResult]

_PRIMARY: Final = {
    Hypothesis.TOTAL: SectionName.TOTAL,
    Hypothesis.JOINT: SectionName.SLOPES,
    Hypothesis.ORDERING: SectionName.ORDERINGS,
}


def finding_sections(receipt: EvaluationPredicate) -> list[Section]:
    """Return all that is tabulated of a receipt's findings; empty: none are claimed."""
    findings = receipt.findings
    if findings is None:
        return []
    conditions = {condition.id: condition for condition in receipt.conditions}
    sections = [
        _total(findings, conditions),
        _slopes(receipt, findings),
        _orderings(findings.orderings, conditions),
        _formats(findings.formats),
        _contexts(findings.contexts),
        _tests(findings),
    ]
    known = [section for section in sections if section is not None]
    first = _PRIMARY.get(receipt.primary)
    return sorted(known, key=lambda section: section.name is not first)


# total-count


def _total(findings: Findings, conditions: _Conditions) -> Section | None:
    finding = findings.total
    if finding is None:
        return None
    known = [(row, _by_share(row, conditions)) for row in finding.rows]
    top = max((rate for _, rates in known for rate in rates if rate is not None), default=0.0)
    table = Table(
        "Same number of demonstrations (N), different harmful shares (φ)",
        (
            *numbers("N"),
            Column("φ rising"),
            Column("compliance, %", ColumnKind.TEXT),
            *numbers("χ² published", "p", "F clustered", "p"),
        ),
        tuple(_total_row(row, rates, top) for row, rates in known),
    )
    return Section(SectionName.TOTAL, table)


def _total_row(row: TotalRow, rates: tuple[float | None, ...], top: float) -> Row:
    return Row(
        (
            f"{row.total:,}",
            Series(rates, top),
            " ".join(NOTHING if rate is None else f"{rate * 100:.0f}" for rate in rates),
            statistic(row.chi_square, row.df),
            p_number(row.p_as_published),
            statistic(row.f),
            p_number(row.p),
        )
    )


def _by_share(row: TotalRow, conditions: _Conditions) -> tuple[float | None, ...]:
    # A receipt that nobody verified may name conditions that it does not have.
    known = [conditions[id_] for id_ in row.conditions if id_ in conditions]
    found = sorted(known, key=lambda one: one.n_harmful)
    return tuple(None if c.compliance_rate is None else float(c.compliance_rate) for c in found)


# slopes


def _slopes(receipt: EvaluationPredicate, findings: Findings) -> Section | None:
    rows = slope_rows(findings)
    if not rows and findings.joint is None:
        return None
    remarks = tuple((text,) for text in slope_remarks(findings))
    return Section(SectionName.SLOPES, slope_table(receipt, rows) if rows else None, remarks)


# orders


def _orderings(found: Iterable[OrderingFinding] | None, conditions: _Conditions) -> Section | None:
    known = tuple(found or ())
    if not known:
        return None
    table = Table(
        "Orders of one mixture (compliance, %)",
        (
            Column("mixture"),
            Column("order"),
            *numbers("rate"),
            Column("95 %"),
            Column("0 … 100", ColumnKind.BAR),
        ),
        tuple(row for finding in known for row in _ordering_rows(finding, conditions)),
    )
    remarks = tuple(remark for one in known if (remark := _position(one)) is not None)
    return Section(SectionName.ORDERINGS, table, remarks)


def _ordering_rows(finding: OrderingFinding, conditions: _Conditions) -> Iterator[Row]:
    mixture = f"{finding.n_harmful} harmful + {finding.n_benign} benign"
    for one in finding.rates:
        rate = one.compliance_rate
        interval = _interval(conditions.get(one.condition))
        yield Row((mixture, one.ordering.value, percent(rate), interval, Share.of(rate)))
        mixture = ""


def _interval(condition: ConditionResult | None) -> str:
    if condition is None or condition.interval is None:
        return NOTHING
    return f"{percent(condition.interval.lower)}–{percent(condition.interval.upper)}"


def _position(finding: OrderingFinding) -> Remark | None:
    position = finding.position
    if position is None or len(position.rows) < 2:
        return None
    sealed = [row.compliance_rate for row in position.rows]
    rates = tuple(None if rate is None else float(rate) for rate in sealed)
    top = max((rate for rate in rates if rate is not None), default=0.0)
    first, last = position.rows[0], position.rows[-1]
    before = (
        f"Random order at {finding.n_harmful} + {finding.n_benign}, compliance by the number of "
        f"harmful ones among the last 8, from {first.harmful_near} to {last.harmful_near}: "
    )
    ends = (f"{_of_judged(row)} with {row.harmful_near}" for row in (first, last))
    after = f" ({', '.join(ends)})"
    if position.slope is not None:
        slope = position.slope
        low, high = (
            signed_number(Decimal(end), 2) for end in t_ends(slope.beta, slope.se, slope.df)
        )
        after += (
            f"; log-odds per share {signed_number(slope.beta, 2)} (95 % {low} to {high}), "
            f"{p_value(slope.p)}"
        )
    return before, Series(rates, top), f"{after}."


def _of_judged(row: PositionRow) -> str:
    return f"{percent(row.compliance_rate)} % of {counted(row.judged, 'point')}"


# formats


def _formats(found: Iterable[FormatFinding] | None) -> Section | None:
    known = tuple(found or ())
    if not known:
        return None
    table = Table(
        "Uptake of a demonstrated opening",
        (
            Column("opening", ColumnKind.TEXT),
            *numbers("%"),
            Column("95 %"),
            *numbers("p"),
            Column("0 … 100", ColumnKind.BAR),
        ),
        tuple(row for finding in known for row in _format_rows(finding)),
    )
    return Section(SectionName.FORMATS, table)


def _format_rows(finding: FormatFinding) -> Iterator[Row]:
    yield Row((Words(quoted(finding.prefix), Tone.STRONG),))
    yield Row((f"{finding.condition}: {finding.verdict.value}",))
    yield _adoption("refusals", finding.among_refusals)
    yield _adoption("compliances", finding.among_compliances)
    yield _change("difference", finding.gap)
    yield _change("compliance with − without", finding.change)


def _adoption(who: str, rate: AdoptionRate) -> Row:
    name = f"  adopted by {rate.responses:,} {who}"
    return Row((name, percent(rate.rate), adoption_interval(rate), "", Share.of(rate.rate)))


def _change(name: str, change: RateChange | None) -> Row:
    if change is None:
        return Row((f"  {name}", NOTHING))
    ends = point_span(change.interval.lower, change.interval.upper)
    return Row((f"  {name}", percentage_points(change.value), ends, p_number(change.p)))


# contexts


def _contexts(found: Iterable[ContextFinding] | None) -> Section | None:
    known = tuple(found or ())
    if not known:
        return None
    ends = [
        float(end)
        for one in known
        if one.change is not None
        for end in (one.change.interval.lower, one.change.interval.upper)
    ]
    table = Table(
        "Other contexts minus plain turns (compliance, points, 95 % intervals)",
        (
            Column("condition", ColumnKind.TEXT),
            *numbers("change", "p"),
            Column("", scale=common_scale(ends, lambda end: percentage_points(str(end)))),
        ),
        tuple(map(_context_row, known)),
    )
    return Section(SectionName.CONTEXTS, table)


def _context_row(one: ContextFinding) -> Row:
    change = one.change
    if change is None:
        return Row((one.condition, NOTHING, NOTHING, ""))
    lower, upper = float(change.interval.lower), float(change.interval.upper)
    drawn = Estimate(float(change.value), lower, upper)
    return Row((one.condition, percentage_points(change.value), p_number(change.p), drawn))


# multiplicity


def _tests(findings: Findings) -> Section | None:
    tests = sorted(findings.tests, key=lambda test: test.role is not HypothesisRole.PRIMARY)
    if not tests:
        return None
    rows: list[Row] = []
    for role in HypothesisRole:
        shown = [test for test in tests[:_MOST_TESTS] if test.role is role]
        if shown:
            rows.append(Row((Words(role.value, Tone.STRONG),)))
        rows += [_test(test, findings.alpha) for test in shown]
    table = Table(
        f"All tests at level {findings.alpha}; secondary ones after Holm",
        (
            Column("test"),
            Column("what it would rule out", ColumnKind.TEXT),
            *numbers("p", "corrected"),
            Column(""),
        ),
        tuple(rows),
    )
    remarks: list[Remark] = []
    if len(tests) > _MOST_TESTS:
        remarks.append((f"… and {len(tests) - _MOST_TESTS:,} more: see --json.",))
    remarks.append(("Intervals are not corrected: one may exclude 0, its test not.",))
    return Section(SectionName.TESTS, table, tuple(remarks))


def _test(test: HypothesisTest, alpha: str) -> Row:
    rejected = Decimal(test.adjusted) < Decimal(alpha)
    word = "ruled out" if rejected else "not ruled out"
    p, corrected = p_number(test.p), p_number(test.adjusted)
    return Row((f"  {printable(test.name)}", null_words(test.name), p, corrected, word))
