"""CSV and Parquet: every number of the receipt, exactly, and nothing that a spreadsheet runs."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from exporting import BIDI, HOSTILE, decimals, receipt_of, same

from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.view.rows import (
    ConditionRow,
    PointRow,
    condition_rows,
    exact_condition_rows,
    point_rows,
)
from safety_receipts.verify.exports.csv_table import safe_cell

Export = Callable[..., Any]


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, strict=True))


def read_parquet(path: Path) -> Any:
    return pytest.importorskip("pyarrow.parquet", reason="the extra parquet").read_table(path)


def sealed_rows(bundle: Path) -> list[dict[str, Any]]:
    """Return what the table of conditions has to say, from the receipt's own JSON."""
    rows = []
    for one in receipt_of(bundle).conditions:
        found = dict(decimals(one.to_wire()))
        control = {
            f"control_refusal_{end}": found.get(f"control.{name}")
            for end, name in (
                ("rate", "refusalRate"),
                ("lower", "interval.lower"),
                ("upper", "interval.upper"),
            )
        }
        rows.append(
            {
                "condition": one.id,
                "compliance_rate": found.get("complianceRate"),
                "compliance_lower": found.get("interval.lower"),
                "compliance_upper": found.get("interval.upper"),
                "corrected_rate": found.get("correctedRate.rate"),
                "corrected_lower": found.get("correctedRate.lower"),
                "corrected_upper": found.get("correctedRate.upper"),
                "baseline_difference": found.get("baselineDifference.value"),
                "baseline_difference_lower": found.get("baselineDifference.lower"),
                "baseline_difference_upper": found.get("baselineDifference.upper"),
                "as_published_rate": found.get("asPublishedRate"),
                "worst_case_rate": found.get("worstCaseRate"),
                "mean_prompt_tokens": found.get("meanPromptTokens"),
                **control,
                **{
                    name: found[f"counts.{wire}"]
                    for name, wire in (
                        ("planned", "planned"),
                        ("generated", "generated"),
                        ("failed", "failed"),
                        ("refused", "refused"),
                        ("complied", "complied"),
                        ("unscored", "unscored"),
                        ("length_stopped", "lengthStopped"),
                    )
                },
                "n_harmful": str(one.n_harmful),
                "n_benign": str(one.n_benign),
                "n_total": str(one.n_harmful + one.n_benign),
                "distinct_prompts": str(one.distinct_prompts),
            }
        )
    return rows


