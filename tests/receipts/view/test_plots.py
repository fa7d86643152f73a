"""``receipts show --plots``: figures of the findings."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from found import full_findings, full_receipt, joint, with_findings

from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.errors import FileAccessError, IncompleteError, UsageError
from safety_receipts.receipts.extras import install
from safety_receipts.receipts.figures.plots import (
    forest_plot,
    format_square,
    ordering_spread,
    rate_over_total,
    rates_over_benign,
    slopes_plot,
    write_plots,
)
from safety_receipts.receipts.keys import Signer
from safety_receipts.receipts.model.findings import Findings
from safety_receipts.receipts.model.receipt import EvaluationPredicate
from safety_receipts.verify.selfcheck.selftest import edit_statement

matplotlib = pytest.importorskip("matplotlib")

SVG = "{http://www.w3.org/2000/svg}"
FIGURES = {
    "total": "rate-over-total.svg",
    "joint": "rate-over-benign.svg",
    "sources": "slopes.svg",
    "orderings": "orderings.svg",
    "formats": "formats.svg",
}
BASELINE = ("no demonstrations", "the same, 95 % interval")
"""What the legend says of the line and of the band around it."""
ROWS = [("first", -0.2, -0.3, -0.1), ("second", 0.05, -0.01, 0.11)]


def text_of(root: ElementTree.Element) -> list[str]:
    """Return all texts of a figure."""
    return ["".join(element.itertext()).strip() for element in root.iter(f"{SVG}text")]


def points_of(root: ElementTree.Element) -> int:
    """Count the points of a figure: not ends of intervals, nor those of its legend."""
    groups = [g for g in root.iter(f"{SVG}g") if g.get("id", "").startswith("points-")]
    return sum(1 for group in groups for _ in group.iter(f"{SVG}use"))


def findings() -> Findings:
    return full_findings()


def test_every_figure_is_written_and_is_xml(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "plots"
    written = write_plots(full_receipt(), folder)
    assert [path.name for path in written] == list(FIGURES.values())
    assert sorted(folder.iterdir()) == sorted(written)
    for path in written:
        root = ElementTree.parse(path).getroot()
        assert root.tag == f"{SVG}svg"
        assert root.get("role") == "img"
        title, description = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
        assert title is not None
        assert description is not None
        assert "synthetic" in (title.text or "")
        assert len(description.text or "") > 50
        texts = " ".join(text_of(root))
        assert "synthetic (stage: none, test instrument)" in texts


@pytest.mark.parametrize("part", FIGURES)
def test_only_what_the_findings_feed_is_written(part: str, tmp_path: Path) -> None:
    written = write_plots(with_findings(**{part: getattr(findings(), part)}), tmp_path)
    expected = {FIGURES[part]} | ({"slopes.svg"} if part == "joint" else set())
    assert {path.name for path in written} == expected


def test_without_findings_nothing_is_written(tmp_path: Path) -> None:
    none = full_receipt().model_copy(update={"findings": None})
    for receipt in (none, with_findings()):
        assert write_plots(receipt, tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_the_same_receipt_gives_the_same_bytes(tmp_path: Path) -> None:
    first = write_plots(full_receipt(), tmp_path / "first")
    with matplotlib.rc_context({"font.size": 30.0, "svg.hashsalt": None, "axes.grid": False}):
        second = write_plots(full_receipt(), tmp_path / "second")
        assert matplotlib.rcParams["font.size"] == 30.0
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_other_files_stay_and_old_figures_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "slopes.svg").write_text("old")
    write_plots(full_receipt(), tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert (tmp_path / "slopes.svg").read_text().startswith("<?xml")


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FileAccessError, match="file"):
        write_plots(full_receipt(), tmp_path / "file")


def test_rate_over_total_has_a_point_for_every_condition(tmp_path: Path) -> None:
    rate_over_total(full_receipt()).write(tmp_path / "a.svg")
    root = ElementTree.parse(tmp_path / "a.svg").getroot()
    total = findings().total
    assert total is not None
    assert points_of(root) == sum(len(row.conditions) for row in total.rows) == 30
    texts = text_of(root)
    for label in ("φ = 0.00", "φ = 0.75", "128", "compliance rate (%)", *BASELINE):
        assert label in texts


def test_rates_over_benign_has_one_panel_a_checkpoint(tmp_path: Path) -> None:
    series = [("stage one", full_receipt()), ("stage $two_{", with_findings(joint=joint()))]
    rates_over_benign(series).write(tmp_path / "a.svg")
    root = ElementTree.parse(tmp_path / "a.svg").getroot()
    assert points_of(root) == 2 * len(joint().conditions) == 36
    texts = text_of(root)
    assert texts.count("benign demonstrations N_b (scale of log(N_b + 1))") == 2
    for label in ("stage one", "stage $two_{", "N_h = 8", "N_h = 32", "fitted"):
        assert label in texts


def test_rates_over_benign_without_a_joint_fit_draws_plain_conditions(tmp_path: Path) -> None:
    rates_over_benign([("plain", with_findings())]).write(tmp_path / "a.svg")
    texts = text_of(ElementTree.parse(tmp_path / "a.svg").getroot())
    assert "fitted" not in texts
    assert "N_h = 16" in texts


def test_orderings_and_formats_have_a_point_for_every_rate(tmp_path: Path) -> None:
    orderings, formats = findings().orderings, findings().formats
    assert orderings is not None
    assert formats is not None
    ordering_spread(full_receipt()).write(tmp_path / "a.svg")
    root = ElementTree.parse(tmp_path / "a.svg").getroot()
    assert points_of(root) == sum(len(one.rates) for one in orderings) == 5
    assert "32 harmful + 32 benign: suffix − prefix +16.8 points (95 % +14.7 to +18.9)" in text_of(
        root
    )
    format_square(full_receipt()).write(tmp_path / "b.svg")
    root = ElementTree.parse(tmp_path / "b.svg").getroot()
    assert points_of(root) == 2 * len(formats) == 4
    texts = text_of(root)
    for label in ("among refusals", "among compliances", "“Answer:”", "one in twenty"):
        assert label in texts


def test_a_forest_has_a_row_for_every_slope(tmp_path: Path) -> None:
    forest_plot(ROWS, margin=0.05, title="Slopes\nof $x_{ & <y>").write(tmp_path / "a.svg")
    root = ElementTree.parse(tmp_path / "a.svg").getroot()
    assert points_of(root) == 2
    texts = text_of(root)
    for label in ("first", "second", "called none: β2 within ±0.05", "Slopes", "of $x_{ & <y>"):
        assert label in texts
    description = root.find(f"{SVG}desc")
    assert description is not None
    assert description.text is not None
    assert "first -0.200 (-0.300 to -0.100)" in description.text


@pytest.mark.parametrize("name", FIGURES.values())
def test_every_figure_says_what_its_intervals_are(name: str, tmp_path: Path) -> None:
    write_plots(full_receipt(), tmp_path)
    assert "whiskers: 95 % intervals" in " ".join(
        text_of(ElementTree.parse(tmp_path / name).getroot())
    )


def none_complied() -> EvaluationPredicate:
    """A receipt whose rates are all 0: every point lies on an edge of its figure."""
    conditions = tuple(
        one.model_copy(update={"compliance_rate": "0.000000"}) for one in full_receipt().conditions
    )
    return full_receipt().model_copy(update={"conditions": conditions})


RATES = {"rate-over-total.svg": "y", "rate-over-benign.svg": "y", "orderings.svg": "x"}
"""Figures of rates, and which coordinate the rate is."""


@pytest.mark.parametrize("name", [*RATES, "formats.svg"])
def test_axes_of_rates_start_at_zero(name: str, tmp_path: Path) -> None:
    write_plots(full_receipt(), tmp_path)
    root = ElementTree.parse(tmp_path / name).getroot()
    axis = RATES.get(name, "x")
    zero = the_tick_at_zero(root, axis)
    x_edges, y_edges = edges(root)
    edge = min(x_edges) if axis == "x" else max(y_edges)
    assert zero == pytest.approx(edge, abs=0.01)


@pytest.mark.parametrize("name", RATES)
def test_points_on_an_edge_are_not_cut(name: str, tmp_path: Path) -> None:
    write_plots(none_complied(), tmp_path)
    root = ElementTree.parse(tmp_path / name).getroot()
    width, height = (float(number) for number in (root.get("viewBox") or "").split()[2:])
    groups = [g for g in root.iter(f"{SVG}g") if g.get("id", "").startswith("points-")]
    zero = the_tick_at_zero(root, RATES[name])
    drawn = 0
    for group in groups:
        assert all(element.get("clip-path") is None for element in group.iter())
        for use in group.iter(f"{SVG}use"):
            x, y = float(use.get("x", "nan")), float(use.get("y", "nan"))
            assert 4 < x < width - 4
            assert 4 < y < height - 4
            assert (x if RATES[name] == "x" else y) == pytest.approx(zero, abs=0.01)
            drawn += 1
    assert drawn > 0


def the_tick_at_zero(root: ElementTree.Element, axis: str) -> float:
    """Return where the tick named 0 of an axis is."""
    for group in root.iter(f"{SVG}g"):
        if group.get("id", "").startswith(f"{axis}tick_") and text_of(group) == ["0"]:
            uses = [use for use in group.iter(f"{SVG}use") if use.get(axis) is not None]
            return float(uses[0].get(axis, "nan"))
    raise AssertionError("no tick is named 0")


def edges(root: ElementTree.Element) -> tuple[list[float], list[float]]:
    """Return the coordinates of the corners of the first panel's background."""
    [axes] = [group for group in root.iter(f"{SVG}g") if group.get("id") == "axes_1"]
    path = next(axes.iter(f"{SVG}path")).get("d") or ""
    numbers = [
        float(word) for word in path.replace("M", " ").replace("L", " ").split() if word != "z"
    ]
    return numbers[::2], numbers[1::2]


