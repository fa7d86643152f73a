"""Tiny models of the real architectures, randomly initialised.

A few ten thousand parameters each.  Sliding windows are small enough that short prompts leave
them behind, key-value heads are fewer than query heads, and weights are spread so that no two
logits tie.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers

FAMILIES = ("llama", "olmo3", "gpt-oss", "gemma4")
EOS = 2
END_TOKENS = (2, 5)
"""End tokens of every tiny model: one stated in config.json, both in generation_config.json."""
CONTEXT = 512
WINDOW = 8


def tiny_config(family: str, vocab_size: int) -> Any:
    """Return the configuration of a tiny model."""
    common: dict[str, Any] = {
        "vocab_size": vocab_size,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": CONTEXT,
        "initializer_range": 0.25,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": EOS,
        "tie_word_embeddings": False,
    }
    if family == "llama":
        return transformers.LlamaConfig(**common, num_hidden_layers=2)
    if family == "olmo3":
        return transformers.Olmo3Config(**common, num_hidden_layers=4, sliding_window=WINDOW)
    if family == "gpt-oss":
        return transformers.GptOssConfig(
            **common,
            num_hidden_layers=4,
            sliding_window=WINDOW,
            num_local_experts=4,
            num_experts_per_tok=2,
            rope_parameters={
                "rope_type": "yarn",
                "rope_theta": 150_000.0,
                "factor": 32.0,
                "original_max_position_embeddings": CONTEXT // 32,
                "beta_fast": 32.0,
                "beta_slow": 1.0,
                "truncate": False,
            },
        )
    if family == "gemma4":
        gemma: Any = transformers.Gemma4TextConfig  # it takes more than its signature says
        return gemma(
            **common,
            num_hidden_layers=8,
            sliding_window=WINDOW,
            global_head_dim=16,
            num_kv_shared_layers=2,
            final_logit_softcapping=12.0,
            vocab_size_per_layer_input=vocab_size,
            hidden_size_per_layer_input=4,
            layer_types=["sliding_attention", "full_attention"] * 4,
        )
    raise ValueError(f"no tiny model of family {family!r}")


def tiny_model(family: str, vocab_size: int = 96, seed: int = 0) -> Any:
    """Return a tiny model in evaluation mode, fp32, on the CPU.

    The global generator, which transformers draws initial weights from, is left as it was.

    Args:
        family: One of :data:`FAMILIES`.
        vocab_size: Number of token ids, at least 8.
        seed: Other seeds give other weights.
    """
    classes = {
        "llama": transformers.LlamaForCausalLM,
        "olmo3": transformers.Olmo3ForCausalLM,
        "gpt-oss": transformers.GptOssForCausalLM,
        "gemma4": transformers.Gemma4ForCausalLM,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = tiny_config(family, vocab_size)
        config._attn_implementation = "eager" if family == "gpt-oss" else "sdpa"
        model: Any = classes[family](config)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name.endswith(("sinks", "bias")):
                    parameter.normal_(0, 0.5)
        model.get_output_embeddings().weight.data.normal_(0, 0.5)
    model.generation_config.pad_token_id = 0
    model.generation_config.eos_token_id = list(END_TOKENS)
    return model.eval()


def tiny_model_of(name: str, **more: Any) -> Any:
    """Return a tiny model of any architecture, by the name of its classes: ``Qwen3Moe``.

    Args:
        name: What stands before ``Config`` and ``ForCausalLM``.
        **more: Further sizes, or others.
    """
    sizes: dict[str, Any] = {
        "vocab_size": 96,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 64,
        "pad_token_id": 0,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        config = getattr(transformers, f"{name}Config")(**sizes | more)
        model: Any = getattr(transformers, f"{name}ForCausalLM")(config)
        return model.eval()


def save_tiny_model(folder: Path, family: str = "llama", vocab_size: int = 96) -> Path:
    """Save a tiny model as a Hugging Face folder and return it."""
    tiny_model(family, vocab_size).save_pretrained(folder)
    return folder