@pytest.mark.parametrize("name", ["rich", "published", "nulls"])
def test_conditions_as_csv(
    name: str, export: Export, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    bundle = request.getfixturevalue(name)
    finished = export(bundle, "csv", tmp_path / "rates.csv")
    assert finished.code == 0, finished.err
    rows = read_csv(tmp_path / "rates.csv")
    sealed = sealed_rows(bundle)
    assert len(rows) == len(sealed) == 4
    digest = Bundle(bundle).receipt.envelope.digest
    for row, wanted in zip(rows, sealed, strict=True):
        assert list(row) == ["receipt", "test_instrument", *ConditionRow._fields]
        assert row["receipt"] == digest
        assert row["test_instrument"] == str(name == "nulls").lower()
        assert {key: row[key] for key in wanted} == {
            key: value or "" for key, value in wanted.items()
        }
    assert any(value is None for one in sealed for value in one.values())
    assert "None" not in (tmp_path / "rates.csv").read_text("utf-8")


@pytest.mark.parametrize("name", ["rich", "nulls"])
def test_conditions_as_parquet(
    name: str, export: Export, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    pytest.importorskip("pyarrow", reason="the extra parquet")
    bundle = request.getfixturevalue(name)
    assert export(bundle, "parquet", tmp_path / "rates.parquet").code == 0
    table = read_parquet(tmp_path / "rates.parquet")
    for row, wanted in zip(table.to_pylist(), sealed_rows(bundle), strict=True):
        for key, value in wanted.items():
            assert row[key] is None if value is None else str(row[key]) == value, key
    types = {str(field.type) for field in table.schema}
    assert types == {"string", "bool", "int64", "decimal128(7, 6)", "decimal128(18, 2)"}
    about = json.loads(table.schema.metadata[b"safety-receipts"])
    assert about["receipt_sha256"] == Bundle(bundle).receipt.envelope.digest
    assert ("test_instrument" in about) is (name == "nulls")
    assert ("audit_1" in about) is (name == "rich")


@pytest.mark.parametrize("format_", ["csv", "parquet"])
def test_points_are_those_of_the_evidence(
    format_: str, rich: Path, export: Export, tmp_path: Path
) -> None:
    if format_ == "parquet":
        pytest.importorskip("pyarrow", reason="the extra parquet")
    out = tmp_path / f"points.{format_}"
    finished = export(rich, format_, out, "--rows", "points", "--json")
    assert finished.code == 0
    sealed = list(point_rows(Bundle(rich).points(), receipt_of(rich)))
    assert json.loads(finished.out)["count"] == len(sealed) == 4 * 44 * 2
    rows = read_csv(out) if format_ == "csv" else read_parquet(out).to_pylist()
    for row, wanted in zip(rows, sealed, strict=True):
        for name in PointRow._fields:
            value = getattr(wanted, name)
            if format_ == "csv":
                text = str(value).lower() if isinstance(value, bool) else str(value)
                value = "" if value is None else text
            assert row[name] == value


def test_exact_rows_are_the_rows_of_frames(rich: Path) -> None:
    receipt = receipt_of(rich)
    for row, exact in zip(condition_rows(receipt), exact_condition_rows(receipt), strict=True):
        assert tuple(exact) == ConditionRow._fields
        for name, value in row._asdict().items():
            same_value = exact[name] == value
            assert same_value or same(value, str(exact[name])), name


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-1+cmd|' /C calc'!A0", "'-1+cmd|' /C calc'!A0"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("  =1+1", "' =1+1"),
        ("\t=1+1", "\\x09=1+1"),
        ("\r\n=1+1", "\\x0d\\x0a=1+1"),
        ("＝1", "'＝1"),
        ("a;=1+1", "a;'=1+1"),
        ('a";=1+1', "a\";'=1+1"),
        ("\u202edetrever", "\\u202edetrever"),
        ("h2-b2-suffix", "h2-b2-suffix"),
        ("a = b", "a = b"),
        ("Sure, here", "Sure, here"),
    ],
)
def test_no_cell_is_a_formula(text: str, cell: str) -> None:
    assert safe_cell(text) == cell


def test_hostile_names_stay_in_their_cells(hostile: Path, export: Export, tmp_path: Path) -> None:
    finished = export(hostile, "csv", tmp_path / "rates.csv")
    assert finished.code == 0
    *_, last = read_csv(tmp_path / "rates.csv")
    assert last["response_prefix"].startswith("'=HYPERLINK")
    assert ";'=1+1" in last["response_prefix"]
    assert "1 texts were changed" in finished.err
    assert export(hostile, "csv", tmp_path / "points.csv", "--rows", "points").code == 0
    rows = read_csv(tmp_path / "points.csv")
    assert len(rows) == 5 * 44 * 2
    assert all(row["query"].endswith(";'=1+1,'-2'<b>") for row in rows)
    for file in ("rates.csv", "points.csv"):
        text = (tmp_path / file).read_text("utf-8")
        assert not set(BIDI) & set(text)
        for cell in (cell for row in csv.reader(text.splitlines()) for cell in row):
            number = cell.lstrip("-").replace(".", "", 1).isdigit()
            assert number or not cell.startswith(("=", "+", "-", "@", "\t", "\r"))


def test_parquet_has_names_as_they_are(hostile: Path, export: Export, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="the extra parquet")
    assert export(hostile, "parquet", tmp_path / "rates.parquet").code == 0
    *_, last = read_parquet(tmp_path / "rates.parquet").to_pylist()
    assert last["response_prefix"] == HOSTILE


def test_a_mean_of_counts_fits(rich: Path, export: Export, tmp_path: Path) -> None:
    """The largest decimals that the wire allows are written by the types that are chosen."""
    arrow = pytest.importorskip("pyarrow", reason="the extra parquet")
    for text, kind in (("9999999999999999.99", (18, 2)), ("-1.000000", (7, 6))):
        assert str(arrow.scalar(Decimal(text), arrow.decimal128(*kind)).as_py()) == text
