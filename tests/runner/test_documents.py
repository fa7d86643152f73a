"""The JSON documents that the runner's commands print are what their schemas say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from printed import check_published, held
from studies import write_study

from safety_receipts import schemas
from safety_receipts.receipts.keys import generate_key, write_key_pair
from safety_receipts.receipts.view.documents.generate_schemas import SCHEMAS as OF_RECEIPTS
from safety_receipts.runner.view.documents.generate_schemas import SCHEMAS
from safety_receipts.verify.view.documents.generate_schemas import SCHEMAS as OF_VERIFY

Receipts = Callable[..., Any]
CPU = ("--device", "cpu")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small study and a key; not to be changed."""
    folder = tmp_path_factory.mktemp("study")
    plan = write_study(folder, queries=4, controls=1)
    write_key_pair(folder / "key", generate_key(), None)
    assert plan == folder / "plan.yaml"
    return folder


@pytest.mark.parametrize("name", SCHEMAS.documents)
def test_schemas_of_the_runners_room(name: str) -> None:
    check_published(SCHEMAS, name)


def test_no_schema_of_a_command_is_left_over() -> None:
    rooms = (OF_RECEIPTS, SCHEMAS, OF_VERIFY)
    known = sorted(name for room in rooms for name in room.documents)
    assert known == [name for name in schemas.schema_names() if name.startswith("cli-")]
    titles = [schemas.load_schema(name)["title"] for name in schemas.schema_names()]
    assert len(set(titles)) == len(titles)


def test_plan_and_run(written: Path, tmp_path: Path, receipts: Receipts) -> None:
    words = ("plan", written / "plan.yaml", *CPU, "--json")
    document = held("cli-plan", receipts(*words).out)
    assert document["sealed"] is None
    assert document["chosen"]["estimate"]["seconds"]["total"] > 0
    assert len(document["alternatives"]) == 1
    seal = ("--seal", "--key", written / "key", "--out", tmp_path / "b")
    sealed = held("cli-plan", receipts(*words, *seal).out)
    assert sealed["sealed"] == {"bundle": str(tmp_path / "b"), "digest": document["digest"]}
    run = ("run", written / "plan.yaml", *CPU, "--memory", "64M", "--json")
    pilot = held("cli-run-pilot", receipts(*run, "--limit", "3").out)
    assert (pilot["pilot"], pilot["points"]) == (True, 3)
    done = held("cli-run", receipts(*run, "--key", written / "key", "--out", tmp_path / "b").out)
    assert done["points"] == document["points"]
    assert done["scored"] + done["unscored"] + done["failed"] == done["points"]
    assert done["sealedBefore"] is False


def test_a_system_prompt_is_shown(written: Path, receipts: Receipts) -> None:
    text = (written / "plan.yaml").read_text("utf-8")
    other = written / "told.yaml"
    other.write_text(text.replace("prompt: {", "prompt: {system: Be kind., "), "utf-8")
    document = held("cli-plan", receipts("plan", other, *CPU, "--json").out)
    said = document["inputs"]["systemPrompt"]
    assert (said["characters"], said["begins"]) == (8, "Be kind.")
    assert said["from"] == f"prompt.system of {other}"


def test_one_prompt(written: Path, receipts: Receipts) -> None:
    words = ("plan", written / "plan.yaml", *CPU, "--show-prompt", "h2-b2-suffix", "--json")
    document = held("cli-plan-prompt", receipts(*words).out)
    assert document["condition"] == "h2-b2-suffix"
    assert {part["origin"] for part in document["parts"]} >= {"template", "query", "harmful"}
