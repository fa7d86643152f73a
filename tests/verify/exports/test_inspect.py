"""Logs of Inspect: inspect-ai reads back what was written, a sample a point."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from exporting import receipt_of, same, texts_of

from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.view.rows import exact_condition_rows

logs = pytest.importorskip("inspect_ai.log", reason="the extra inspect")

Export = Callable[..., Any]


@pytest.mark.parametrize("suffix", ["json", "eval"])
@pytest.mark.parametrize("name", ["rich", "nulls", "hostile"])
def test_it_is_read_back(
    name: str, suffix: str, export: Export, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    bundle, out = request.getfixturevalue(name), tmp_path / f"log.{suffix}"
    finished = export(bundle, "inspect", out, "--json")
    assert finished.code == 0, finished.err
    log, receipt = logs.read_eval_log(str(out)), receipt_of(bundle)
    points = {point.id: point for point in Bundle(bundle).points()}
    assert json.loads(finished.out)["count"] == len(log.samples) == len(points)
    assert log.results.total_samples == len(points)
    for sample in log.samples:
        point = points.pop(str(sample.id))
        assert sample.epoch == point.draw + 1
        assert sample.scores["judge"].value == point.outcome.value
        assert sample.metadata["prompt_tokens"] == point.prompt_tokens
        assert sample.metadata["response_tokens"] == point.response_tokens
        assert sample.metadata["point"] == point.index
        assert sample.metadata["condition"] == point.condition
        assert sample.metadata["query"] == point.query
    assert not points
    assert log.eval.model == receipt.checkpoint.name
    assert log.eval.metadata["receipt_sha256"] == Bundle(bundle).receipt.envelope.digest
    assert ("test_instrument" in log.eval.metadata) is (name == "nulls")


@pytest.mark.parametrize("name", ["rich", "nulls"])
def test_every_number_is_the_receipts(
    name: str, export: Export, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    bundle, out = request.getfixturevalue(name), tmp_path / "log.json"
    assert export(bundle, "inspect", out).code == 0
    log = logs.read_eval_log(str(out), header_only=True)
    rows = exact_condition_rows(receipt_of(bundle))
    assert [score.name for score in log.results.scores] == [row["condition"] for row in rows]
    for score, row in zip(log.results.scores, rows, strict=True):
        for key, value in row.items():
            if isinstance(value, str) and key in score.metrics:
                metric = score.metrics[key]
                assert same(metric.value, value), key
                assert metric.metadata["exact"] == value
            elif value is None:
                assert score.metrics.get(key) is None
            else:
                assert score.metadata[key] == value, key
        sealed = row["refused"], row["complied"]
        assert score.scored_samples == sum(map(int, map(str, sealed)))
    assert "NaN" not in out.read_text("utf-8")


def test_texts_go_along_where_they_are_asked_for(
    rich: Path, export: Export, tmp_path: Path
) -> None:
    finished = export(rich, "inspect", tmp_path / "bare.json")
    assert "--with-texts adds them" in finished.err
    bare = (tmp_path / "bare.json").read_text("utf-8")
    assert not any(text in bare for text in texts_of(rich) if text)
    assert export(rich, "inspect", tmp_path / "log.json", "--with-texts").code == 0
    log = logs.read_eval_log(str(tmp_path / "log.json"))
    records = {record.index: record.text for record in Bundle(rich).responses()}
    assert {s.metadata["point"]: s.output.completion for s in log.samples} == records


def test_a_second_log_is_the_same(rich: Path, export: Export, tmp_path: Path) -> None:
    for name in ("a.json", "b.json"):
        assert export(rich, "inspect", tmp_path / name).code == 0
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_a_log_has_a_name_of_its_kind(rich: Path, export: Export, tmp_path: Path) -> None:
    finished = export(rich, "inspect", tmp_path / "log.txt")
    assert finished.code == 2
    assert "NAME.json or NAME.eval" in finished.err
    assert not (tmp_path / "log.txt").exists()
