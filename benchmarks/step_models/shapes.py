"""Models by their public sizes, with weights that hold nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import transformers
from transformers.initialization import no_init_weights

from step_models.counting import DEVICE


def _llama() -> tuple[Any, Any]:
    config = transformers.LlamaConfig(
        vocab_size=128256,
        hidden_size=4096,
        intermediate_size=14336,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
        head_dim=128,
        max_position_embeddings=131072,
    )
    return transformers.LlamaForCausalLM, config


def _olmo() -> tuple[Any, Any]:
    config = transformers.Olmo3Config(
        vocab_size=100278,
        hidden_size=5120,
        intermediate_size=27648,
        num_hidden_layers=64,
        num_attention_heads=40,
        num_key_value_heads=8,
        sliding_window=4096,
        max_position_embeddings=65536,
    )
    return transformers.Olmo3ForCausalLM, config


def _gpt_oss() -> tuple[Any, Any]:
    config = transformers.GptOssConfig(
        vocab_size=201088,
        hidden_size=2880,
        intermediate_size=2880,
        num_hidden_layers=24,
        num_local_experts=32,
        num_experts_per_tok=4,
        num_attention_heads=64,
        num_key_value_heads=8,
        head_dim=64,
        sliding_window=128,
        max_position_embeddings=131072,
    )
    return transformers.GptOssForCausalLM, config


def _gemma() -> tuple[Any, Any]:
    make: Any = transformers.Gemma4TextConfig  # it takes more than its signature says
    config = make(
        vocab_size=262144,
        hidden_size=5376,
        intermediate_size=21504,
        num_hidden_layers=60,
        num_attention_heads=32,
        num_key_value_heads=16,
        head_dim=256,
        num_global_key_value_heads=4,
        global_head_dim=512,
        attention_k_eq_v=True,
        sliding_window=1024,
        hidden_size_per_layer_input=0,
        max_position_embeddings=262144,
        final_logit_softcapping=30.0,
        layer_types=[
            "full_attention" if (i + 1) % 6 == 0 else "sliding_attention" for i in range(60)
        ],
    )
    return transformers.Gemma4ForCausalLM, config


SHAPES: dict[str, Callable[[], tuple[Any, Any]]] = {
    "Llama-3.1-8B": _llama,
    "OLMo-3-32B": _olmo,
    "GPT-OSS-20B": _gpt_oss,
    "Gemma-4-31B": _gemma,
}
"""Class and configuration of each model."""


PERIODS = {"Llama-3.1-8B": 1, "OLMo-3-32B": 4, "GPT-OSS-20B": 2, "Gemma-4-31B": 6}
"""Layers after which each model's kinds of attention recur."""


def layers_of(name: str) -> int:
    """Return how many layers a model has."""
    return int(SHAPES[name]()[1].num_hidden_layers)


def make_model(name: str, layers: int | None = None) -> Any:
    """Return a model in bf16 on the modelled device; call it among fake tensors.

    Args:
        name: One of :data:`SHAPES`.
        layers: Only so many of its layers, whole periods of its kinds of attention; None: all.
    """
    kind, config = SHAPES[name]()
    if layers is not None:
        config.num_hidden_layers = layers
        if getattr(config, "layer_types", None):
            config.layer_types = config.layer_types[:layers]
    config._attn_implementation = "eager" if name.startswith("GPT") else "sdpa"
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with DEVICE, no_init_weights():
            return kind(config).eval()
    finally:
        torch.set_default_dtype(before)
