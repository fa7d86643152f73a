"""``receipts export`` as somebody meets it: what it says, and what it refuses."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from exporting import receipt_of
from printed import held

from safety_receipts.receipts.bundle import POINTS_FILE, RECEIPT, RESPONSES_FILE, Bundle
from safety_receipts.receipts.extras import install
from safety_receipts.verify.exports import parquet_table
from safety_receipts.verify.exports.kinds import ExportFormat, ExportOption
from safety_receipts.verify.exports.registry import EXPORTS

Export = Callable[..., Any]
Policy = Callable[..., Path]
GOLDEN = Path(__file__).parents[2] / "golden"
BASE = [kind for kind, one in EXPORTS.items() if one.package is None]
POINTS = [("csv", "--rows", "points"), ("parquet", "--rows", "points"), ("inspect",)]


def words_of(kind: ExportFormat, policy: Policy) -> tuple[str | Path, ...]:
    takes = ExportOption.POLICY in EXPORTS[kind].takes
    return ("--policy", policy()) if takes else ()


def out_of(kind: str, folder: Path) -> Path:
    return folder / ("log.json" if kind == "inspect" else "out")


def needs(kind: str) -> None:
    if (package := EXPORTS[ExportFormat(kind)].package) is not None:
        pytest.importorskip(package.module, reason=f"the extra {package.extra}")


def test_every_format_is_registered() -> None:
    assert list(EXPORTS) == list(ExportFormat)


@pytest.mark.parametrize("kind", ExportFormat)
def test_the_document_says_what_was_written(
    kind: ExportFormat, rich: Path, export: Export, policy: Policy, tmp_path: Path
) -> None:
    needs(kind.value)
    out = out_of(kind.value, tmp_path)
    finished = export(rich, kind.value, out, *words_of(kind, policy), "--json")
    assert finished.code == 0, finished.err
    document = held("cli-export", finished.out)
    assert document["format"] == kind.value
    assert document["files"]
    for file in document["files"]:
        assert Path(file).is_file()
    assert document["receiptDigest"] == Bundle(rich).receipt.envelope.digest
    assert document["level"] == "consistent"
    assert document["instrument"] is False
    assert document["remarks"]
    said = " ".join(finished.err.split())
    for remark in document["remarks"]:
        assert remark.endswith(".")
        assert remark[0].isupper()
        assert remark in said


@pytest.mark.parametrize("kind", ExportFormat)
def test_nothing_is_said_of_what_no_trusted_key_signed(
    kind: ExportFormat, rich: Path, receipts: Any, policy: Policy, tmp_path: Path
) -> None:
    needs(kind.value)
    out = out_of(kind.value, tmp_path)
    words = words_of(kind, policy)
    finished = receipts("export", rich, "--format", kind.value, "--out", out, *words)
    assert finished.code == 5
    assert finished.err.count("\n") == 1
    assert "--trust KEY.pub" in finished.err
    assert not out.exists()


@pytest.mark.parametrize("kind", ExportFormat)
def test_no_number_of_a_receipt_that_does_not_verify_leaves(
    kind: ExportFormat, receipts: Any, policy: Policy, tmp_path: Path
) -> None:
    needs(kind.value)
    bad, out = GOLDEN / "0.1" / "bad" / "a-rate-is-edited", out_of(kind.value, tmp_path)
    trusted = ("--trust", GOLDEN / "0.1" / "ed25519.pub", *words_of(kind, policy))
    finished = receipts("export", bad, "--format", kind.value, "--out", out, *trusted)
    assert finished.code == 3
    assert not out.exists()


@pytest.mark.parametrize("words", POINTS, ids=lambda words: words[0])
def test_points_that_auditors_alone_may_hold_stay(
    words: tuple[str, ...], withheld: Path, export: Export, tmp_path: Path
) -> None:
    """Though they lie in this bundle."""
    needs(words[0])
    out = out_of(words[0], tmp_path)
    finished = export(withheld, words[0], out, *words[1:])
    assert finished.code == 2
    assert finished.err.count("\n") == 1
    assert "evidence access is `auditors`" in finished.err
    assert not out.exists()


@pytest.mark.parametrize("words", POINTS, ids=lambda words: words[0])
def test_points_need_their_evidence(
    words: tuple[str, ...], published: Path, export: Export, tmp_path: Path
) -> None:
    needs(words[0])
    out = out_of(words[0], tmp_path)
    finished = export(published, words[0], out, *words[1:])
    assert finished.code == 5
    assert finished.err.count("\n") == 1
    assert "which this bundle does not hold" in finished.err
    assert not out.exists()


@pytest.mark.parametrize("kind", [k for k in ExportFormat if k is not ExportFormat.INSPECT])
def test_conditions_of_a_golden_bundle_without_evidence_go_on(
    kind: ExportFormat, receipts: Any, policy: Policy, tmp_path: Path
) -> None:
    needs(kind.value)
    rules = (
        "version: 1\nrules: [{rule: verified, level: authentic}, {rule: instrument, allow: true}]"
    )
    named = ("--policy", policy(rules)) if words_of(kind, policy) else ()
    policy(rules)
    finished = receipts(
        *("export", GOLDEN / "0.1" / "good" / "published", "--format", kind.value),
        *("--out", tmp_path / "out", "--trust", GOLDEN / "0.1" / "ed25519.pub", *named),
    )
    assert finished.code == 0, finished.err
    assert "of a TEST INSTRUMENT" in finished.out
    assert "TEST INSTRUMENT: this checkpoint is not a real model" in finished.err
    assert "nobody counted them again" in " ".join(finished.err.split())


@pytest.mark.parametrize("other", ["nulls", "another grid"])
@pytest.mark.parametrize("kind", [ExportFormat.CSV, ExportFormat.INSPECT, ExportFormat.PARQUET])
def test_evidence_that_changes_meanwhile_is_not_exported(
    kind: ExportFormat, other: str, rich: Path, export: Export, request: pytest.FixtureRequest
) -> None:
    """The folder is another's: what was verified is not what is read a moment later."""
    needs(kind.value)
    tmp_path = request.getfixturevalue("tmp_path")
    monkeypatch = request.getfixturevalue("monkeypatch")
    golden = GOLDEN / "0.1" / "good" / "ed25519"
    source = request.getfixturevalue("nulls") if other == "nulls" else golden
    bundle = Path(shutil.copytree(rich, tmp_path / "bundle"))
    command = importlib.import_module("safety_receipts.verify.commands.export")
    verify = command.verified_receipt

    def verified_then_changed(*arguments: Any, **options: Any) -> Any:
        found = verify(*arguments, **options)
        shutil.copy(source / POINTS_FILE, bundle / POINTS_FILE)
        return found

    monkeypatch.setattr(command, "verified_receipt", verified_then_changed)
    out = out_of(kind.value, tmp_path)
    rows = () if kind is ExportFormat.INSPECT else ("--rows", "points")
    finished = export(bundle, kind.value, out, *rows)
    assert finished.code == 3, finished.err
    assert finished.err.count("\n") == 1
    assert not out.exists()


