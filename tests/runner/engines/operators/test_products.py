"""Products with weights in oneDNN's order: which are found, what they give, and at what price."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import pytest
import torch
from tiny_models import FAMILIES, tiny_model

from safety_receipts.runner.engines.load import wrap_model
from safety_receipts.runner.engines.operators.products import PackedProducts
from safety_receipts.runner.engines.transformers_engine import TransformersEngine

MUCH = 2**30


def linear_layers(model: Any) -> list[torch.nn.Linear]:
    return [one for one in model.modules() if type(one) is torch.nn.Linear]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_all_linear_layers_are_found_and_agree(family: str, dtype: torch.dtype) -> None:
    model = tiny_model(family).to(dtype)
    layers = linear_layers(model)
    packed = PackedProducts(model, MUCH)
    assert len(packed) == len(layers) > 10
    layer = next(one for one in layers if one.in_features == 32)
    for rows in (1, 5, 64, 300):
        given = torch.randn((1, rows, 32), generator=torch.Generator().manual_seed(rows)).to(dtype)
        with torch.inference_mode():
            before = layer(given)
            with packed.used():
                after = layer(given)
        assert after.dtype == dtype
        limit = 1e-5 if dtype is torch.float32 else 1e-2
        torch.testing.assert_close(
            after, before, rtol=limit, atol=limit * float(before.abs().max())
        )
    assert not any("forward" in vars(one) for one in layers)


def test_a_layer_that_does_more_than_multiply_keeps_its_own_code() -> None:
    model = tiny_model("llama")
    layers = linear_layers(model)
    plain = layers[0].forward
    layers[0].forward = lambda given: 2 * plain(given)  # type: ignore[method-assign]
    layers[1].weight.data = layers[1].weight.data.to(torch.float64)
    packed = PackedProducts(model, MUCH)
    assert len(packed) == len(layers) - 2
    with packed.used():
        assert "forward" not in vars(layers[1])
    assert "forward" in vars(layers[0])


def test_copies_take_no_more_than_they_may() -> None:
    model = tiny_model("llama")
    needed = sum(one.weight.nbytes for one in linear_layers(model))
    assert len(PackedProducts(model, needed)) == len(linear_layers(model))
    assert len(PackedProducts(model, needed - 1)) == 0


def test_an_engine_packs_what_half_of_its_memory_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("llama")
    layers = linear_layers(model)
    needed = sum(one.weight.nbytes for one in layers)
    made: list[int] = []
    used = PackedProducts.used

    def watched(packed: PackedProducts) -> AbstractContextManager[None]:
        made.append(len(packed))
        return used(packed)

    monkeypatch.setattr(PackedProducts, "used", watched)
    for memory, packed_layers in ((2 * needed, len(layers)), (2 * needed - 2, 0)):
        made.clear()
        engine = TransformersEngine(wrap_model(model), memory=memory)
        assert engine.memory == memory
        assert set(made) == {packed_layers}  # in the trial of shared prefixes
    made.clear()
    TransformersEngine(wrap_model(model), shared=False)
    assert not made
