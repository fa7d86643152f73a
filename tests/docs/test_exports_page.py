"""docs/exports.md: its commands print what it shows, and it leaves no format out."""

from __future__ import annotations

from pathlib import Path

import pytest
from console import Console
from exporting import export_plan, seal_export
from pages import Block, blocks, difference, steps
from releases import AUDITOR, EVALUATOR, Audit, write_audits

from safety_receipts.verify.exports.kinds import ExportFormat
from safety_receipts.verify.exports.registry import EXPORTS

TEXT = (Path(__file__).parents[2] / "docs" / "exports.md").read_text("utf-8")
PAGE = blocks(TEXT)
CONSOLE = [block for block in PAGE if block.language == "console"]
[POLICY] = ["\n".join(one.lines) for one in PAGE if one.language == "yaml"]


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Console:
    """The folder of somebody who reads the page from its beginning."""
    console = Console(tmp_path_factory.mktemp("reader"))
    write_audits(seal_export(console.home / "bundle", export_plan()), Audit())
    (console.home / "evaluator.key.pub").write_bytes(EVALUATOR.public.pem())
    (console.home / "auditor.key.pub").write_bytes(AUDITOR.public.pem())
    (console.home / "policy.yaml").write_text(POLICY, "utf-8")
    return console


@pytest.mark.parametrize("block", CONSOLE, ids=lambda block: f"line {block.line}")
def test_the_page_shows_what_is_printed(block: Block, console: Console) -> None:
    text = "\n".join(block.lines)
    for kind, one in EXPORTS.items():
        if f"--format {kind.value} " in text and one.package is not None:
            pytest.importorskip(one.package.module, reason=f"the extra {one.package.extra}")
    console.begin()
    for step in steps(block):
        printed = console.run(step.command)
        assert difference(step.shown, printed) is None, f"docs/exports.md:{step.line}:\n{printed}"


@pytest.mark.parametrize("kind", ExportFormat)
def test_each_format_is_explained_and_has_a_command(kind: ExportFormat) -> None:
    assert f"| `{kind.value}` |" in TEXT
    assert any(f"--format {kind.value} " in line for block in CONSOLE for line in block.lines)