def test_names_in_any_script_are_text(tmp_path: Path) -> None:
    """The figure's own fonts need not have them: the reader's may."""
    checkpoint = full_receipt().checkpoint.model_copy(update={"name": "模型\u202e"})
    receipt = full_receipt().model_copy(update={"checkpoint": checkpoint, "instrument": False})
    rate_over_total(receipt).write(tmp_path / "a.svg")
    assert "模型\\u202e (stage: none)" in text_of(ElementTree.parse(tmp_path / "a.svg").getroot())


def test_no_name_is_too_long_for_the_words_test_instrument(tmp_path: Path) -> None:
    checkpoint = full_receipt().checkpoint.model_copy(update={"name": "long-name-" * 40})
    named = {"checkpoint": checkpoint, "training_stage": "long stage " * 40}
    for path in write_plots(full_receipt().model_copy(update=named), tmp_path):
        assert "test instrument)" in " ".join(text_of(ElementTree.parse(path).getroot()))


def test_intervals_that_miss_their_rate_are_drawn_all_the_same(tmp_path: Path) -> None:
    """Nothing was verified yet when it is shown."""
    interval = full_receipt().conditions[0].interval
    assert interval is not None
    wrong = interval.model_copy(update={"lower": "1.000000", "upper": "0.000000"})
    conditions = tuple(
        one.model_copy(update={"interval": wrong}) for one in full_receipt().conditions
    )
    assert write_plots(full_receipt().model_copy(update={"conditions": conditions}), tmp_path)


