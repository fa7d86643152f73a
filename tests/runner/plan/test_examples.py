"""The examples run as they stand, but for the model that a reader brings."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from checkpoints import save_checkpoint

from safety_receipts.receipts.keys import generate_key, write_key_pair

EXAMPLES = Path(__file__).parent.parent.parent.parent / "examples"


@pytest.mark.parametrize("family", ["llama", "olmo3"])
def test_a_model_and_corpora_of_ones_own_need_an_edited_plan_only(
    receipts: Callable[..., Any], tmp_path: Path, family: str
) -> None:
    study = Path(shutil.copytree(EXAMPLES / "own-model", tmp_path / "study"))
    save_checkpoint(study / "models" / "somebodys", family)
    plan = study / "plan.yaml"
    text = plan.read_text("utf-8")
    assert "path: models/my-model " in text
    edited = text.replace("models/my-model", "models/somebodys").replace(
        "max_new_tokens: 256", "max_new_tokens: 8"
    )
    plan.write_text(edited, "utf-8")
    key = tmp_path / "key"
    write_key_pair(key, generate_key(), None)
    words = ("--key", key, "--out", tmp_path / "bundle", "--device", "cpu")
    done = receipts("run", plan, *words, "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["points"] == 10 * 6 * 2
    verified = receipts("verify", tmp_path / "bundle", "--trust", f"{key}.pub")
    assert verified.code == 0, verified.out
    shown = json.loads(receipts("show", tmp_path / "bundle", "--json").out)
    assert shown["checkpoint"]["name"] == "somebodys"
    assert shown["instrument"] is False
