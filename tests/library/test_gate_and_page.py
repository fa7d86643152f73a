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
