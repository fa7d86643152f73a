"""docs/gate.md: its commands print what it shows, its policies load, and its recipes for CI run."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from console import Console
from pages import Block, blocks, difference, steps
from releases import AUDITOR, EVALUATOR, SMALL, Audit, seal_release, write_audits

from safety_receipts.verify.gate.policy import load_policy

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "0.1"
PAGE = blocks((ROOT / "docs" / "gate.md").read_text("utf-8"))
CONSOLE = [block for block in PAGE if block.language == "console"]
POLICY, GITHUB, GITLAB = ["\n".join(one.lines) for one in PAGE if one.language == "yaml"]
WAIVED = """\
version: 1
rules:
  - {rule: instrument, allow: true}
  - {rule: fresh, receipt_days: 30}
waivers:
  - {rule: fresh, reason: the rerun is under way, who: release manager, until: 2026-03-31}
"""

TRIAL = "version: 1\nrules: [{rule: instrument, allow: true}]\n"


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Console:
    """The folder of somebody who reads the page from its beginning."""
    console = Console(tmp_path_factory.mktemp("reader"))
    shutil.copytree(GOLDEN / "good" / "ed25519", console.home / "bundle")
    shutil.copy(GOLDEN / "ed25519.pub", console.home / "evaluator.key.pub")
    (console.home / "waived.yaml").write_text(WAIVED, "utf-8")
    (console.home / "trial.yaml").write_text(TRIAL, "utf-8")
    return console


@pytest.mark.parametrize("block", CONSOLE, ids=lambda block: f"line {block.line}")
def test_the_page_shows_what_is_printed(block: Block, console: Console) -> None:
    console.begin()
    for step in steps(block):
        printed = console.run(step.command)
        assert difference(step.shown, printed) is None, f"docs/gate.md:{step.line}:\n{printed}"


def test_the_policy_of_the_page_loads(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(POLICY, "utf-8")
    policy = load_policy(tmp_path / "policy.yaml").policy
    assert [rule.name for rule in policy.rules] == ["verified", "rate", "under-pressure"]


def _commands(document: Any) -> Iterator[str]:
    """Yield every command that a recipe runs."""
    if isinstance(document, dict):
        for key, value in document.items():
            if key in ("run", "script", "before_script"):
                yield from value.splitlines() if isinstance(value, str) else value
            else:
                yield from _commands(value)
    elif isinstance(document, list):
        for value in document:
            yield from _commands(value)


@pytest.mark.parametrize("recipe", [GITHUB, GITLAB], ids=["github", "gitlab"])
def test_the_recipes_run(recipe: str, tmp_path: Path) -> None:
    """A release of an honest model passes; the reports that a recipe uploads are there."""
    console = Console(tmp_path)
    console.run("receipts init release --policy starter")
    (tmp_path / "evaluator.key.pub").write_bytes(EVALUATOR.public.pem())
    (tmp_path / "auditor.key.pub").write_bytes(AUDITOR.public.pem())
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").write_bytes(SMALL.weights.encode())
    small = seal_release(tmp_path / "bundle", SMALL)
    write_audits(small, Audit())
    installed, *others = _commands(yaml.safe_load(recipe))
    assert installed == "pip install ./tools/safety-receipts"
    [command] = others
    words = shlex.split(command.replace("$GITHUB_STEP_SUMMARY", "gate.md"))
    said = console.run(shlex.join([*words, "--at", "2026-03-01T00:00:00Z"]))
    assert console.code == 0, said
    assert (tmp_path / "gate.xml").is_file()
    assert (tmp_path / "gate.md").read_text("utf-8").startswith("## Receipts gate: admitted\n")
    other = tmp_path / "model" / "model.safetensors"
    other.write_bytes(b"not what was evaluated")
    console.run(shlex.join([*words, "--at", "2026-03-01T00:00:00Z"]))
    assert console.code == 1
