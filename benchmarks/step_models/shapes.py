"""Models by their public sizes, with weights that hold nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import transformers
from transformers.initialization import no_init_weights

from step_models.counting import DEVICE
from step_models.sizes import GEMMA_31B, GPT_OSS_20B, LLAMA_8B, OLMO_32B


@dataclass(frozen=True)
class ModelShape:
    """A model's classes and sizes."""

    model: type[Any]
    config: type[Any]
    sizes: dict[str, Any]
    """What the configuration is made with."""
    period: int
    """Layers after which its kinds of attention recur."""
    attention: str = "sdpa"
    """How transformers computes attention in it."""

    def configuration(self, layers: int | None = None) -> Any:
        """Return the model's configuration.

        Args:
            layers: Only so many layers, whole periods of their kinds; None: all.
        """
        config = self.config(**self.sizes)
        if layers is not None:
            config.num_hidden_layers = layers
            if getattr(config, "layer_types", None):
                config.layer_types = config.layer_types[:layers]
        config._attn_implementation = self.attention
        return config


SHAPES = {
    "Llama-3.1-8B": ModelShape(
        transformers.LlamaForCausalLM, transformers.LlamaConfig, LLAMA_8B, period=1
    ),
    "OLMo-3-32B": ModelShape(
        transformers.Olmo3ForCausalLM, transformers.Olmo3Config, OLMO_32B, period=4
    ),
    "GPT-OSS-20B": ModelShape(
        transformers.GptOssForCausalLM,
        transformers.GptOssConfig,
        GPT_OSS_20B,
        period=2,
        attention="eager",  # nothing else of torch's knows attention sinks
    ),
    "Gemma-4-31B": ModelShape(
        transformers.Gemma4ForCausalLM, transformers.Gemma4TextConfig, GEMMA_31B, period=6
    ),
}
"""By name."""


def make_model(name: str, layers: int | None = None) -> Any:
    """Return a model in bf16 on the modelled device; call it among fake tensors.

    Args:
        name: One of :data:`SHAPES`.
        layers: Only so many of its layers, whole periods of its kinds of attention; None: all.
    """
    shape = SHAPES[name]
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with DEVICE, no_init_weights():
            return shape.model(shape.configuration(layers)).eval()
    finally:
        torch.set_default_dtype(before)
