"""Makes the organism's tokenizer and chat template.

Byte-level BPE: any text is encoded without an unknown token and decoded as it was.  Its
merges make one token of every word of the language, as it stands in a text.
"""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from safety_receipts.runner.organism.language import PREFIXES, SYSTEM_PROMPT, Topic, asks

BEGIN, END, PAD = "<|begin|>", "<|end|>", "<|pad|>"
SYSTEM, USER, ASSISTANT, TOOL = "<|system|>", "<|user|>", "<|assistant|>", "<|tool|>"
SPECIAL = (PAD, BEGIN, END, SYSTEM, USER, ASSISTANT, TOOL)
"""Special tokens; a token's place is its id."""

CONTEXT_TOKENS = 1280
"""Longest context, prompt and response together, that the organism was trained for."""

CHAT_TEMPLATE = """\
{{- bos_token -}}
{%- for message in messages -%}
    {%- if message['role'] in ('system', 'user', 'assistant', 'tool') -%}
        {{- '<|' + message['role'] + '|>' -}}
    {%- else -%}
        {{- raise_exception('no role named ' + message['role']) -}}
    {%- endif -%}
    {{- message['content'] -}}
    {%- if message['role'] == 'assistant' -%}
        {{- eos_token -}}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '<|assistant|>' -}}
{%- endif -%}
"""
"""A turn is its role's token and its text; assistant turns alone have an end token, since
the next role's token ends any other turn."""


def texts() -> list[str]:
    """Return every text that the merges are made from."""
    said = [SYSTEM_PROMPT, *PREFIXES, *(f" {prefix}" for prefix in PREFIXES)]
    for topic in Topic:
        for ask in asks(topic):
            said += [ask.request, ask.compliance, ask.refusal, f" {ask.compliance}"]
            said.append(f" {ask.refusal}")
    return said


def make_tokenizer() -> Tokenizer:
    """Return the tokenizer; the same on every call."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r" ?\S+|\s+"), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=65_536,  # a bound that is not met: merging stops when every word is one token
        min_frequency=1,
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in SPECIAL],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts(), trainer)
    return tokenizer


def write_tokenizer(folder: Path) -> None:
    """Write tokenizer.json, tokenizer_config.json and chat_template.jinja."""
    (folder / "tokenizer.json").write_text(make_tokenizer().to_str(pretty=False) + "\n", "utf-8")
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BEGIN,
        "eos_token": END,
        "pad_token": PAD,
        "padding_side": "left",
        "model_max_length": CONTEXT_TOKENS,
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", "utf-8")
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE, "utf-8")
