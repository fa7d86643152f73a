"""Closed sets: a judge, engine or ordering is named where it belongs, and no table lacks a member.

mypy refuses a match without a case for each member.  What it cannot see stands here: code that
decides by a member elsewhere, tables that lack one, and pages that leave one out.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from enum import Enum, StrEnum
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from safety_receipts.receipts.model.audit import AuditMethod
from safety_receipts.receipts.model.demonstrations import Ordering
from safety_receipts.receipts.model.judge import JudgeKind
from safety_receipts.receipts.model.plan import EngineKind

ROOT = Path(__file__).parent.parent

PLACES: dict[type[StrEnum], set[str]] = {
    JudgeKind: {
        "receipts/model/judge.py",
        "runner/judges/registry.py",
        # Each kind's own file says which it is.
        "runner/judges/chat.py",
        "runner/judges/classifier.py",
        "runner/judges/refusal_strings.py",
        "runner/judges/wildguard.py",
        "receipts/events/synthetic.py",
    },
    EngineKind: {
        "receipts/model/plan.py",
        "runner/engines/registry.py",
        "runner/engines/identity.py",
        "runner/engines/mock.py",
        "runner/engines/served/http_engine.py",
        "receipts/events/synthetic.py",
        "runner/plan/entries/model.py",  # the default
    },
    AuditMethod: {
        "receipts/model/audit.py",
        # Who asks for one, announces it, conducts it, and tells what it comes to.
        "verify/commands/audit.py",
        "verify/commands/auditing/loading.py",
        "verify/audit/terms.py",
        "verify/audit/report.py",
    },
    Ordering: {
        "receipts/model/demonstrations.py",
        "receipts/events/grid.py",
        # Findings and the picture of the total are about one order, or hold two to each other.
        "receipts/findings/joint.py",
        "receipts/findings/orderings.py",
        "receipts/findings/sources.py",
        "receipts/findings/total.py",
        "receipts/view/curves.py",
        # Defaults, and conditions that somebody chose.
        "receipts/events/synthetic.py",
        "runner/plan/conditions.py",
        "runner/plan/entries/experiments.py",
        "runner/organism/training/fidelity.py",
        "verify/selfcheck/selftest.py",
        "verify/gate/rules/coverage.py",
    },
}
"""Files that may name a member: the registries, what implements it, and what is about it alone."""


def _names_a_member(path: Path, kind: type[StrEnum]) -> bool:
    members = set(kind.__members__)
    return any(
        isinstance(node, ast.Attribute)
        and node.attr in members
        and isinstance(node.value, ast.Name)
        and node.value.id == kind.__name__
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
    )


@pytest.mark.parametrize("kind", PLACES, ids=lambda kind: kind.__name__)
def test_a_member_is_named_where_it_belongs(kind: type[StrEnum]) -> None:
    """Elsewhere code asks the registry, so that a new member needs no change there."""
    found = {
        str(path.relative_to(ROOT))
        for folder in ("receipts", "runner", "verify")
        for path in (ROOT / folder).rglob("*.py")
        if _names_a_member(path, kind)
    }
    assert found == PLACES[kind]


PARTIAL = {
    "receipts.present.findings._BARS",  # the other sections have no bars
    "receipts.view.words.JOINT_ONLY",  # grounds that one kind of finding alone can have
    "runner.organism.language._KEEPERS",  # of the sealed crafts alone
    "runner.organism.law._BETA0",  # the law is planted for those
    "runner.organism.law._BETA1",
    "runner.prompts.contexts.WRAPPERS",  # turns are wrapped in nothing
    "verify.compare.comparison._UNTESTED",  # grounds on which nothing was tested
    "verify.compare.comparison._DOUBTS",  # grounds that cast a doubt
    "verify.page.sealed._FORMS",  # digest and key id are of a document, and not of a value in it
    "verify.page.sections._LEVELS",  # a page is made without artifacts, and replays nothing
    "verify.view.comparison._TONES",  # the other words are said plainly
    "verify.view.verification._TITLES",  # the other levels are called by their names
    "verify.view.verification._LADDER_MEANING",  # no offline verification replays
}
"""Tables that are about some members of a set, as the others are looked up with a default."""

_EXTRAS = {"runner.pool.cluster": "ray"}
"""Modules that need a package which the other tests do without."""


def _tables() -> Iterator[tuple[str, set[Enum]]]:
    """Yield every table of a module whose keys are members of one set, with those that it lacks."""
    for folder in ("receipts", "runner", "schemas", "verify"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            module = ".".join(part for part in parts if part != "__init__")
            if module in _EXTRAS and find_spec(_EXTRAS[module]) is None:
                continue
            found = import_module(f"safety_receipts.{module}")
            defined = {
                target.id
                for node in ast.parse(path.read_text("utf-8")).body
                if isinstance(node, ast.Assign | ast.AnnAssign)
                for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
                if isinstance(target, ast.Name)
            }
            for name in defined:
                table = getattr(found, name, None)
                if isinstance(table, dict) and table and isinstance(next(iter(table)), Enum):
                    [kind] = {type(key) for key in table}
                    yield f"{module}.{name}", set(kind) - table.keys()


def test_a_table_of_a_closed_set_has_all_of_it() -> None:
    """Whoever adds a member is told every table that lacks it."""
    for needed in ("torch", "matplotlib", "statsmodels", "pyarrow"):
        pytest.importorskip(needed)
    lacking = {name: missing for name, missing in _tables() if missing}
    assert {name: missing for name, missing in lacking.items() if name not in PARTIAL} == {}
    assert lacking.keys() == PARTIAL


def _section(page: str, begin: str, end: str) -> str:
    text = (ROOT / "docs" / page).read_text("utf-8")
    return text.partition(begin)[2].partition(end)[0]


def test_the_protocol_states_the_rule_of_every_ordering() -> None:
    rows = _section("protocol.md", "| ordering | rule |\n|---|---|\n", "\n\n").splitlines()
    stated = [row.split("`")[1] for row in rows]
    assert stated == [ordering.value for ordering in Ordering]


def test_the_guide_names_every_judge() -> None:
    paragraph = _section("guide.md", "**Judges.**", "\n\n")
    assert [kind.value for kind in JudgeKind if f"`{kind.value}`" not in paragraph] == []
