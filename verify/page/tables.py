"""The tables of a page.  Each cell names the sealed value that it shows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from safety_receipts.receipts.model.demonstrations import QueryRole
from safety_receipts.receipts.model.receipt import EvaluationPredicate
from safety_receipts.receipts.view.numerals import NOTHING
from safety_receipts.receipts.view.tables import (
    Cell,
    ColumnKind,
    Estimate,
    NoEstimate,
    Series,
    Share,
    Table,
    Words,
)
from safety_receipts.verify.page.binding import NumberBinder
from safety_receipts.verify.page.markup import Element, Node, el
from safety_receipts.verify.page.sealed import Form, SealedDocuments, pointer

_NUMBERS: Final = (ColumnKind.NUMBER, ColumnKind.MEASURE, ColumnKind.REMARK)


def framed(
    name: str, title: str, heads: Sequence[tuple[str, bool]], rows: Iterable[Element]
) -> Element:
    """Return a table in a frame that scrolls where there is no room.

    Args:
        name: A word that no other table of the page has.
        title: Its title.
        heads: Names of columns, and whether they hold numbers.
        rows: Its rows.
    """
    columns = (
        el("th", text, scope="col", class_="number" if is_number else None, data_fixed=True)
        for text, is_number in heads
    )
    caption = el("caption", title, id=f"{name}-caption", data_fixed=True)
    table = el("table", caption, el("thead", el("tr", columns)), el("tbody", rows))
    return el(
        "div",
        table,
        class_="scroll",
        tabindex="0",
        role="region",
        aria_labelledby=f"{name}-caption",
    )


class ConditionTables:
    """Rates, denominators and sources of all conditions.

    Args:
        receipt: The receipt.
        documents: Its values.
    """

    def __init__(self, receipt: EvaluationPredicate, documents: SealedDocuments) -> None:
        self._receipt, self._documents = receipt, documents

    def rates(self) -> Element:
        """Return compliance by condition."""
        corrected = any(one.corrected_rate for one in self._receipt.conditions)
        heads = [
            ("condition", False),
            ("N_h", True),
            ("N_b", True),
            ("compliance %", True),
            ("95 % interval", True),
            ("vs baseline, points", True),
            ("interval", True),
            ("at most %", True),
            *([("judge corrected %", True)] if corrected else []),
            ("tokens", True),
        ]
        return framed(
            "rates",
            "Compliance by condition, over judged points of harmful-role queries",
            heads,
            (self._rate_row(index, corrected=corrected) for index in self._indices()),
        )

    def _rate_row(self, index: int, *, corrected: bool) -> Element:
        row = _Row(self._documents, pointer("r", "conditions", index))
        difference = self._receipt.conditions[index].baseline_difference is not None
        ends = ("baselineDifference/lower", "baselineDifference/upper")
        return row.made(
            row.head("id"),
            row.number("nHarmful", Form.PLAIN),
            row.number("nBenign", Form.PLAIN),
            row.number("complianceRate", Form.PERCENT, class_="number strong"),
            row.span(("interval/lower", "interval/upper"), Form.PERCENT),
            row.number("baselineDifference/value", Form.POINTS),
            row.span(ends, Form.POINTS) if difference else row.nothing(),
            row.number("worstCaseRate", Form.PERCENT),
            row.number("correctedRate/rate", Form.PERCENT) if corrected else None,
            row.number("meanPromptTokens", Form.WHOLE),
        )

    def denominators(self) -> Element:
        """Return what became of the points of each condition."""
        fields = ("planned", "failed", "unscored", "refused", "complied", "lengthStopped")
        names = ("planned", "failed", "unscored", "refused", "complied", "cut")
        heads = [("condition", False), *((name, True) for name in names)]
        heads += [("different prompts", True), ("why unscored or failed", False)]
        rows = (self._denominator_row(index, fields) for index in self._indices())
        return framed("denominators", "What became of the points", heads, rows)

    def _denominator_row(self, index: int, fields: Sequence[str]) -> Element:
        row = _Row(self._documents, pointer("r", "conditions", index))
        reasons: list[Node] = []
        for number, one in enumerate(self._receipt.conditions[index].reasons):
            here = f"{row.place}/reasons/{number}/points"
            points = self._documents.show(here, Form.COUNT, within=row.place)
            reasons += [", " if reasons else "", points, f" {one.reason.value}"]
        return row.made(
            row.head("id"),
            *(row.number(f"counts/{field}", Form.COUNT) for field in fields),
            row.number("distinctPrompts", Form.COUNT),
            el("td", reasons or NOTHING),
        )

    def sources(self) -> Element | None:
        """Return compliance by query source and over-refusal; None: there is one source alone."""
        queries = self._receipt.queries
        if len(queries) <= 1:
            return None
        controlled = any(one.control for one in self._receipt.conditions)
        shown = [
            self._documents.show(pointer("r", "queries", number, "name"), Form.TEXT)
            for number in range(len(queries))
        ]
        heads: list[Node] = [el("th", "condition", scope="col")]
        for name, source in zip(shown, queries, strict=True):
            control = " (control)" if source.role is QueryRole.BENIGN_CONTROL else ""
            heads.append(el("th", name, control, scope="col", class_="number"))
        if controlled:
            heads.append(el("th", "over-refusal", scope="col", class_="number"))
        caption = el(
            "caption", "Compliance by query source, and over-refusal (%)", id="sources-caption"
        )
        rows = [self._source_row(index, controlled=controlled) for index in self._indices()]
        table = el("table", caption, el("thead", el("tr", heads)), el("tbody", rows))
        return el(
            "div",
            table,
            class_="scroll",
            tabindex="0",
            role="region",
            aria_labelledby="sources-caption",
        )

    def _source_row(self, index: int, *, controlled: bool) -> Element:
        row = _Row(self._documents, pointer("r", "conditions", index))
        places = (f"bySource/{number}" for number in range(len(self._receipt.queries)))
        return row.made(
            row.head("id"),
            *(row.number(f"{place}/complianceRate", Form.PERCENT) for place in places),
            row.number("control/refusalRate", Form.PERCENT) if controlled else None,
        )

    def _indices(self) -> range:
        return range(len(self._receipt.conditions))


class _Row:
    """Cells of one row, whose places are told from the row's."""

    def __init__(self, documents: SealedDocuments, place: str) -> None:
        self._documents = documents
        self.place = place

    def made(self, *cells: Node | None) -> Element:
        return el("tr", [cell for cell in cells if cell is not None], data_in=self.place)

    def head(self, field: str) -> Element:
        shown = self._documents.show(f"{self.place}/{field}", Form.TEXT, within=self.place)
        return el("th", shown, scope="row")

    def number(self, field: str, form: Form, class_: str = "number") -> Element:
        here = f"{self.place}/{field}"
        return self._documents.show(here, form, "td", within=self.place, class_=class_)

    def span(self, fields: tuple[str, str], form: Form) -> Element:
        lower, upper = (
            self._documents.show(f"{self.place}/{field}", form, within=self.place)
            for field in fields
        )
        between = "–" if form is Form.PERCENT else " to "
        return el("td", lower, between, upper, class_="number")

    def nothing(self) -> Element:
        return el("td", NOTHING, class_="number")


