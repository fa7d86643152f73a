"""Experts in few operators: which are found, what they give, and who keeps its own code."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_models import tiny_model, tiny_model_of

from safety_receipts.runner.engines.operators.experts import GroupedExperts

KIND = torch.bfloat16


def qwen() -> Any:
    """Weights the other way round, no biases, gates by an activation."""
    sizes = {"moe_intermediate_size": 32, "num_experts": 4, "num_experts_per_tok": 2}
    return tiny_model_of("Qwen3Moe", head_dim=8, **sizes)


def experts_of(model: Any) -> list[Any]:
    return [one for one in model.modules() if type(one).__name__.endswith("Experts")]


def model_of(name: str) -> Any:
    return (tiny_model("gpt-oss") if name == "gpt-oss" else qwen()).to(KIND)


@pytest.mark.parametrize("name", ["gpt-oss", "qwen"])
@pytest.mark.parametrize("chosen", ["any", "one", "none of some"])
@pytest.mark.parametrize("weights", [torch.bfloat16, torch.float32])
def test_they_are_found_and_agree(name: str, chosen: str, weights: torch.dtype) -> None:
    model = model_of(name)
    fused = GroupedExperts(model)
    assert len(fused) == len(experts_of(model)) > 0
    draw = torch.Generator().manual_seed(7)
    for number in (1, 33):
        states = torch.randn((number, 32), generator=draw).to(KIND)
        scores = torch.rand((number, 4), generator=draw)
        given, picked = scores.softmax(-1).topk(2, -1)
        if chosen == "one":
            picked = torch.full_like(picked, 3)
        elif chosen == "none of some":
            picked = picked % 2
        for module in experts_of(model):
            with torch.inference_mode():
                before = module(states, picked, given.to(weights)).float()
                with fused.used():
                    assert "forward" in vars(module)
                    after = module(states, picked, given.to(weights))
            assert after.dtype == KIND
            assert after.shape == (number, 32)
            assert float((after.float() - before).abs().max()) <= 0.02 * float(before.abs().max())
    assert not any("forward" in vars(module) for module in experts_of(model))


@pytest.mark.parametrize("name", ["gpt-oss", "qwen"])
def test_a_whole_model_errs_no_more_than_by_its_own_code(name: str) -> None:
    model = model_of(name)
    ids = torch.randint(6, 96, (4, 33), generator=torch.Generator().manual_seed(5))

    def logits() -> torch.Tensor:
        with torch.inference_mode():
            return model(input_ids=ids, use_cache=False).logits.float()

    own = logits()
    with GroupedExperts(model).used():
        found = logits()
    model.to(torch.float32)
    true = logits()
    assert not torch.equal(found, true)
    assert (found - true).abs().mean() <= 1.25 * (own - true).abs().mean()


def test_only_what_grouped_products_are_made_for_is_replaced() -> None:
    assert len(GroupedExperts(tiny_model("gpt-oss"))) == 0  # fp32
    model = model_of("gpt-oss")
    model.config._experts_implementation = "eager"
    assert len(GroupedExperts(model)) == 0
    model.config._experts_implementation = "grouped_mm"
    first, second, *_ = experts_of(model)
    first.has_post_expert_norm = True
    second._is_expert_parallel = True
    assert len(GroupedExperts(model)) == len(experts_of(model)) - 2
    assert len(GroupedExperts(tiny_model("llama").to(KIND))) == 0


def test_a_module_that_does_something_else_keeps_its_own_code(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = model_of("gpt-oss")
    own = type(experts_of(model)[0]).forward

    def doubled(self: Any, *arguments: Any, **options: Any) -> Any:
        return 2 * own(self, *arguments, **options)

    monkeypatch.setattr(type(experts_of(model)[0]), "forward", doubled)
    assert len(GroupedExperts(model)) == 0


def test_what_is_called_by_names_is_left_to_the_module() -> None:
    model = model_of("gpt-oss")
    module = experts_of(model)[0]
    states = torch.ones((3, 32), dtype=KIND)
    given = {
        "top_k_index": torch.tensor([[0, 1]] * 3),
        "top_k_weights": torch.full((3, 2), 0.5, dtype=KIND),
    }
    with torch.inference_mode():
        before = module(states, **given)
        with GroupedExperts(model).used():
            assert torch.equal(module(states, **given), before)
