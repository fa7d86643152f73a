"""Rotary embeddings in few operators: where they are found, what they give, who keeps its own."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from tiny_models import FAMILIES, tiny_model, tiny_model_of

from safety_receipts.runner.engines.operators.rotary import FusedRotary

IDS = torch.randint(6, 96, (4, 33), generator=torch.Generator().manual_seed(5))


def layers_of(model: Any) -> list[Any]:
    return [layer.self_attn for layer in model.model.layers]


def logits_of(model: Any, ids: torch.Tensor = IDS) -> torch.Tensor:
    with torch.inference_mode():
        return model(input_ids=ids, use_cache=False).logits.float()


@pytest.mark.parametrize("family", FAMILIES)
def test_all_layers_of_the_families_are_found_and_agree(family: str) -> None:
    model = tiny_model(family)
    module = sys.modules[type(layers_of(model)[0]).__module__]
    own = module.apply_rotary_pos_emb
    fused = FusedRotary(model)
    assert len(fused) == len(layers_of(model))
    before = logits_of(model)
    with fused.used():
        assert all("forward" in vars(layer) for layer in layers_of(model))
        assert module.apply_rotary_pos_emb is own
        after = logits_of(model)
        # Other positions, then the first ones again: tables are those of the pass.
        shorter, again = logits_of(model, IDS[:, :7]), logits_of(model)
    assert not any("forward" in vars(layer) for layer in layers_of(model))
    most = 1e-4 * before.abs().max()
    assert (after - before).abs().max() < most
    assert (shorter - before[:, :7]).abs().max() < most
    assert torch.equal(after, again)


@pytest.mark.parametrize("family", FAMILIES)
def test_half_formats_err_no_more_than_by_the_models_own_code(family: str) -> None:
    model = tiny_model(family).to(torch.bfloat16)
    fused = FusedRotary(model)
    assert len(fused) == len(layers_of(model))
    own = logits_of(model)
    with fused.used():
        found = logits_of(model)
    true = logits_of(model.to(torch.float32))
    assert (found - true).abs().mean() <= 1.25 * (own - true).abs().mean()


def test_fewer_operators_are_called() -> None:
    model = tiny_model("gpt-oss")
    fused = FusedRotary(model)

    def multiplications() -> int:
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as seen:
            logits_of(model)
        return sum(one.count for one in seen.key_averages() if one.key == "aten::mul")

    before = multiplications()
    with fused.used():
        assert multiplications() <= before - 6 * len(fused)


def test_neighbours_that_are_rotated_in_pairs_keep_their_own_code() -> None:
    model = tiny_model_of("Cohere")
    assert hasattr(sys.modules[type(layers_of(model)[0]).__module__], "apply_rotary_pos_emb")
    assert len(FusedRotary(model)) == 0


def test_where_a_part_of_a_head_is_rotated_the_models_own_function_does_it() -> None:
    model = tiny_model_of("Phi", rope_parameters={"rope_theta": 1e4, "partial_rotary_factor": 0.5})
    before = logits_of(model)
    with FusedRotary(model).used():
        assert torch.equal(logits_of(model), before)


def test_a_forward_that_somebody_else_gave_is_left_alone() -> None:
    model = tiny_model("llama")
    given = layers_of(model)[0].forward
    layers_of(model)[0].forward = given
    assert len(FusedRotary(model)) == len(layers_of(model)) - 1
