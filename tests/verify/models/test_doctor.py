"""The doctor tries the engine: versions do not say that they work together."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from safety_receipts.receipts.extras import install
from safety_receipts.verify.selfcheck import engine_test

Receipts = Callable[..., Any]


def _engine(receipts: Receipts) -> tuple[int, bool, list[dict[str, Any]]]:
    finished = receipts("doctor", "--json")
    document = json.loads(finished.out)
    lines = [line for line in document["lines"] if line["section"] == "engine"]
    return finished.code, document["healthy"], lines


def test_the_organism_is_run_and_its_prefixes_are_shared(receipts: Receipts) -> None:
    code, healthy, lines = _engine(receipts)
    assert (code, healthy) == (0, True)
    assert [(line["name"], line["good"]) for line in lines] == [
        ("the organism", True),
        ("shared prefixes", True),
    ]
    assert f"torch {torch.__version__}" in lines[0]["detail"]
    assert f"transformers {transformers.__version__}" in lines[0]["detail"]
    assert lines[0]["detail"].endswith(f"{engine_test.TRIAL_POINTS} points")


def test_a_release_whose_forward_pass_is_another_is_no_healthy_one(
    receipts: Receipts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forward(_: Any, input_ids: Any, position_ids: Any, memory: Any = None) -> None:
        raise AssertionError("nothing is asked of it")

    monkeypatch.setattr(transformers.LlamaForCausalLM, "forward", forward)
    code, healthy, (line,) = _engine(receipts)
    assert (code, healthy, line["good"]) == (5, False, False)
    said = f"the forward pass of LlamaForCausalLM in transformers {transformers.__version__} is not"
    assert said in line["detail"]


def test_an_error_of_a_library_is_told_with_its_version(
    receipts: Receipts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def from_pretrained(*_: Any, **__: Any) -> None:
        raise AttributeError("no attribute 'quantization_config'")

    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", from_pretrained)
    code, _, (line,) = _engine(receipts)
    assert (code, line["good"]) == (5, False)
    assert f"transformers {transformers.__version__}: " in line["detail"]
    assert "no attribute 'quantization_config'" in line["detail"]


@pytest.mark.parametrize("missing", ["torch", "transformers"])
def test_without_what_runs_models_it_is_skipped_and_why_is_said(
    monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == missing else found(name)
    )
    (line,) = engine_test.run_engine_test()
    assert line == (
        "the organism",
        None,
        f"not run, as {missing} is not installed: {install('run')}",
    )


def test_a_library_that_cannot_be_loaded_is_one_line_of_the_doctors(tmp_path: Path) -> None:
    """A process of its own: here it is loaded."""
    broken = tmp_path / "torch"
    broken.mkdir()
    (broken / "__init__.py").write_text("raise ImportError('libdevice.so: no such file')\n")
    paths = os.pathsep.join([str(tmp_path), *sys.path])
    asked = [sys.executable, "-m", "safety_receipts", "doctor"]
    finished = subprocess.run(
        asked, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, check=False
    )
    assert (finished.returncode, "Traceback" in finished.stderr) == (5, False), finished.stderr
    assert "libdevice.so: no such file" in finished.stdout
