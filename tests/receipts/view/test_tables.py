"""What is tabulated of a receipt, before anything draws it."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.model.receipt import EvaluationPredicate
from safety_receipts.receipts.present.tables import draw
from safety_receipts.receipts.view.conditions import (
    condition_table,
    denominator_table,
    source_table,
)
from safety_receipts.receipts.view.finding_tables import SectionName, finding_sections
from safety_receipts.receipts.view.numerals import percent
from safety_receipts.receipts.view.rows import condition_rows
from safety_receipts.receipts.view.summary import headline_facts
from safety_receipts.receipts.view.tables import (
    Column,
    ColumnKind,
    Estimate,
    NoEstimate,
    Row,
    Share,
    Table,
    Tone,
    common_scale,
)

GOLDEN = Path(__file__).parents[2] / "golden"


@pytest.fixture(scope="module")
def diluting() -> EvaluationPredicate:
    """A receipt with findings, of known answer."""
    return Bundle(GOLDEN / "known-answer" / "diluting").receipt.statement.predicate


@pytest.fixture(scope="module")
def plain() -> EvaluationPredicate:
    """A receipt with a control source."""
    return Bundle(GOLDEN / "0.1" / "good" / "ed25519").receipt.statement.predicate


def test_tables_hold_the_numbers_of_the_flat_rows(diluting: EvaluationPredicate) -> None:
    rows = condition_rows(diluting)
    rates = condition_table(diluting, diluting.conditions).rows
    counts = denominator_table(diluting.conditions).rows
    assert len(rows) == len(rates) == len(counts) > 3
    for flat, rate, count in zip(rows, rates, counts, strict=True):
        assert rate.cells[:3] == (flat.condition, str(flat.n_harmful), str(flat.n_benign))
        assert rate.cells[3] == percent(str(flat.compliance_rate))
        assert str(rate.cells[-1]).startswith(percent(str(flat.corrected_rate)))
        whole = (flat.planned, flat.failed, flat.unscored, flat.refused, flat.complied)
        assert count.cells[1:6] == tuple(f"{number:,}" for number in whole)
    assert [row.tone for row in rates] == [Tone.STRONG] + [Tone.PLAIN] * (len(rates) - 1)


def test_there_is_a_bar_where_no_rate_is_corrected(plain: EvaluationPredicate) -> None:
    bare = [one.model_copy(update={"corrected_rate": None}) for one in plain.conditions]
    table = condition_table(plain, bare)
    assert table.columns[-1].kind is ColumnKind.BAR
    drawn = [row.cells[-1] for row in table.rows]
    assert drawn == [Share(row.compliance_rate) for row in condition_rows(plain)]


def test_a_condition_of_which_much_is_missing_is_to_be_looked_at(
    diluting: EvaluationPredicate,
) -> None:
    condition = diluting.conditions[1]
    planned = condition.counts.planned
    for missing, tone in ((planned // 20, Tone.PLAIN), (planned // 20 + 1, Tone.DOUBTFUL)):
        counts = condition.counts.model_copy(update={"failed": missing, "unscored": 0})
        [row] = denominator_table([condition.model_copy(update={"counts": counts})]).rows
        assert row.tone is tone, missing


def test_sources_are_tabulated_where_there_are_several(
    diluting: EvaluationPredicate, plain: EvaluationPredicate
) -> None:
    assert source_table(diluting, diluting.conditions) is None  # it has one
    table = source_table(plain, plain.conditions)
    assert table is not None
    assert len(table.columns) == len(table.rows[0].cells) == 1 + len(plain.queries) + 1
    assert table.columns[-1].name == "over-refusal"


def test_the_primary_hypothesis_is_tabulated_first(diluting: EvaluationPredicate) -> None:
    names = [section.name for section in finding_sections(diluting)]
    assert names[0] is SectionName.SLOPES
    assert names[-1] is SectionName.TESTS
    slopes = finding_sections(diluting)[0].table
    assert slopes is not None
    [scale] = [column.scale for column in slopes.columns if column.scale is not None]
    drawn = [cell for row in slopes.rows for cell in row.cells if isinstance(cell, Estimate)]
    assert drawn
    assert all(scale.lower <= cell.lower <= cell.value <= cell.upper for cell in drawn)
    assert {cell.margin for cell in drawn} == {float(diluting.effect_margin)}
    assert finding_sections(diluting.model_copy(update={"findings": None})) == []


def test_the_headline_is_what_most_readers_came_for(diluting: EvaluationPredicate) -> None:
    facts = headline_facts(diluting)
    assert [fact.name for fact in facts] == ["Baseline", "Highest", "Finding"]
    highest = max(row.compliance_rate or 0 for row in condition_rows(diluting)[1:])
    assert facts[1].text[1].text == f"{highest * 100:.1f} %"
    assert "dilution" in facts[2].text[0].text


@pytest.mark.parametrize("values", [[], [0.0], [0.5, 2.0], [-3.0, -1.0]])
def test_a_scale_holds_all_numbers_and_zero(values: list[float]) -> None:
    scale = common_scale(values, str)
    assert scale.lower < scale.upper
    assert all(scale.lower <= number <= scale.upper for number in [0.0, *values])
    assert scale.names == (str(scale.lower), str(scale.upper))


def test_estimates_of_a_column_are_drawn_on_one_scale() -> None:
    scale = common_scale([-1.0, 1.0], str)
    rows = (Row(("a", Estimate(-1.0, -1.0, -1.0))), Row(("b", NoEstimate())))
    text = io.StringIO()
    draw(Console(file=text, width=60), Table("t", (Column("x"), Column("", scale=scale)), rows))
    lines = text.getvalue().splitlines()
    first, second = (line for line in lines if line.split()[:1] in (["a"], ["b"]))
    assert first.index("●") < first.index("│") == second.index("│")
    assert "●" not in second


# Nothing is cut, however narrow the terminal.

WORD = st.text("abcdefghé0123456789−.…(–)%", min_size=1, max_size=14)
PHRASE = st.lists(WORD, min_size=1, max_size=5).map(" ".join)
KINDS = st.sampled_from(list(ColumnKind))
WHOLE = {ColumnKind.NAME, ColumnKind.NUMBER, ColumnKind.MEASURE}
"""Kinds whose cells are never broken: names, ids, numbers."""


@st.composite
def tables(draw_from: st.DrawFn) -> Table:
    """Return tables of words, numbers, verdicts and bars."""
    kinds = [ColumnKind.NAME, *draw_from(st.lists(KINDS, min_size=1, max_size=9))]
    columns = tuple(Column(draw_from(PHRASE), kind) for kind in kinds)
    rows = []
    for _ in range(draw_from(st.integers(1, 4))):
        cells = [
            Share(draw_from(st.floats(0, 1))) if kind is ColumnKind.BAR else draw_from(PHRASE)
            for kind in kinds
        ]
        rows.append(Row(tuple(cells)))
    return Table(draw_from(PHRASE), columns, tuple(rows))


@given(table=tables(), width=st.integers(40, 160))
def test_no_number_no_name_and_no_word_is_cut(table: Table, width: int) -> None:
    """Cells that are kept on one line stand there whole, where a line can hold them."""
    text = io.StringIO()
    draw(Console(file=text, width=width), table)
    lines = text.getvalue().splitlines()
    assert max(map(cell_len, lines)) <= width
    shown = " ".join(" ".join(lines).split())
    for row in table.rows:
        for place, cell in enumerate(row.cells):
            if not isinstance(cell, str):
                continue
            column = table.columns[place]
            if column.kind in WHOLE and len(cell) + len(column.name) + 6 < width:
                assert any(cell in line for line in lines), cell
            for word in cell.split():
                assert word in shown, word


def test_pictures_go_before_rows_become_paragraphs() -> None:
    columns = (Column("condition"), Column("rate", ColumnKind.NUMBER), Column("", ColumnKind.BAR))
    table = Table("", columns, (Row(("h0-b0", "23.3", Share(0.233))),))
    text = {}
    for width in (60, 24, 14):
        stream = io.StringIO()
        draw(Console(file=stream, width=width), table)
        text[width] = stream.getvalue()
    assert "██▊" in text[60]
    assert "█" not in text[24]
    assert "condition" in text[24]
    assert [line.rstrip() for line in text[14].splitlines() if line.strip()] == [
        " h0-b0",
        "   rate 23.3",
    ]
