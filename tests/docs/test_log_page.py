"""docs/log.md: its commands print what it shows, and it tells of every check of logs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from console import Console
from pages import blocks, difference, steps

from safety_receipts.receipts.log.formats.entry import EntryKind, LogEntry
from safety_receipts.verify.check_names import CheckName

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "0.1"
TEXT = (ROOT / "docs" / "log.md").read_text("utf-8")
PAGE = blocks(TEXT)
CONSOLE = [block for block in PAGE if block.language == "console"]


@pytest.fixture
def console(tmp_path: Path) -> Console:
    """The folder of somebody who reads the page from its beginning."""
    shutil.copytree(GOLDEN / "good" / "ed25519", tmp_path / "bundle")
    shutil.copy(GOLDEN / "ed25519.pub", tmp_path / "evaluator.key.pub")
    return Console(tmp_path)


def test_the_page_shows_what_is_printed(console: Console) -> None:
    """From its beginning: a later block goes on with the log of an earlier one."""
    assert len(CONSOLE) == 4
    policy = console.home / "log-policy"
    for block in CONSOLE:
        console.begin()
        for step in steps(block):
            printed = console.run(step.command)
            assert difference(step.shown, printed) is None, f"docs/log.md:{step.line}:\n{printed}"
            if step.command.endswith("> log-policy"):
                # What is printed is the log's line; the quorum is the reader's.
                policy.write_text(policy.read_text("utf-8") + "quorum none\n", "utf-8")
    assert (console.home / "seen").read_bytes() == (
        console.home / "log" / "checkpoint"
    ).read_bytes()


def test_it_tells_of_every_check_and_kind_and_field() -> None:
    for name in (
        CheckName.PLAN_LOGGED,
        CheckName.RECEIPT_LOGGED,
        CheckName.AUDITS_LOGGED,
        CheckName.BEST_OF_N,
        CheckName.AUDITS_COMPLETE,
    ):
        assert f"| `{name.value}` |" in TEXT
    for kind in EntryKind:
        assert f"`{kind.value}`" in TEXT
    fields = [field.alias or name for name, field in LogEntry.model_fields.items()]
    assert all(f"| `{field}` |" in TEXT for field in fields)
    (shown,) = [block for block in PAGE if block.language == "json"]
    places = [shown.lines[0].index(f'"{field}":') for field in sorted(fields)]
    assert places == sorted(places)
