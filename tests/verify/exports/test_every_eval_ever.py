"""Every Eval Ever: its own validator accepts the folder, and every number is the receipt's."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from exporting import digest_of, receipt_of, same, texts_of

from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.model.point import Outcome
from safety_receipts.verify.exports.every_eval_ever.names import model_id

Export = Callable[..., Any]


def validated(out: Path) -> list[Any]:
    """Return what the format's validator says of every file in a folder; it ends with 0 or 2."""
    if find_spec("every_eval_ever") is None:
        pytest.skip("every-eval-ever 0.3.0 is not installed: see the Makefile")
    files = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    done = subprocess.run(
        [sys.executable, "-m", "every_eval_ever", "validate", "--format", "json", *files],
        cwd=out,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 2), done.stdout + done.stderr
    reports: list[Any] = json.loads(done.stdout)
    assert [one["file"] for one in reports] == files
    return reports


def aggregate_in(out: Path) -> Any:
    (file,) = out.glob("data/*/*/*/*.json")
    return json.loads(file.read_text("utf-8"))


def samples_in(out: Path) -> list[Any]:
    (file,) = out.glob("data/*/*/*/*_samples.jsonl")
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


@pytest.mark.parametrize("name", ["rich", "published", "withheld", "hostile", "nulls"])
def test_its_validator_accepts_the_aggregate(
    name: str, export: Export, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    bundle, out = request.getfixturevalue(name), tmp_path / "out"
    finished = export(bundle, "every-eval-ever", out)
    assert finished.code == 0, finished.err
    assert [path.suffix for path in out.rglob("*") if path.is_file()] == [".json"]
    (report,) = validated(out)
    assert (report["valid"], report["errors"], report["warnings"]) == (True, [], [])


def test_its_validator_accepts_samples(rich: Path, export: Export, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert export(rich, "every-eval-ever", out, "--with-texts").code == 0
    for report in validated(out):
        assert (report["valid"], report["errors"], report["warnings"]) == (True, [], [])
        if report["file_type"] == "instance":
            assert report["line_count"] == len(samples_in(out))


def test_every_number_is_the_receipts(rich: Path, export: Export, tmp_path: Path) -> None:
    export(rich, "every-eval-ever", tmp_path / "out")
    results = {
        one["evaluation_result_id"]: one
        for one in aggregate_in(tmp_path / "out")["evaluation_results"]
    }
    wanted: dict[str, Any] = {}
    for one in receipt_of(rich).conditions:
        wanted[f"{one.id}/compliance"] = (one.compliance_rate, one.interval, one.counts)
        assert one.control is not None
        control = one.control
        wanted[f"{one.id}/over-refusal"] = (control.refusal_rate, control.interval, control.counts)
        for source in one.by_source:
            found = (source.compliance_rate, source.interval, source.counts)
            wanted[f"{one.id}/source/{source.source}"] = found
        details = results[f"{one.id}/compliance"]["score_details"]["details"]
        assert details["as_published_rate"] == one.as_published_rate
        assert details["worst_case_rate"] == one.worst_case_rate
        assert details["mean_prompt_tokens"] == one.mean_prompt_tokens
        assert details["distinct_prompts"] == str(one.distinct_prompts)
        corrected, difference = one.corrected_rate, one.baseline_difference
        for prefix, model, fields in (
            ("corrected", corrected, ("rate", "lower", "upper")),
            ("baseline_difference", difference, ("value", "lower", "upper")),
        ):
            for field in fields:
                key = prefix if field == "value" else f"{prefix}_{field}"
                assert details.get(key) == (model and getattr(model, field)), key
        for reason in one.reasons:
            assert details[f"reason_{reason.reason.value}"] == str(reason.points)
    assert results.keys() == wanted.keys()
    for name, (rate, interval, counts) in wanted.items():
        score = results[name]["score_details"]
        assert same(score["score"], rate)
        assert score["details"]["rate"] == rate
        ends = score["uncertainty"]["confidence_interval"]
        for end, sealed in (("lower", interval.lower), ("upper", interval.upper)):
            assert same(ends[end], sealed)
            assert score["details"][end] == sealed
        assert same(ends["confidence_level"], interval.level)
        assert score["uncertainty"]["num_samples"] == counts.refused + counts.complied
        for key, value in counts.to_wire().items():
            assert score["details"][key] == str(value)


def test_samples_are_the_judged_points(rich: Path, export: Export, tmp_path: Path) -> None:
    out = tmp_path / "out"
    finished = export(rich, "every-eval-ever", out, "--with-texts")
    aggregate, lines = aggregate_in(out), samples_in(out)
    points = {point.id: point for point in Bundle(rich).points()}
    records = {record.index: record for record in Bundle(rich).responses()}
    judged = [p for p in points.values() if p.outcome in (Outcome.REFUSED, Outcome.COMPLIED)]
    assert len(lines) == len(judged) < len(points)
    assert f"{len(points) - len(judged):,} points that were not judged" in finished.err
    results = {one["evaluation_result_id"] for one in aggregate["evaluation_results"]}
    scores: dict[str, list[int]] = {}
    for line in lines:
        point = points[line["metadata"]["point"]]
        assert line["output"]["raw"] == [records[point.index].text]
        assert line["token_usage"]["input_tokens"] == point.prompt_tokens
        assert line["token_usage"]["output_tokens"] == point.response_tokens
        assert line["evaluation_result_id"] in results
        desired = Outcome.COMPLIED if point.source == "controls" else Outcome.REFUSED
        assert line["evaluation"]["is_correct"] is (point.outcome is desired)
        scores.setdefault(line["evaluation_result_id"], []).append(line["evaluation"]["score"])
    assert len({(one["evaluation_result_id"], one["sample_id"]) for one in lines}) == len(lines)
    for one in aggregate["evaluation_results"]:
        if (found := scores.get(one["evaluation_result_id"])) is not None:
            assert sum(found) / len(found) == pytest.approx(one["score_details"]["score"], abs=1e-6)
    detail = aggregate["detailed_evaluation_results"]
    assert detail["total_rows"] == len(lines)
    assert detail["checksum"] == digest_of(out / detail["file_path"])


@pytest.mark.parametrize(
    ("name", "words", "why"),
    [
        ("rich", (), "--with-texts adds them"),
        ("withheld", ("--with-texts",), "evidence access is `auditors`"),
        ("published", ("--with-texts",), "this bundle does not hold them"),
    ],
)
def test_no_text_leaves_unasked(
    name: str, words: tuple[str, ...], why: str, export: Export, request: pytest.FixtureRequest
) -> None:
    """Not without --with-texts, and never where auditors alone may hold it."""
    bundle, out = request.getfixturevalue(name), request.getfixturevalue("tmp_path") / "out"
    finished = export(bundle, "every-eval-ever", out, *words)
    assert finished.code == 0
    assert f"Texts of responses are left out: {why}" in finished.err
    written = "".join(path.read_text("utf-8") for path in out.rglob("*") if path.is_file())
    texts = texts_of(request.getfixturevalue("rich" if name == "published" else name))
    assert len(texts) == 352
    assert not any(text in written for text in texts if text)


def test_null_rates_have_no_result(nulls: Path, export: Export, tmp_path: Path) -> None:
    finished = export(nulls, "every-eval-ever", tmp_path / "out", "--with-texts")
    assert finished.code == 0
    aggregate = aggregate_in(tmp_path / "out")
    assert aggregate["evaluation_results"] == []
    assert "8 rates have no result" in finished.err
    details = aggregate["source_metadata"]["additional_details"]
    assert details["test_instrument"].startswith("TEST INSTRUMENT")


def test_hostile_names_are_no_paths(hostile: Path, export: Export, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert export(hostile, "every-eval-ever", out, "--with-texts").code == 0
    for path in out.rglob("*"):
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", path.name)
    aggregate = aggregate_in(out)
    assert aggregate["model_info"]["name"] == receipt_of(hostile).checkpoint.name
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["out"]


@pytest.mark.parametrize(
    ("hub", "name", "wanted"),
    [
        ("allenai/OLMo-2-1B", "x", "allenai/OLMo-2-1B"),
        (None, "org/model: v1", "unpublished/org_model_v1"),
        (None, "CON", "unpublished/model-CON"),
        (None, "nul.txt", "unpublished/model-nul.txt"),
        (None, "data", "unpublished/model-data"),
        (None, "…", "unpublished/model"),
        ("data/unknown", "x", "model-data/model-unknown"),
        (None, "../..", "unpublished/model"),
    ],
)
def test_models_are_called_by_portable_names(
    hub: str | None, name: str, wanted: str, rich: Path
) -> None:
    checkpoint = receipt_of(rich).checkpoint
    assert model_id(checkpoint.model_copy(update={"hub": hub, "name": name})) == wanted


def test_a_second_export_is_the_same_and_needs_its_own_folder(
    rich: Path, export: Export, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        assert export(rich, "every-eval-ever", tmp_path / name, "--with-texts").code == 0
    files = [sorted(p for p in (tmp_path / n).rglob("*") if p.is_file()) for n in ("a", "b")]
    assert [p.name for p in files[0]] == [p.name for p in files[1]]
    assert [p.read_bytes() for p in files[0]] == [p.read_bytes() for p in files[1]]
    finished = export(rich, "every-eval-ever", tmp_path / "a")
    assert finished.code == 2
    assert "already exists" in finished.err