def test_a_response_that_is_not_the_committed_one_is_not_exported(
    rich: Path, nulls: Path, export: Export, tmp_path: Path
) -> None:
    bundle = Path(shutil.copytree(rich, tmp_path / "bundle"))
    shutil.copy(nulls / RESPONSES_FILE, bundle / RESPONSES_FILE)
    finished = export(bundle, "every-eval-ever", tmp_path / "out", "--with-texts")
    assert finished.code == 3
    assert "record 1" in finished.err
    assert not (tmp_path / "out").exists()


# bad input


def test_a_format_that_is_not_known(rich: Path, export: Export, tmp_path: Path) -> None:
    finished = export(rich, "xlsx", tmp_path / "out")
    assert finished.code == 2
    assert "every-eval-ever" in finished.err


@pytest.mark.parametrize("kind", ["test-result", "svr", "junit"])
def test_a_policy_is_needed(kind: str, rich: Path, export: Export, tmp_path: Path) -> None:
    finished = export(rich, kind, tmp_path / "out")
    assert finished.code == 2
    assert "needs one (--policy POLICY.yaml" in finished.err


IGNORED = {
    "csv --with-texts": "--with-texts says nothing to format csv",
    "cyclonedx --rows points": "formats that take it: csv, parquet",
    "csv --spec-version 1.7": "--spec-version says nothing to format csv",
    "csv --policy p.yaml": "formats that take it: test-result, svr, junit",
    "csv --model m": "--model needs --policy POLICY.yaml",
    "csv --against b": "--against needs --policy POLICY.yaml",
    "csv --at 2026-03-01T00:00:00Z": "--at needs --policy POLICY.yaml",
    "svr --policy no.yaml": "no such file",
}


