"""Weights stored quantised: what runs, what is sealed of it, and what is refused before that."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from quantised import configure, store_as_fp8, store_as_mxfp4
from studies import write_study
from tiny_models import save_tiny_model, tiny_model

from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.errors import IncompleteError, UsageError
from safety_receipts.receipts.keys import generate_key, write_key_pair
from safety_receipts.receipts.model.checkpoint import Dtype
from safety_receipts.runner.checkpoint.model_facts import read_model_facts
from safety_receipts.runner.checkpoint.quantisation import check_packages, device_warnings
from safety_receipts.runner.engines.load import load_model
from safety_receipts.runner.plan.resolve import resolve_plan

Receipts = Callable[..., Any]

needs_accelerate = pytest.mark.skipif(
    importlib.util.find_spec("accelerate") is None, reason="accelerate is not installed"
)


@pytest.mark.parametrize("dtype", list(Dtype))
def test_mxfp4_is_turned_into_the_number_format_of_the_plan(dtype: Dtype, tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path, "gpt-oss")
    store_as_mxfp4(folder)
    facts = read_model_facts(folder)
    assert (facts.quantisation, facts.dequantised) == ("mxfp4", True)
    assert facts.parameters == sum(p.numel() for p in tiny_model("gpt-oss").parameters())
    model = load_model(folder, dtype=dtype, device="cpu").model
    experts = model.model.layers[0].mlp.experts.down_proj
    assert str(experts.dtype) == f"torch.{dtype.value}"
    assert experts.abs().max() > 0
    assert model(torch.arange(6, 26)[None]).logits.isfinite().all()


def test_a_plan_of_published_mxfp4_weights_is_run_and_says_so(
    receipts: Receipts, tmp_path: Path
) -> None:
    plan = write_study(tmp_path, family="gpt-oss", queries=2, controls=0)
    plan.write_text(
        plan.read_text("utf-8").replace(
            "  - {corpus: own, name: control, path: controls.jsonl, role: benign_control}\n", ""
        ),
        "utf-8",
    )
    store_as_mxfp4(tmp_path / "model")
    write_key_pair(tmp_path / "key", generate_key(), None)
    document = json.loads(receipts("plan", plan, "--device", "cpu", "--json").out)
    assert document["checkpoint"]["dequantised"] is True
    run = ("run", plan, "--key", tmp_path / "key", "--out", tmp_path / "b", "--device", "cpu")
    # Random weights say nothing in the channel that is judged.
    done = receipts(*run, "--accept-unscored")
    assert "0 failed" in done.out, done.err
    checkpoint = Bundle(tmp_path / "b").plan.statement.predicate.checkpoint
    assert (checkpoint.quantisation, checkpoint.dequantised) == ("mxfp4", True)
    trust = ("--trust", tmp_path / "key.pub", "--artifacts", plan)
    assert receipts("verify", tmp_path / "b", *trust).code == 0


@needs_accelerate
@pytest.mark.parametrize("dtype", list(Dtype))
def test_fp8_is_turned_into_the_number_format_of_the_plan(dtype: Dtype, tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path)
    meant = store_as_fp8(folder)
    assert read_model_facts(folder).dequantised
    loaded = load_model(folder, dtype=dtype, device="cpu")
    parameters = dict(loaded.model.named_parameters())
    assert parameters.keys() == meant.keys()
    for name, parameter in parameters.items():
        assert torch.equal(parameter, meant[name].to(parameter.dtype)), name
        assert str(parameter.dtype) == f"torch.{dtype.value}"
    assert loaded.model(torch.arange(6, 26)[None]).logits.isfinite().all()


METHODS = {
    "gptq": "needs optimum and gptqmodel",
    "awq": "needs gptqmodel and accelerate",
    "bitsandbytes": "needs accelerate and bitsandbytes",
    "compressed-tensors": "needs compressed-tensors",
    "torchao": "needs torchao",
    "quanto": "needs optimum and optimum-quanto and accelerate",
    "fp8": "needs accelerate",
    "hqq": "needs hqq and accelerate",
}


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment without any package of a quantisation method."""
    packages = {"accelerate", "bitsandbytes", "compressed_tensors", "gptqmodel", "hqq", "optimum"}
    packages |= {"optimum.quanto", "torchao"}
    find = importlib.util.find_spec

    def absent(name: str, package: str | None = None) -> Any:
        return None if name in packages else find(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", absent)


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize("method", METHODS)
def test_a_missing_package_is_named_before_a_plan_is_sealed(
    method: str, receipts: Receipts, tmp_path: Path
) -> None:
    plan = write_study(tmp_path)
    configure(tmp_path / "model", {"quant_method": method, "bits": 4, "load_in_4bit": True})
    write_key_pair(tmp_path / "key", generate_key(), None)
    told = receipts("plan", plan, "--seal", "--key", tmp_path / "key", "--out", tmp_path / "b")
    assert told.code == 5
    assert f"quantised by {method}, and loading them {METHODS[method]}" in told.err
    assert "pip install" in told.err
    assert not (tmp_path / "b").exists()
    run = ("run", plan, "--key", tmp_path / "key", "--out", tmp_path / "b", "--device", "cpu")
    assert receipts(*run).code == 5
    assert not (tmp_path / "b").exists()
    assert resolve_plan(plan).predicate.checkpoint.quantisation == method  # verifying needs none
    with pytest.raises(IncompleteError, match=r"pip install"):
        load_model(tmp_path / "model", dtype=Dtype.FLOAT32, device="cpu")


@pytest.mark.parametrize(
    ("quantisation", "named"),
    [
        ({"group_size": 64, "bits": 4}, "a method without a name, as those of MLX are"),
        ({"quant_method": "metal", "bits": 4}, "metal"),
        ({"quant_method": "someones-own"}, "someones-own"),
    ],
)
def test_a_method_that_is_not_loaded_is_refused(
    quantisation: dict[str, Any], named: str, receipts: Receipts, tmp_path: Path
) -> None:
    plan = write_study(tmp_path)
    configure(tmp_path / "model", quantisation)
    told = receipts("plan", plan, "--device", "cpu")
    assert told.code == 2
    assert f"quantised by {named}, which this engine does not load" in told.err
    assert "name the checkpoint that they were made from" in told.err


def test_what_needs_another_device_is_said() -> None:
    (warning,) = device_warnings("vptq", "cpu")
    assert "vptq run on CUDA devices alone, and this is cpu" in warning.message
    assert device_warnings("vptq", "cuda") == device_warnings("mxfp4", "cpu") == []
    assert device_warnings(None, "cpu") == []


def test_a_judge_is_asked_too(receipts: Receipts, tmp_path: Path) -> None:
    plan = write_study(tmp_path, judge="{kind: wildguard, path: judge}")
    save_tiny_model(tmp_path / "judge")
    configure(tmp_path / "judge", {"group_size": 64, "bits": 4})
    told = receipts("plan", plan, "--device", "cpu")
    assert told.code == 2
    assert str(tmp_path / "judge") in told.err
    check_packages(None, tmp_path)
    with pytest.raises(UsageError, match="which this engine does not load"):
        check_packages("unknown", tmp_path)