def written(name: str, table: Table, binder: NumberBinder, *near: str) -> Element:
    """Return a table that terminals show too; pictures in it are left to the charts.

    Args:
        name: A word that no other table of the page has.
        table: The table.
        binder: Knows where its numbers come from.
        near: Places that they come from, the likeliest first.
    """
    kept = [
        index
        for index, column in enumerate(table.columns)
        if column.kind is not ColumnKind.BAR
        and not any(_is_picture(row.cells[index : index + 1]) for row in table.rows)
    ]
    heads = [(table.columns[index].name, table.columns[index].kind in _NUMBERS) for index in kept]
    rows = []
    for row in table.rows:
        cells = [row.cells[index] if index < len(row.cells) else "" for index in kept]
        rows.append(el("tr", _cells(cells, heads, binder, near)))
    return framed(name, table.title, heads, rows)


def _cells(
    cells: Sequence[Cell],
    heads: Sequence[tuple[str, bool]],
    binder: NumberBinder,
    near: Sequence[str],
) -> Iterator[Element]:
    alone = not any(_said(cell) for cell in cells[1:])
    for index, (cell, (_, is_number)) in enumerate(zip(cells, heads, strict=True)):
        told = binder.told(_said(cell).strip(), *near)
        if index == 0:
            yield el("th", told, scope="row", class_="group" if alone else None)
        else:
            yield el("td", told, class_="number" if is_number else None)


def _is_picture(cells: Sequence[Cell]) -> bool:
    return any(isinstance(cell, Share | Series | Estimate | NoEstimate) for cell in cells)


def _said(cell: Cell) -> str:
    match cell:
        case str():
            return cell
        case Words():
            return cell.text
        case tuple():
            return "".join(one.text for one in cell)
        case _:
            return ""
