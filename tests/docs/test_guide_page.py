"""Every console block of docs/guide.md shows what its commands print.

The blocks are run in the order of the page, each from the reader's folder, and what is printed is
held to what is shown: `…` stands for lines or text left out; digests, key ids, times and durations
are compared by their form and runs of blanks as one (`pages.normalised`), all other words and
numbers must be the same.  Up to the page's block of Python `bundle` is a run of the organism; from
there on it is the event which that block makes.  The folder `receipts-demo` is the run as well,
which has there the names that `receipts demo` gives.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from console import Console
from found import full_receipt
from pages import Block, blocks, difference, steps

from safety_receipts.receipts.cli import COMMANDS
from safety_receipts.receipts.model.demonstrations import Ordering
from safety_receipts.receipts.view.conditions import condition_table, denominator_table
from safety_receipts.verify.view.audit import forecast_table
from safety_receipts.verify.view.comparison import pair_table

ROOT = Path(__file__).parents[2]
PAGE = blocks((ROOT / "docs" / "guide.md").read_text("utf-8"))
CONSOLE = [block for block in PAGE if block.language == "console" and block.is_run]
[MAKES_THE_EVENT] = [block for block in PAGE if block.language == "python"]
OF_THE_ORGANISM = [block for block in CONSOLE if block.line < MAKES_THE_EVENT.line]
OF_THE_EVENT = [block for block in CONSOLE if block.line > MAKES_THE_EVENT.line]
DEMO = "receipts-demo"

MISTAKE = ("judge: {kind: refusal-strings}", "judge: {kind: a-guess}")


def differences(console: Console, block: Block) -> list[str]:
    """Run a block, and return what it shows otherwise than its commands do."""
    console.begin()
    found = []
    for step in steps(block):
        printed = console.run(step.command)
        if differs := difference(step.shown, printed):
            found.append(f"docs/guide.md:{step.line}: $ {step.command}\n{differs}\n\n{printed}")
    return found


def test_the_table_of_commands_has_every_command() -> None:
    page = (ROOT / "docs" / "guide.md").read_text("utf-8")
    table = page.partition("## All commands")[2]
    named = re.findall(r"^\| `([a-z]+)", table, re.MULTILINE)
    assert sorted(named) == sorted(COMMANDS)
    of_json = page.partition("### The JSON documents")[2].partition("## All commands")[0]
    assert set(COMMANDS) <= set(re.findall(r"`([a-z]+)(?: calibrate)?`", of_json))


def test_every_column_and_verdict_is_explained() -> None:
    page = (ROOT / "docs" / "guide.md").read_text("utf-8")
    reading = page.partition("## How to read it")[2].partition("\n## Exit codes")[0]
    explained = {
        name.strip(" `")
        for row in re.findall(r"^\| ([^|]+) \|", reading, re.MULTILINE)
        for name in re.split(r", (?!median)", row.partition(" (")[0])
    }
    receipt = full_receipt()
    tables = (
        condition_table(receipt, receipt.conditions),
        denominator_table(receipt.conditions),
        forecast_table([]),
        pair_table([]),
    )
    columns = {column.name for table in tables for column in table.columns}
    of_the_id_or_of_intervals = {"", "condition", "N_h", "N_b", "95 % interval"}
    assert columns - of_the_id_or_of_intervals <= explained
    assert {"over-refusal", "against it", "hard", "draw_block", "effect"} <= explained
    assert {order.value for order in Ordering} <= explained
    assert {"PASSED", "REFUSED", "FAILED", "INCOMPLETE"} <= explained


def makes_a_key(block: Block) -> bool:
    return block.lines[0].startswith("$ receipts keygen")


def has_a_mistake(block: Block) -> bool:
    return "should be" in "".join(block.lines)


@pytest.fixture(scope="module")
def organism(tmp_path_factory: pytest.TempPathFactory) -> Console:
    """The folder of somebody who reads the page from its beginning."""
    pytest.importorskip("torch", reason="the organism is run")
    return Console(tmp_path_factory.mktemp("reader"))


@pytest.fixture(scope="module")
def found_in_the_run(organism: Console) -> list[str]:
    """What the blocks show otherwise, up to the one that makes the event."""
    found = []
    plan = organism.home / "study" / "plan.yaml"
    for block in OF_THE_ORGANISM:
        if has_a_mistake(block):
            right = plan.read_text("utf-8")
            assert right.count(MISTAKE[0]) == 1
            plan.write_text(right.replace(*MISTAKE), "utf-8")
            found += differences(organism, block)
            plan.write_text(right, "utf-8")
        else:
            found += differences(organism, block)
    return found


@pytest.mark.long
def test_what_is_shown_of_a_run_is_what_is_printed(found_in_the_run: list[str]) -> None:
    assert not found_in_the_run, "\n".join(found_in_the_run)


def test_what_is_shown_of_an_artifact_check_and_of_the_engine_is_what_is_printed(
    organism: Console, found_in_the_run: list[str]
) -> None:
    """With the names that the demonstration's folder has."""
    demo = organism.home / DEMO
    demo.symlink_to(organism.home, target_is_directory=True)
    shutil.copy(organism.home / "evaluator.key.pub", organism.home / "evaluator.pub")
    needing = [block for block in OF_THE_EVENT if needs_the_organism(block)]
    assert len(needing) == 2
    found = [each for block in needing for each in differences(organism, block)]
    assert not found, "\n".join(found)


def needs_the_organism(block: Block) -> bool:
    return block.lines[0] in (f"$ cd {DEMO}", "$ receipts doctor")


@pytest.fixture(scope="module")
def event(tmp_path_factory: pytest.TempPathFactory) -> tuple[Console, list[str]]:
    """The folder of somebody who makes a key and the synthetic event, and what differed so far."""
    console = Console(tmp_path_factory.mktemp("reader"))
    home = console.home
    for script in ("recompute.py", "check_receipt.py"):
        shutil.copy(ROOT / "docs" / script, home)
    (home / "tests").symlink_to(ROOT / "tests", target_is_directory=True)
    [trust] = [one for one in PAGE if one.language == "yaml" and "keys:" in one.lines]
    (home / "trust.yaml").write_text("\n".join(trust.lines), "utf-8")
    [key] = [block for block in OF_THE_EVENT if makes_a_key(block)]
    found = differences(console, key)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        exec("\n".join(MAKES_THE_EVENT.lines), {})
    return console, found


def test_what_is_shown_of_the_event_is_what_is_printed(event: tuple[Console, list[str]]) -> None:
    console, found = event
    for block in OF_THE_EVENT:
        if not makes_a_key(block) and not needs_the_organism(block):
            found += differences(console, block)
    assert not found, "\n".join(found)


def test_the_document_that_a_gate_writes_is_the_one_shown(
    event: tuple[Console, list[str]],
) -> None:
    console, _ = event
    [command] = [block for block in PAGE if block.language == "sh"]
    [document] = [block for block in PAGE if block.language == "json"]
    console.begin()
    assert console.run(*command.lines) == ""
    assert console.code == 0
    written = (console.home / "verification.json").read_text("utf-8")
    differs = difference(list(document.lines), written)
    assert differs is None, f"{differs}\n{written}"


def test_no_block_is_left_out_unseen() -> None:
    """A block that is marked `<!-- not run: reason -->` is counted here."""
    assert [block.lines[0] for block in PAGE if block.reason is not None] == []
    assert len(CONSOLE) == 23
