"""The names of checks: a closed set, with a level and a meaning each, which the page repeats."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from safety_receipts import verify
from safety_receipts.receipts.model.check import CheckLevel, CheckStatus
from safety_receipts.verify.check_names import CheckName, CheckUse
from safety_receipts.verify.checks import CheckList
from safety_receipts.verify.present.check_table import PAGE, checks_table, with_check_tables


def test_the_page_has_the_tables_that_the_names_make() -> None:
    """After a change of the names: ``make schemas``."""
    page = PAGE.read_text("utf-8")
    assert with_check_tables(page) == page


def test_every_use_of_a_name_has_one_row() -> None:
    rows = f"{checks_table(sealed=False)}\n{checks_table(sealed=True)}".splitlines()
    for name in CheckName:
        for use in name.uses:
            spelt = f"`{name.value} {use.about}`" if use.about else f"`{name.value}`"
            mine = [row for row in rows if spelt in row.split(" | ")[0]]
            assert sum(f" | {use.level.value} | " in row for row in mine) == 1


def test_a_page_without_the_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="checks of verification"):
        with_check_tables("| check | level | passes if |\n")


def test_every_name_is_used() -> None:
    """A row of the table that no code makes would promise what is not done."""
    used = {
        node.attr
        for path in Path(verify.__file__).resolve().parent.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == CheckName.__name__
    }
    assert {name.name for name in CheckName} - used == set()


MADE_BY = [(name, use) for name in CheckName for use in name.uses]


@pytest.mark.parametrize(("name", "use"), MADE_BY, ids=lambda part: getattr(part, "name", ""))
def test_a_name_decides_the_level(name: CheckName, use: CheckUse) -> None:
    assert name.level(sealed=use.sealed) is use.level
    if not use.sealed:
        checks = CheckList()
        checks.decide(name, None, "good")
        [made] = checks.checks
        assert (made.name, made.level) == (name.value, use.level)
        assert made.status is CheckStatus.PASSED


def test_one_name_is_of_another_level_in_an_audit() -> None:
    assert [name for name in CheckName if len(name.uses) > 1] == [CheckName.FINDINGS]
    assert CheckName.FINDINGS.level() is CheckLevel.CONSISTENT
    assert CheckName.FINDINGS.level(sealed=True) is CheckLevel.REPLAYED


def test_verification_makes_no_check_of_an_audit() -> None:
    with pytest.raises(ValueError, match="drawn-points is no check of verification"):
        CheckList().skip(CheckName.DRAWN_POINTS, "why")
    with pytest.raises(ValueError, match="proof is no check of an audit"):
        CheckName.PROOF.level(sealed=True)


def test_of_which_thing_stands_after_the_name() -> None:
    checks = CheckList()
    checks.skip(CheckName.AUDIT, "why", about="0123\nabc")
    assert checks.checks[0].name == "audit 0123\\x0aabc"


@pytest.mark.parametrize("bad", [False, True])
def test_verification_makes_no_other(
    golden: Path, receipts: Callable[..., Any], *, bad: bool
) -> None:
    folders = sorted((golden / "bad").iterdir()) if bad else [golden / "good" / "ed25519"]
    for folder in folders:
        finished = receipts(
            "verify", folder, "--trust", golden / "ed25519.pub", "--level", "bound", "--json"
        )
        for check in json.loads(finished.out)["checks"]:
            assert check["level"] == CheckName(check["name"]).level().value