def test_rates_that_do_not_exist_are_left_out(tmp_path: Path) -> None:
    conditions = tuple(
        one.model_copy(update={"compliance_rate": None, "interval": None})
        for one in full_receipt().conditions
    )
    receipt = full_receipt().model_copy(update={"conditions": conditions})
    for path in write_plots(receipt, tmp_path):
        assert not set(BASELINE) & set(text_of(ElementTree.parse(path).getroot()))


def test_nothing_to_draw_is_an_error_of_use() -> None:
    nothing: EvaluationPredicate = with_findings()
    for draw in (rate_over_total, ordering_spread, format_square, slopes_plot):
        with pytest.raises(UsageError):
            draw(nothing)
    with pytest.raises(UsageError):
        rates_over_benign([])
    with pytest.raises(UsageError):
        forest_plot([])


def test_without_matplotlib_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [_Blocker(), *sys.meta_path])
    with pytest.raises(IncompleteError) as caught:
        write_plots(full_receipt(), tmp_path / "plots")
    assert caught.value.message == "matplotlib is not installed"
    assert caught.value.hint == install("findings")
    assert not (tmp_path / "plots").exists()


def test_show_writes_figures_and_lists_them(
    fresh: Bundle, signer: Signer, tmp_path: Path, receipts: Callable[..., Any]
) -> None:
    wire = full_findings().to_wire()
    edit_statement(lambda it: it["predicate"].update(findings=wire), resign=True)(
        fresh.folder, signer
    )
    folder = tmp_path / "plots"
    finished = receipts("show", fresh.folder, "--plots", folder, "--json")
    assert finished.code == 0
    listed = json.loads(finished.out)["plots"]
    assert listed == [str(folder / name) for name in FIGURES.values()]
    assert all(Path(path).is_file() for path in listed)
    finished = receipts("show", fresh.folder, "--plots", folder)
    assert "dilution, β2 −0.178" in finished.out
    assert f"Written to {folder}: rate-over-total.svg, " in finished.err
    assert "plots" not in json.loads(receipts("show", fresh.folder, "--json").out)


class _Blocker:
    """Finds no matplotlib, as where it is not installed."""

    def find_spec(self, name: str, path: object, target: object = None) -> None:
        if name == "matplotlib":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
