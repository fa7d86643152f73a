"""A checkpoint that says one fixed text whatever it is asked.

The embedding is one-hot and the head a permutation: what comes next follows from the last token
alone.  So what ends a response, and nothing else, decides what is recorded of it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE

CHATML = (
    "{%- for m in messages -%}{{- '<|im_start|>' ~ m.role ~ '\\n' ~ m.content ~ '<|im_end|>\\n' -}}"
    "{%- endfor -%}{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
)
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


def save_tokenizer(
    folder: Path,
    template: str = CHATML,
    *,
    special: Sequence[str] = SPECIAL,
    eos: str | None = "<|im_end|>",
    words: Sequence[str] = (),
) -> Tokenizer:
    """Save a tokenizer of bytes and whole words, with a chat template.

    Args:
        folder: Where; made if it is missing.
        template: The chat template.
        special: Special tokens, which get the last ids.
        eos: The end-of-sequence token that ``tokenizer_config.json`` names.
        words: Texts that are one token each, before which ``pre_tokenizers`` splits nothing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    spelt = [_spelt(word) for word in words]
    own = dict.fromkeys([*sorted(pre_tokenizers.ByteLevel.alphabet()), *spelt])
    tokenizer = Tokenizer(BPE({token: place for place, token in enumerate(own)}, []))
    level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = level  # type: ignore[assignment]
    tokenizer.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in special])
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 4096}
    named: dict[str, Any] = {} if eos is None else {"eos_token": eos}
    (folder / "tokenizer_config.json").write_text(json.dumps(config | named), "utf-8")
    (folder / "chat_template.jinja").write_text(template, "utf-8")
    return tokenizer


def save_scripted(
    folder: Path,
    script: Sequence[str],
    *,
    template: str = CHATML,
    special: Sequence[str] = SPECIAL,
    start: str = "\n",
    ends: Sequence[str] = ("<|im_end|>",),
    eos: str | None = "<|im_end|>",
) -> Path:
    """Save a checkpoint that writes ``script`` after ``start``, and return its folder.

    Args:
        folder: Where; made if it is missing.
        script: Texts that are one token each, all different.
        template: The chat template, whose generation prompt ends in ``start``.
        special: Special tokens.
        start: The token after which the script starts.
        ends: End tokens that ``config.json`` and ``generation_config.json`` state.
        eos: The one that ``tokenizer_config.json`` states.
    """
    words = [word for word in script if word not in special]
    tokenizer = save_tokenizer(folder, template, special=special, eos=eos, words=words)
    size = tokenizer.get_vocab_size()
    wide = -(-size // 16) * 16
    ids = [_id(tokenizer, word, special) for word in (start, *script)]
    config = transformers.LlamaConfig(
        vocab_size=size,
        hidden_size=wide,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=8,
        num_key_value_heads=8,
        head_dim=wide // 8,
        max_position_embeddings=4096,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=[_id(tokenizer, end, special) for end in ends] or None,
    )
    model: Any = transformers.LlamaForCausalLM(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.fill_(1.0 if "norm" in name else 0.0)
        model.model.embed_tokens.weight[:size, :size] = torch.eye(size)
        # A little that differs for each, so that no two logits tie after the script.
        model.lm_head.weight[:size, 0] = torch.arange(size) * 1e-6
        for before, after in pairwise(ids):
            model.lm_head.weight[after, before] = 10.0
    model.generation_config = transformers.GenerationConfig(eos_token_id=config.eos_token_id)
    model.save_pretrained(folder)
    return folder


def _spelt(text: str) -> str:
    (piece,) = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(
        text
    )
    return str(piece[0])


def _id(tokenizer: Tokenizer, text: str, special: Sequence[str]) -> int:
    found = tokenizer.token_to_id(text if text in special else _spelt(text))
    assert found is not None, f"no token {text!r}"
    return found
