"""Norms in one operator each: which are found, what they give, and that models keep their own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_models import tiny_model, tiny_model_of

from safety_receipts.runner.engines.operators.norms import FusedNorms

LONG = torch.randn((3, 7, 32), generator=torch.Generator().manual_seed(3)) * 30


def norms_of(model: Any) -> list[Any]:
    return [one for one in model.modules() if type(one).__name__.endswith("RMSNorm")]


@pytest.mark.parametrize("family", ["llama", "olmo3", "gpt-oss", "gemma4"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_all_norms_of_the_families_are_found_and_agree(family: str, dtype: torch.dtype) -> None:
    model = tiny_model(family).to(dtype)
    for parameter in norms_of(model):
        if getattr(parameter, "weight", None) is not None:
            parameter.weight.data.uniform_(0.5, 1.5)
    fused = FusedNorms(model)
    assert len(fused) == len(norms_of(model))
    wide = next(one for one in norms_of(model) if getattr(one, "weight", LONG).numel() == 32)
    before = wide(LONG.to(dtype))
    with fused.used():
        assert "forward" in vars(wide)
        after = wide(LONG.to(dtype))
    assert not any("forward" in vars(one) for one in norms_of(model))
    assert after.dtype == dtype
    limit = 1e-6 if dtype is torch.float32 else 2**-7
    assert bool(((after - before).abs() <= limit * before.abs()).all())


def test_a_norm_of_another_kind_keeps_its_own_code() -> None:
    """Gemma 2 scales by one more than the weight."""
    model = tiny_model_of("Gemma2", head_dim=8)
    assert norms_of(model)
    for norm in norms_of(model):
        norm.weight.data.uniform_(0.5, 1.5)
    assert len(FusedNorms(model)) == 0


def test_the_models_norms_are_put_back_after_an_error() -> None:
    model = tiny_model("llama")
    fused = FusedNorms(model)

    def fails() -> None:
        with fused.used():
            raise RuntimeError("planted")

    with pytest.raises(RuntimeError, match="planted"):
        fails()
    assert not any("forward" in vars(one) for one in norms_of(model))
