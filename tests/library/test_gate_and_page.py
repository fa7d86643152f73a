"""The library's gate and page: they say what the commands say."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import safety_receipts as sr
from safety_receipts.receipts.errors import (
    FileAccessError,
    IncompleteError,
    IntegrityError,
    PolicyError,
    UsageError,
)

POLICY = """\
version: 1
rules:
  - {rule: instrument, allow: true}
  - {rule: verified, level: consistent}
  - {rule: fresh, receipt_days: 30}
"""
AT = "2026-01-15T00:00:00Z"
LATE = "2027-01-15T00:00:00Z"


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    file = tmp_path / "policy.yaml"
    file.write_text(POLICY, "utf-8")
    return file


@pytest.fixture
def good(golden: Path) -> Path:
    return golden / "good" / "ed25519"


def test_a_gate_is_true_only_if_every_receipt_is_admitted(
    good: Path, golden: Path, policy: Path
) -> None:
    key = golden / "ed25519.pub"
    passed = sr.gate(good, policy, trust=key, at=AT)
    assert passed
    passed.raise_for_refusal()
    assert passed.verdicts == ("admitted",)
    late = sr.gate(sr.load(good), policy, trust=key, at=datetime(2027, 1, 15, tzinfo=UTC))
    assert not late
    with pytest.raises(PolicyError, match="rule fresh"):
        late.raise_for_refusal()
    both = sr.gate([good, golden / "bad" / "a-rate-is-edited"], policy, trust=key, at=AT)
    assert (bool(both), both.verdicts) == (False, ("admitted", "failed"))
    with pytest.raises(IntegrityError):
        both.raise_for_refusal()
    unsigned = sr.gate(good, policy, at=AT)
    assert (bool(unsigned), unsigned.verdicts) == (False, ("incomplete",))
    with pytest.raises(IncompleteError):
        unsigned.raise_for_refusal()
    assert "fresh" in late._repr_html_()
    assert repr(passed) == "<Gate: ed25519 admitted>"


def test_it_says_what_the_command_prints(
    good: Path, golden: Path, policy: Path, tmp_path: Path, receipts: Any
) -> None:
    key = golden / "ed25519.pub"
    made = sr.gate(good, policy, trust=key, at=LATE)
    files = ("--junit", tmp_path / "gate.xml", "--summary", tmp_path / "gate.md")
    words = ("gate", good, "--policy", policy, "--trust", key, "--at", LATE, *files, "--json")
    finished = receipts(*words)
    assert finished.code == 1
    assert json.loads(finished.out) == made.to_dict()
    assert (tmp_path / "gate.xml").read_bytes() == made.to_junit()
    assert (tmp_path / "gate.md").read_text("utf-8") == made.to_markdown()
    rows = made.rules()
    assert [row.rule for row in rows if row.status == "failed"] == ["fresh"]
    assert made.waived == ()


def test_rules_as_a_frame(good: Path, golden: Path, policy: Path) -> None:
    pytest.importorskip("pandas")
    frame = sr.gate(good, policy, trust=golden / "ed25519.pub", at=AT).rules_df()
    assert list(frame.columns) == ["bundle", "rule", "status", "asked", "found", "source"]
    assert set(frame.status) == {"passed"}


@pytest.mark.parametrize("at", ["tomorrow", datetime(2026, 1, 15)])
def test_a_moment_has_a_time_zone(at: Any, good: Path, policy: Path) -> None:
    with pytest.raises(UsageError, match=r"time zone|RFC 3339"):
        sr.gate(good, policy, at=at)


def test_no_bundle_is_no_gate(policy: Path) -> None:
    with pytest.raises(UsageError, match="no bundle"):
        sr.gate([], policy)


def test_the_page_is_the_command_s(good: Path, golden: Path, tmp_path: Path, receipts: Any) -> None:
    key = golden / "ed25519.pub"
    found = sr.report(sr.load(good), tmp_path / "library.html", trust=key)
    assert (str(found.level), found.failed) == ("consistent", ())
    assert receipts("report", good, "--trust", key, "--out", tmp_path / "command.html").code == 0
    page = (tmp_path / "library.html").read_bytes()
    assert page == (tmp_path / "command.html").read_bytes()
    assert sr.load(good).to_html(trust=key).encode() == page
    (tmp_path / "mine.html").write_text("mine")
    with pytest.raises(FileAccessError):
        sr.report(good, tmp_path / "mine.html", trust=key)
    with pytest.raises(IntegrityError):
        sr.report(golden / "bad" / "a-rate-is-edited", tmp_path / "bad.html", trust=key)
    assert not (tmp_path / "bad.html").exists()


def test_exports_are_the_command_s(
    good: Path, golden: Path, policy: Path, tmp_path: Path, receipts: Any
) -> None:
    key, receipt = golden / "ed25519.pub", sr.load(good)
    gated = {"trust": key, "at": AT}
    made = {
        "csv": receipt.to_csv(tmp_path / "a.csv", trust=key),
        "cyclonedx": receipt.to_cyclonedx(tmp_path / "a.cyclonedx", trust=key),
        "test-result": receipt.to_test_result(tmp_path / "a.test-result", policy, **gated),
        "svr": receipt.to_svr(tmp_path / "a.svr", policy, **gated),
        "junit": receipt.to_junit(tmp_path / "a.junit", policy, **gated),
    }
    for name, done in made.items():
        out = tmp_path / f"b.{name}"
        more = ("--policy", policy, "--at", AT) if name in ("test-result", "svr", "junit") else ()
        words = ("export", good, "--format", name, "--trust", key, "--out", out, *more, "--json")
        finished = receipts(*words)
        document = json.loads(finished.out)
        assert (finished.code, document["count"]) == (0, done.count)
        assert tuple(document["remarks"]) == done.remarks
        assert out.read_bytes() == done.files[0].read_bytes()
    folder = receipt.to_every_eval_ever(tmp_path / "eee", trust=key)
    assert all(file.exists() for file in folder.files)


def test_exports_refuse_what_the_command_refuses(
    good: Path, golden: Path, policy: Path, tmp_path: Path
) -> None:
    key = golden / "ed25519.pub"
    held = sr.load(good)
    with pytest.raises(IncompleteError, match="no key that you trust"):
        held.to_csv(tmp_path / "x.csv", trust=())
    with pytest.raises(UsageError, match="auditors"):
        held.to_csv(tmp_path / "x.csv", trust=key, rows="points")
    with pytest.raises(UsageError, match="rows of lines"):
        held.to_csv(tmp_path / "x.csv", trust=key, rows="lines")  # type: ignore[arg-type]
    with pytest.raises(PolicyError, match="fresh"):
        held.to_svr(tmp_path / "x.json", policy, trust=key, at=LATE)
    with pytest.raises(IntegrityError):
        sr.load(golden / "bad" / "a-rate-is-edited").to_csv(tmp_path / "x.csv", trust=key)
    assert not any(tmp_path.glob("x.*"))


def test_tables_and_logs_of_public_points(golden: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    known = golden.parent / "known-answer"
    key, public = known / "evaluator.pub", sr.load(known / "recency")
    done = public.to_parquet(tmp_path / "a.parquet", trust=key, rows="points")
    assert done.count == public.model.evidence.size
    pytest.importorskip("inspect_ai")
    with pytest.raises(UsageError, match=r"NAME\.json"):
        public.to_inspect(tmp_path / "log.txt", trust=key)
