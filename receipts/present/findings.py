"""Findings for a terminal: what was found in sentences, then the numbers in tables.

Tables fit into 80 columns where names are short, and into 120 always.  Nothing is said by colour
alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from safety_receipts.receipts.io.text import printable
from safety_receipts.receipts.model.base import ConditionId
from safety_receipts.receipts.model.findings import (
    AdoptionRate,
    Findings,
    HypothesisRole,
    HypothesisTest,
    OrderingFinding,
    RateChange,
    TotalRow,
)
from safety_receipts.receipts.model.plan import Hypothesis
from safety_receipts.receipts.model.receipt import ConditionResult, EvaluationPredicate
from safety_receipts.receipts.present.charts import ChartScale, axis, bar, forest, spark
from safety_receipts.receipts.present.slopes import show_slopes, t_ends
from safety_receipts.receipts.present.tables import FOREST_CELLS, new_table, note, statistic
from safety_receipts.receipts.view.numerals import (
    NOTHING,
    p_number,
    p_value,
    percent,
    percentage_points,
    point_span,
    signed_number,
)
from safety_receipts.receipts.view.sentences import Sentence, sentences
from safety_receipts.receipts.view.words import adoption_interval, null_words, quoted

_BAR_CELLS: Final = 20
_SHORT_BAR_CELLS: Final = 10
_MOST_TESTS: Final = 40
"""Rows of the table of tests; the JSON document has all."""


def show_findings(console: Console, receipt: EvaluationPredicate) -> None:
    """Draw the findings of a receipt: sentences, then tables, the primary hypothesis first."""
    console.print(Text("Findings", style="bold"))
    if receipt.findings is None:
        console.print(Text("  none are claimed\n"))
        return
    _say(console, sentences(receipt))
    _Tables(console, receipt, receipt.findings).draw()


def _say(console: Console, found: Sequence[Sentence]) -> None:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for sentence in found:
        text = Text(sentence.text, style="bold" if sentence.primary else "")
        if sentence.aside:
            text.append(f" {sentence.aside}", style="not bold dim")
        grid.add_row("  •", text)
    if not found:
        grid.add_row("  •", "The plan asks for nothing that could be tested.")
    console.print(grid)
    console.print()


class _Tables:
    def __init__(self, console: Console, receipt: EvaluationPredicate, findings: Findings) -> None:
        self._console, self._receipt, self._findings = console, receipt, findings
        self._conditions = {condition.id: condition for condition in receipt.conditions}

    def draw(self) -> None:
        sections: list[tuple[Hypothesis | None, Callable[[], None]]] = [
            (Hypothesis.TOTAL, self._total),
            (Hypothesis.JOINT, lambda: show_slopes(self._console, self._receipt, self._findings)),
            (Hypothesis.ORDERING, self._orderings),
            (None, self._formats),
            (None, self._contexts),
            (None, self._tests),
        ]
        for _, section in sorted(sections, key=lambda one: one[0] is not self._receipt.primary):
            section()

    # total-count

    def _total(self) -> None:
        finding = self._findings.total
        if finding is None:
            return
        table = new_table("Same number of demonstrations (N), different harmful shares (φ)")
        table.add_column("N", justify="right", no_wrap=True)
        table.add_column("φ rising", no_wrap=True)
        table.add_column("compliance, %", overflow="fold")
        for name in ("χ² published", "p", "F clustered", "p"):
            table.add_column(name, justify="right", no_wrap=True)
        known = [(row, self._by_share(row)) for row in finding.rows]
        top = max((rate for _, rates in known for rate in rates if rate is not None), default=0.0)
        for row, rates in known:
            table.add_row(
                f"{row.total:,}",
                spark(rates, top),
                " ".join(NOTHING if rate is None else f"{rate * 100:.0f}" for rate in rates),
                statistic(row.chi_square, row.df),
                p_number(row.p_as_published),
                statistic(row.f),
                p_number(row.p),
            )
        self._console.print(table)

    def _by_share(self, row: TotalRow) -> list[float | None]:
        found = sorted(self._known(row.conditions), key=lambda one: one.n_harmful)
        return [None if c.compliance_rate is None else float(c.compliance_rate) for c in found]

    # orders

    def _orderings(self) -> None:
        found = self._findings.orderings
        if not found:
            return
        table = new_table("Orders of one mixture (compliance, %)")
        table.add_column("mixture", no_wrap=True)
        table.add_column("order", no_wrap=True)
        table.add_column("rate", justify="right", no_wrap=True)
        table.add_column("95 %", no_wrap=True)
        table.add_column("0 … 100", no_wrap=True, min_width=_BAR_CELLS)
        for finding in found:
            mixture = f"{finding.n_harmful} harmful + {finding.n_benign} benign"
            for one in finding.rates:
                table.add_row(
                    mixture,
                    one.ordering.value,
                    percent(one.compliance_rate),
                    self._interval(one.condition),
                    _bar(one.compliance_rate, _BAR_CELLS),
                )
                mixture = ""
        self._console.print(table)
        for finding in found:
            self._position(finding)
        self._console.print()

    def _position(self, finding: OrderingFinding) -> None:
        position = finding.position
        if position is None or len(position.rows) < 2:
            return
        sealed = [row.compliance_rate for row in position.rows]
        rates = [None if rate is None else float(rate) for rate in sealed]
        top = max((rate for rate in rates if rate is not None), default=0.0)
        first, last = position.rows[0], position.rows[-1]
        text = (
            f"Random order at {finding.n_harmful} + {finding.n_benign}, by harmful ones among the "
            f"last 8, {first.harmful_near} to {last.harmful_near}: {spark(rates, top)} "
            f"({percent(first.compliance_rate)} % to {percent(last.compliance_rate)} %)"
        )
        if position.slope is not None:
            slope = position.slope
            ends = t_ends(slope.beta, slope.se, slope.df)
            low, high = (signed_number(Decimal(end), 2) for end in ends)
            text += (
                f"; log-odds per share {signed_number(slope.beta, 2)} (95 % {low} to {high}), "
                f"{p_value(slope.p)}"
            )
        note(self._console, f"{text}.")

    # formats

    def _formats(self) -> None:
        found = self._findings.formats
        if not found:
            return
        table = new_table("Uptake of a demonstrated prefix")
        table.add_column("prefix", overflow="fold")
        table.add_column("%", justify="right", no_wrap=True)
        table.add_column("95 %", no_wrap=True)
        table.add_column("p", justify="right", no_wrap=True)
        table.add_column("0 … 100", no_wrap=True, min_width=_SHORT_BAR_CELLS)
        for finding in found:
            table.add_row(Text(quoted(finding.prefix), style="bold"))
            table.add_row(f"{finding.condition}: {finding.verdict.value}")
            table.add_row(*_adoption("refusals", finding.among_refusals))
            table.add_row(*_adoption("compliances", finding.among_compliances))
            table.add_row(*_change("difference", finding.gap))
            table.add_row(*_change("compliance with − without", finding.change))
        self._console.print(table)

    # contexts

    def _contexts(self) -> None:
        found = self._findings.contexts
        if not found:
            return
        ends = [
            float(end)
            for one in found
            if one.change is not None
            for end in (one.change.interval.lower, one.change.interval.upper)
        ]
        scale = ChartScale.over(ends, FOREST_CELLS)
        low, high = (percentage_points(str(end)) for end in (scale.lower, scale.upper))
        table = new_table("Other contexts minus plain turns (compliance, points, 95 % intervals)")
        table.add_column("condition", overflow="fold")
        table.add_column("change", justify="right", no_wrap=True)
        table.add_column("p", justify="right", no_wrap=True)
        table.add_column(axis(scale, low, high), no_wrap=True)
        for one in found:
            change = one.change
            if change is None:
                table.add_row(one.condition, NOTHING, NOTHING, "")
                continue
            lower, upper = float(change.interval.lower), float(change.interval.upper)
            table.add_row(
                one.condition,
                percentage_points(change.value),
                p_number(change.p),
                forest(scale, (float(change.value), lower, upper)),
            )
        self._console.print(table)

    # multiplicity

    def _tests(self) -> None:
        tests = sorted(
            self._findings.tests, key=lambda test: test.role is not HypothesisRole.PRIMARY
        )
        if not tests:
            return
        table = new_table(f"All tests at level {self._findings.alpha}; secondary ones after Holm")
        table.add_column("test", no_wrap=True)
        table.add_column("what it would rule out", overflow="fold")
        for name in ("p", "corrected"):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("", no_wrap=True)
        for role in HypothesisRole:
            shown = [test for test in tests[:_MOST_TESTS] if test.role is role]
            if shown:
                table.add_row(Text(role.value, style="bold"))
            for test in shown:
                table.add_row(*self._test(test))
        self._console.print(table)
        if len(tests) > _MOST_TESTS:
            note(self._console, f"… and {len(tests) - _MOST_TESTS:,} more: see --json.")
        note(self._console, "Intervals are not corrected: one may exclude 0, its test not.\n")

    def _test(self, test: HypothesisTest) -> tuple[str, ...]:
        rejected = Decimal(test.adjusted) < Decimal(self._findings.alpha)
        word = "ruled out" if rejected else "not ruled out"
        p, corrected = p_number(test.p), p_number(test.adjusted)
        return f"  {printable(test.name)}", null_words(test.name), p, corrected, word

    def _known(self, ids: Iterable[ConditionId]) -> list[ConditionResult]:
        """Return the conditions of these ids; a receipt that nobody verified may name others."""
        return [self._conditions[id_] for id_ in ids if id_ in self._conditions]

    def _interval(self, id_: ConditionId) -> str:
        condition = self._conditions.get(id_)
        if condition is None or condition.interval is None:
            return NOTHING
        return f"{percent(condition.interval.lower)}–{percent(condition.interval.upper)}"


def _bar(rate: str | None, cells: int) -> Text:
    return Text(bar(None if rate is None else float(rate), cells), style="cyan")


def _adoption(who: str, rate: AdoptionRate) -> tuple[str, str, str, str, Text]:
    name = f"  adopted by {rate.responses:,} {who}"
    drawn = _bar(rate.rate, _SHORT_BAR_CELLS)
    return name, percent(rate.rate), adoption_interval(rate), "", drawn


def _change(name: str, change: RateChange | None) -> tuple[str, ...]:
    if change is None:
        return f"  {name}", NOTHING
    ends = point_span(change.interval.lower, change.interval.upper)
    return f"  {name}", percentage_points(change.value), ends, p_number(change.p)
