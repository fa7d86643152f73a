"""Every example of docs/library.md gives what the page says it gives."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

import safety_receipts

pytest.importorskip("pandas", reason="the page shows frames")
pytest.importorskip("matplotlib", reason="the page shows figures")

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "library.md"


def test_the_examples_give_what_is_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "path", [str(Path(__file__).parent), *sys.path])
    from library_page import failures

    page = PAGE.read_text("utf-8")
    assert page.count(">>> ") > 25
    assert failures(page, tmp_path) == ""
    changed = page.replace("(True, 'consistent')", "(False, 'consistent')")
    head = changed.partition("Without a key")[0]
    assert "Expected:\n    (False, 'consistent')" in failures(head, tmp_path)


def test_the_table_has_every_name_that_is_public() -> None:
    named = re.findall(r"^\| `sr\.(\w+)", PAGE.read_text("utf-8"), re.MULTILINE)
    assert sorted(named) == sorted(safety_receipts.__all__)
