"""A tiny Llama of random weights with a word-level tokenizer, made without any download."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers

from engine_peers.workloads import (
    BEGIN,
    CONTEXT,
    END_OF_TEXT,
    PAD,
    SPECIAL_TOKENS,
    VOCABULARY,
)

_CHAT_TEMPLATE = (
    "{{ '<s> ' }}{% for m in messages %}{{ '<|' + m['role'] + '|> ' + m['content'] + ' <|end|> ' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def make_model(folder: Path, seed: int = 0) -> None:
    """Write the model and its tokenizer, the same ones for the same seed."""
    folder.mkdir(parents=True)
    _tokenizer().save_pretrained(folder)
    torch.manual_seed(seed)
    model: Any = transformers.LlamaForCausalLM(tiny_config())
    model.generation_config.pad_token_id = PAD
    model.generation_config.eos_token_id = END_OF_TEXT
    logs: Any = transformers.utils.logging
    logs.disable_progress_bar()
    model.save_pretrained(folder)


def tiny_config() -> Any:
    """Return the configuration: 5 million parameters, grouped queries, spread-out weights."""
    return transformers.LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=256,
        intermediate_size=704,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=32,
        max_position_embeddings=CONTEXT,
        rope_parameters={"rope_type": "default", "rope_theta": 500_000.0},
        bos_token_id=BEGIN,
        eos_token_id=END_OF_TEXT,
        pad_token_id=PAD,
        initializer_range=0.06,
        tie_word_embeddings=False,
    )


def _tokenizer() -> Any:
    words = [*SPECIAL_TOKENS, *(f"w{i}" for i in range(len(SPECIAL_TOKENS), VOCABULARY))]
    tokenizer = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(words)}, unk_token=SPECIAL_TOKENS[PAD])
    )
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    wrapped = wrap_tokenizer(tokenizer, _CHAT_TEMPLATE)
    wrapped.padding_side = "left"
    return wrapped


def wrap_tokenizer(tokenizer: Tokenizer, template: str) -> Any:
    """Return a tokenizer with the special tokens of these models and a chat template."""
    fast: Any = transformers.PreTrainedTokenizerFast
    wrapped = fast(
        tokenizer_object=tokenizer,
        pad_token=SPECIAL_TOKENS[PAD],
        bos_token=SPECIAL_TOKENS[BEGIN],
        eos_token=SPECIAL_TOKENS[END_OF_TEXT],
        additional_special_tokens=list(SPECIAL_TOKENS[END_OF_TEXT + 1 :]),
    )
    wrapped.chat_template = template
    return wrapped
