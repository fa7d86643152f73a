"""docs/page.md: its commands print what it shows, and its table names the script's checks."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from console import Console
from pages import blocks, difference, steps

from safety_receipts.verify.page.script import script

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "0.1"
TEXT = (ROOT / "docs" / "page.md").read_text("utf-8")


def test_the_page_shows_what_is_printed(tmp_path: Path) -> None:
    console = Console(tmp_path / "reader")
    shutil.copytree(GOLDEN / "good" / "ed25519", console.home / "bundle")
    shutil.copy(GOLDEN / "ed25519.pub", console.home / "evaluator.key.pub")
    for block in (one for one in blocks(TEXT) if one.language == "console"):
        console.begin()
        for step in steps(block):
            printed = console.run(step.command)
            assert difference(step.shown, printed) is None, f"line {step.line}:\n{printed}"
    assert (console.home / "page.html").stat().st_size < 300_000


def test_the_table_names_every_check_of_the_script() -> None:
    section = TEXT.partition("## What its script checks")[2].partition("## ")[0]
    told = set(re.findall(r"`([a-z-]+)`", "".join(re.findall(r"(?m)^\| (`.*?) \|", section))))
    labels = script().partition("const LABELS = {")[2].partition("}")[0]
    # One is there for faults of the script itself.
    assert told | {"script"} == set(re.findall(r"(?m)^  '?([a-z-]+)'?: '", labels))
