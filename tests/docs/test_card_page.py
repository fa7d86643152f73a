"""docs/card.md: its commands print what it shows, and its recipe for CI runs."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import pytest
import yaml
from console import Console
from pages import blocks, difference, steps
from releases import AUDITOR, EVALUATOR, SMALL, Audit, seal_release, write_audits

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "0.1"
PAGE = blocks((ROOT / "docs" / "card.md").read_text("utf-8"))
CONSOLE = [block for block in PAGE if block.language == "console"]
(RECIPE,) = ["\n".join(one.lines) for one in PAGE if one.language == "yaml"]
CARD = "---\nlicense: mit\n---\n# Model\n\nText.\n"


@pytest.fixture
def console(tmp_path: Path) -> Console:
    """The folder of somebody who reads the page from its beginning."""
    console = Console(tmp_path)
    shutil.copytree(GOLDEN / "good" / "ed25519", console.home / "bundle")
    shutil.copy(GOLDEN / "ed25519.pub", console.home / "evaluator.key.pub")
    flow = "---\nlicense: mit\nmodel-index: [{name: a, results: []}]\n---\n# Model\n"
    (console.home / "flow.md").write_text(flow, "utf-8")
    edited = console.home / "edited.md"
    edited.write_text(CARD, "utf-8")
    console.run(f"receipts attach bundle {edited.name} --trust evaluator.key.pub --instrument")
    edited.write_text(edited.read_text("utf-8").replace("0.375000", "0.175000", 1), "utf-8")
    (console.home / "README.md").write_text(CARD, "utf-8")
    return console


def _without_notes(printed: str) -> str:
    """Leave out what is said where the hub's library is not installed."""
    return "".join(
        line for line in printed.splitlines(keepends=True) if not line.startswith("read back, but")
    )


def test_the_page_shows_what_is_printed(console: Console) -> None:
    """From its beginning: a later block goes on with the card of an earlier one."""
    assert len(CONSOLE) == 3
    for block in CONSOLE:
        console.begin()
        for step in steps(block):
            printed = _without_notes(console.run(step.command))
            assert difference(step.shown, printed) is None, f"docs/card.md:{step.line}:\n{printed}"


def test_the_recipe_runs(tmp_path: Path) -> None:
    """It passes where the card is what the receipt gives, and fails where a number was edited."""
    console = Console(tmp_path)
    (tmp_path / "evaluator.key.pub").write_bytes(EVALUATOR.public.pem())
    (tmp_path / "auditor.key.pub").write_bytes(AUDITOR.public.pem())
    write_audits(seal_release(tmp_path / "bundle", SMALL), Audit())
    readme = tmp_path / "README.md"
    readme.write_text(CARD, "utf-8")
    steps = yaml.safe_load(RECIPE)["jobs"]["card"]["steps"]
    installed, command = [step["run"] for step in steps if "run" in step]
    assert installed == "pip install ./tools/safety-receipts"
    console.run(command)
    assert console.code == 3
    console.run(shlex.join(word for word in shlex.split(command) if word != "--check"))
    assert console.code == 0
    console.run(command)
    assert console.code == 0
    text = readme.read_text("utf-8")
    assert "confirmed it" in text
    readme.write_text(text.replace(" judged |", "0 judged |", 1), "utf-8")
    console.run(command)
    assert console.code == 3