@pytest.mark.parametrize("words", IGNORED)
def test_an_option_that_would_be_ignored(
    words: str, rich: Path, export: Export, tmp_path: Path
) -> None:
    kind, *others = words.split()
    finished = export(rich, kind, tmp_path / "out", *others)
    assert finished.code == 2
    assert finished.err.count("\n") == 1
    assert IGNORED[words] in finished.err
    assert not (tmp_path / "out").exists()


def test_options_from_the_environment(
    rich: Path, receipts: Any, export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECEIPTS_EXPORT_FORMAT", "csv")
    monkeypatch.setenv("RECEIPTS_EXPORT_TRUST", str(tmp_path / "evaluator.pub"))
    monkeypatch.setenv("RECEIPTS_EXPORT_ROWS", "points")
    assert receipts("export", rich, "--out", tmp_path / "points.csv").code == 0
    assert (tmp_path / "points.csv").read_text("utf-8").count("\n") == 353


def test_a_moment_that_is_none(rich: Path, receipts: Any, policy: Policy, tmp_path: Path) -> None:
    words = ("--format", "svr", "--out", tmp_path / "o", "--policy", policy(), "--at", "tomorrow")
    finished = receipts("export", rich, *words)
    assert finished.code == 2
    assert "--at tomorrow: is no time as in RFC 3339" in finished.err


@pytest.mark.parametrize("kind", ["inspect", "parquet"])
def test_a_package_that_is_missing(
    kind: str, rich: Path, export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = EXPORTS[ExportFormat(kind)].package
    assert package is not None
    monkeypatch.setitem(sys.modules, package.module, None)
    finished = export(rich, kind, out_of(kind, tmp_path))
    assert finished.code == 5
    assert finished.err.count("\n") == 1
    assert f"needs {package.module}, which is not installed" in finished.err
    assert install(package.extra) in finished.err


@pytest.mark.parametrize("kind", BASE)
def test_a_folder_that_cannot_be_written(
    kind: ExportFormat, rich: Path, export: Export, policy: Policy, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("no folder", "utf-8")
    out = tmp_path / "file" / "out"
    finished = export(rich, kind.value, out, *words_of(kind, policy))
    assert finished.code == 2
    assert finished.err.count("\n") == 1
    assert str(out) in finished.err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_of_somebody_else(rich: Path, export: Export, tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    finished = export(rich, "csv", tmp_path / "closed" / "out")
    assert finished.code == 2
    assert "cannot write" in finished.err


def test_the_bundle_is_not_written_over(rich: Path, export: Export, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(rich, tmp_path / "bundle"))
    before = (bundle / RECEIPT).read_bytes()
    finished = export(bundle, "cyclonedx", tmp_path / "bundle" / ".." / "bundle" / RECEIPT)
    assert finished.code == 2
    assert "is a file of the bundle itself" in finished.err
    assert (bundle / RECEIPT).read_bytes() == before


def test_a_file_that_is_there_is_replaced_whole(
    rich: Path, export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the files that other commands write; and left as it is where writing fails."""
    out = tmp_path / "rates.csv"
    out.write_text("older", "utf-8")
    assert export(rich, "csv", out).code == 0
    assert out.read_text("utf-8").startswith("receipt,")
    pytest.importorskip("pyarrow", reason="the extra parquet")

    def fails(*arguments: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(parquet_table, "_typed", fails)
    assert export(rich, "parquet", out).code == 2
    assert out.read_text("utf-8").startswith("receipt,")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "auditor.pub",
        "evaluator.pub",
        "rates.csv",
    ]


def test_an_audit_of_elsewhere_counts(
    rich: Path, published: Path, export: Export, tmp_path: Path
) -> None:
    bundle = Path(shutil.copytree(published, tmp_path / "bundle"))
    shutil.move(bundle / "audits", tmp_path / "audits")
    for words, there in (((), False), (("--audits", tmp_path / "audits"), True)):
        assert export(bundle, "cyclonedx", tmp_path / "model.json", *words).code == 0
        properties = json.loads((tmp_path / "model.json").read_text("utf-8"))["components"][0]
        names = {one["name"] for one in properties["properties"]}
        assert ("safety-receipts:audit_1" in names) is there
    assert receipt_of(rich) == receipt_of(bundle)
