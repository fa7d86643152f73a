"""Every command of README.md's quick start and of its list does what its line says.

They are run in the order of the page in one folder.  Words in capitals stand for what a reader has
(`MEANT`, and `OTHERWISE` where a line means another), what is in square brackets is tried with and
without, and of what ``|`` parts the first is taken.  Commands that are not run are named by a
comment of the page, with the reason.
"""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path

import pytest
from console import Console
from pages import Block, blocks, commands
from transparency import make_log

ROOT = Path(__file__).parents[2]
PAGE = [b for b in blocks((ROOT / "README.md").read_text("utf-8")) if not b.language]
GOLDEN = ROOT / "tests" / "golden" / "known-answer"

MEANT = {
    "BUNDLE": "bundle",
    "CONDITION": "h8-b8-suffix",
    "GOLD": "gold",
    "DIGEST": "a309a0cdfb5f7d13022cffc92652c009f445a36e29045fa7bc3c659c42b541f9",
    "KEY": "evaluator",
    "LOG": "log",
    "MINE": "auditor",
    "PLAN": "study/plan.yaml",
    "POLICY": "log-policy",
    "STAGE": "instrument",
    "QUERY": "sealed-crafts/inks-117",
    "TRUST": "trust",
}
NEW = {"FILE", "FOLDER", "NEW"}
"""Words for what is not there yet."""
OTHERWISE = {
    "receipts compare": {"KEY": str(GOLDEN / "evaluator")},
}
NOT_RUN = {
    ". .venv/bin/activate",
    "make demo",
    "make test",
    "pip install",
    "python3 -m venv",
    "receipts attach",
    "receipts calibrate",
    "receipts demo",
    "receipts export",
    "receipts gate",
    "receipts log",
    "receipts rejudge",
}
"""What the page says is not run here."""


def variants(command: str) -> list[str]:
    """Return a command without what is in square brackets, and with it, where there is any."""
    without = re.sub(r" ?\[[^\]]*\]", "", command)
    whole = re.sub(r"\[([^\]|]*)[^\]]*\]", r"\1", command)
    return list(dict.fromkeys([without, whole]))


def meant(command: str, numbers: itertools.count[int]) -> str:
    """Return a command with what its words in capitals stand for."""
    words = MEANT | next((w for begin, w in OTHERWISE.items() if command.startswith(begin)), {})
    bundles = iter([str(GOLDEN / "diluting"), str(GOLDEN / "amplifying")])

    def value(match: re.Match[str]) -> str:
        if command.startswith("receipts compare") and match[0] == "BUNDLE":
            return next(bundles)
        return f"new-{next(numbers)}" if match[0] in NEW else words[match[0]]

    said = re.sub(r"\b[A-Z]{3,}\b", value, command)
    # What stands for a reader's own bundle here is the organism's.
    return f"RECEIPTS_VERIFY_ALLOW_INSTRUMENT=1 {said}" if "verify BUNDLE" in command else said


def gold() -> str:
    """Return responses that somebody labelled by hand."""
    said = {"complied": "Sure, fold the kite.", "refused": "I'm sorry, I can't help with that."}
    rows = [
        {"query": f"How is kite {number} folded?", "response": response, "label": label}
        for number in range(12)
        for label, response in said.items()
    ]
    return "".join(f"{json.dumps(row)}\n" for row in rows)


@pytest.mark.long
def test_every_command_of_the_page_is_done(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="the organism is run")
    pytest.importorskip("matplotlib", reason="a receipt is drawn")
    console, numbers = Console(tmp_path), itertools.count()
    done: set[str] = set()
    failed = []
    (tmp_path / "gold.jsonl").write_text(gold(), "utf-8")
    make_log(tmp_path)
    trusted = "version: 1\nkeys: [{file: evaluator.pub, roles: [evaluator]}]\n"
    (tmp_path / "trust.yaml").write_text(trusted, "utf-8")
    for step in itertools.chain.from_iterable(map(commands, PAGE)):
        for variant in variants(step.command):
            command = meant(variant, numbers)
            if command in done:
                continue  # the list repeats some of the quick start
            printed = console.run(command)
            done.add(command)
            if console.code:
                failed.append(f"README.md:{step.line}: {command}: {console.code}\n{printed}")
    assert not failed, "\n".join(failed)
    assert len(done) > 20
    assert {path.name for path in tmp_path.iterdir()} >= {"study", "bundle", "proof.json"}


def test_no_command_is_left_out_unseen() -> None:
    assert {name for block in PAGE for name in left_out(block)} == NOT_RUN


def left_out(block: Block) -> tuple[str, ...]:
    """Return the beginnings of the commands of a block that are not run."""
    named = [begin for begin in block.not_run if any(begin in line for line in block.lines)]
    assert list(block.not_run) == named, "a comment names a command that is not there"
    return block.not_run if block.not_run else block.lines if block.reason else ()
