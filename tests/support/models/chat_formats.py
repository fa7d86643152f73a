"""Tokenizers and chat templates in the shape of four families, small enough to build in a test.

Stand-ins, written for these tests: the special tokens, the roles, the places where a template
trims, escapes, prints a date or refuses are those of the family; the vocabulary is bytes and a
few words, and the prose is our own.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, pre_tokenizers, processors
from tokenizers.models import BPE

FAMILIES = ("llama", "olmo3", "gpt-oss", "gemma4")

_LLAMA = """\
{{- bos_token }}
{%- if not date_string is defined %}
    {%- set date_string = "26 Jul 2024" %}
{%- endif %}
{%- if messages[0].role == "system" %}
    {%- set preface, turns = messages[0].content | trim, messages[1:] %}
{%- else %}
    {%- set preface, turns = "", messages %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{{- "Cutting Knowledge Date: December 2023\\nToday Date: " ~ date_string ~ "\\n\\n" }}
{{- preface ~ "<|eot_id|>" }}
{%- for message in turns %}
    {%- if "tool_calls" in message %}
        {%- if message.tool_calls | length != 1 %}
            {{- raise_exception("Only one tool call at a time") }}
        {%- endif %}
        {%- set call = message.tool_calls[0].function %}
        {{- "<|start_header_id|>assistant<|end_header_id|>\\n\\n" }}
        {{- '{"name": "' ~ call.name ~ '", "parameters": ' ~ call.arguments | tojson ~ "}" }}
    {%- elif message.role == "tool" %}
        {{- "<|start_header_id|>ipython<|end_header_id|>\\n\\n" ~ message.content | tojson }}
    {%- else %}
        {{- "<|start_header_id|>" ~ message.role ~ "<|end_header_id|>\\n\\n" }}
        {{- message.content | trim }}
    {%- endif %}
    {{- "<|eot_id|>" }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- "<|start_header_id|>assistant<|end_header_id|>\\n\\n" }}
{%- endif %}
"""

_OLMO3 = """\
{%- if messages | selectattr("role", "equalto", "system") | list | length == 0 -%}
    {{- "<|im_start|>system\\nYou are a helpful assistant with no functions. " -}}
    {{- "<functions></functions><|im_end|>\\n" -}}
{%- endif -%}
{%- for message in messages -%}
    {%- if message.role == "system" -%}
        {{- "<|im_start|>system\\n" ~ message.content ~ " <functions></functions>" -}}
    {%- elif message.role == "user" -%}
        {{- "<|im_start|>user\\n" ~ message.content -}}
    {%- elif message.role == "assistant" -%}
        {{- "<|im_start|>assistant\\n" -}}
        {%- if message.get("content", none) is not none -%}
            {{- message.content -}}
        {%- endif -%}
        {%- for call in message.get("tool_calls", []) -%}
            {{- "<function_calls>" ~ call.function.name ~ "(" -}}
            {%- for name, value in call.function.arguments | items -%}
                {{- name ~ "=" ~ value | tojson ~ ("" if loop.last else ", ") -}}
            {%- endfor -%}
            {{- ")</function_calls>" -}}
        {%- endfor -%}
    {%- elif message.role == "tool" -%}
        {{- "<|im_start|>environment\\n" ~ message.content -}}
    {%- else -%}
        {{- raise_exception("Unknown role " ~ message.role) -}}
    {%- endif -%}
    {{- "<|im_end|>\\n" -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- "<|im_start|>assistant\\n" -}}
{%- endif -%}
"""

_GPT_OSS = """\
{{- "<|start|>system<|message|>You are a language model.\\nKnowledge cutoff: 2024-06\\n" }}
{{- "Current date: " ~ strftime_now("%Y-%m-%d") ~ "\\n\\n" }}
{{- "Reasoning: " ~ reasoning_effort | default("medium") ~ "\\n\\n" }}
{{- "# Valid channels: analysis, commentary, final.<|end|>" }}
{%- if messages[0].role in ["system", "developer"] %}
    {%- set turns = messages[1:] %}
    {{- "<|start|>developer<|message|># Instructions\\n\\n" ~ messages[0].content }}
    {{- "\\n\\n<|end|>" }}
{%- else %}
    {%- set turns = messages %}
{%- endif %}
{%- set last = namespace(call=none) %}
{%- for message in turns %}
    {%- if message.role == "assistant" %}
        {%- if "<|channel|>" in message.get("content", "") %}
            {{- raise_exception("A message has <|channel|> in its content") }}
        {%- endif %}
        {%- if "tool_calls" in message %}
            {%- set call = message.tool_calls[0].function %}
            {%- set last.call = call.name %}
            {{- "<|start|>assistant to=functions." ~ call.name }}
            {{- "<|channel|>commentary json<|message|>" ~ call.arguments | tojson ~ "<|call|>" }}
        {%- else %}
            {%- set last.call = none %}
            {{- "<|start|>assistant<|channel|>final<|message|>" ~ message.content ~ "<|end|>" }}
        {%- endif %}
    {%- elif message.role == "tool" %}
        {%- if last.call is none %}
            {{- raise_exception("A tool message follows no tool call") }}
        {%- endif %}
        {{- "<|start|>functions." ~ last.call ~ " to=assistant<|channel|>commentary<|message|>" }}
        {{- message.content | tojson ~ "<|end|>" }}
    {%- elif message.role == "user" %}
        {{- "<|start|>user<|message|>" ~ message.content ~ "<|end|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- "<|start|>assistant" }}
{%- endif %}
"""

_GEMMA4 = """\
{%- macro without_thoughts(text) -%}
    {%- set kept = namespace(text="") -%}
    {%- for part in text.split("<channel|>") -%}
        {%- set kept.text = kept.text ~ part.split("<|channel>")[0] -%}
    {%- endfor -%}
    {{- kept.text | trim -}}
{%- endmacro -%}
{%- set thinks = enable_thinking | default(false) -%}
{{- bos_token -}}
{%- set turns = messages -%}
{%- if thinks or messages[0].role == "system" -%}
    {{- "<|turn>system\\n" ~ ("<|think|>\\n" if thinks else "") -}}
    {%- if messages[0].role == "system" -%}
        {{- messages[0].content | trim -}}
        {%- set turns = messages[1:] -%}
    {%- endif -%}
    {{- "<turn|>\\n" -}}
{%- endif -%}
{%- set turn = namespace(open=false, tool=none) -%}
{%- for message in turns -%}
    {%- if message.role == "tool" -%}
        {{- "<|tool_response>response:" ~ turn.tool ~ '{value:<|"|>' ~ message.content -}}
        {{- '<|"|>}<tool_response|>' -}}
    {%- else -%}
        {%- if not turn.open -%}
            {{- "<|turn>" ~ ("model" if message.role == "assistant" else message.role) -}}
            {{- "\\n" -}}
        {%- endif -%}
        {%- if message.get("tool_calls") -%}
            {%- set call = message.tool_calls[0].function -%}
            {%- set turn.open, turn.tool = true, call.name -%}
            {{- "<|tool_call>call:" ~ call.name ~ "{" -}}
            {%- for name, value in call.arguments | dictsort -%}
                {{- name ~ ':<|"|>' ~ value ~ '<|"|>' ~ ("" if loop.last else ",") -}}
            {%- endfor -%}
            {{- "}<tool_call|>" -}}
        {%- else -%}
            {%- set turn.open = false -%}
            {%- if message.role == "assistant" -%}
                {{- without_thoughts(message.content) -}}
            {%- else -%}
                {{- message.content | trim -}}
            {%- endif -%}
            {{- "<turn|>\\n" -}}
        {%- endif -%}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- "<|turn>model\\n" ~ ("" if thinks else "<|channel>thought\\n<channel|>") -}}
{%- endif -%}
"""


_THINKER = """\
{{- "<|" ~ "note" ~ "|>" -}}
{%- for message in messages -%}
    {{- "<|im_start|>" ~ message.role ~ "\\n" -}}
    {%- if message.get("content") -%}
        {{- message.content.split("</think>")[-1] -}}
    {%- endif -%}
    {%- for call in message.get("tool_calls", []) -%}
        {{- call.function.name ~ call.function.arguments | tojson -}}
    {%- endfor -%}
    {{- "<|im_end|>\\n" -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- "<|im_start|>assistant\\n<think>\\n" -}}
{%- endif -%}
"""


@dataclass(frozen=True)
class _Family:
    template: str
    special: tuple[str, ...]
    """Added tokens that are special."""
    plain: tuple[str, ...] = ()
    """Added tokens that are not."""
    named: tuple[tuple[str, str], ...] = ()
    """Tokens with a name, such as ``bos_token``."""
    end: tuple[str, ...] = ()
    """Tokens that end a response."""
    special_first: bool = False
    """Whether special tokens are the first of the model's own vocabulary."""


_OF = {
    "llama": _Family(
        _LLAMA,
        (
            "<|begin_of_text|>",
            "<|end_of_text|>",
            "<|start_header_id|>",
            "<|end_header_id|>",
            "<|eom_id|>",
            "<|eot_id|>",
            "<|python_tag|>",
        ),
        named=(("bos_token", "<|begin_of_text|>"), ("eos_token", "<|eot_id|>")),
        end=("<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"),
    ),
    "olmo3": _Family(
        _OLMO3,
        ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>"),
        plain=("<functions>", "</functions>", "<function_calls>", "</function_calls>"),
        named=(("eos_token", "<|im_end|>"), ("pad_token", "<|pad|>")),
        end=("<|im_end|>", "<|endoftext|>"),
    ),
    "gpt-oss": _Family(
        _GPT_OSS,
        (
            "<|startoftext|>",
            "<|endoftext|>",
            "<|return|>",
            "<|constrain|>",
            "<|channel|>",
            "<|start|>",
            "<|end|>",
            "<|message|>",
            "<|call|>",
        ),
        named=(
            ("bos_token", "<|startoftext|>"),
            ("eos_token", "<|return|>"),
            ("pad_token", "<|endoftext|>"),
        ),
        end=("<|return|>", "<|endoftext|>", "<|call|>"),
    ),
    "gemma4": _Family(
        _GEMMA4,
        (
            "<pad>",
            "<eos>",
            "<bos>",
            "<unk>",
            "<|turn>",
            "<turn|>",
            "<|channel>",
            "<channel|>",
            "<|think|>",
            "<|tool_call>",
            "<tool_call|>",
            "<|tool_response>",
            "<tool_response|>",
            '<|"|>',
        ),
        plain=("\n\n", "<table>"),
        named=(("bos_token", "<bos>"), ("eos_token", "<eos>"), ("pad_token", "<pad>")),
        end=("<eos>", "<turn|>"),
        special_first=True,
    ),
    # No published family, but the way in which several think: the prompt opens the thought.
    "thinker": _Family(
        _THINKER,
        ("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
        plain=("<think>", "</think>", "<|note|>", "0"),
        named=(("eos_token", "<|im_end|>"),),
        end=("<|im_end|>", "<|endoftext|>"),
    ),
}

_WORDS = (
    " the",
    " a",
    " to",
    " of",
    " and",
    " in",
    " is",
    " you",
    " how",
    " tea",
    "ing",
    "system",
    "user",
    "assistant",
    "model",
    "analysis",
    "final",
    "Request",
    "Response",
    " answer",
    " examples",
    "Sure",
    " can",
    " help",
    " with",
    " that",
    "<|",
    "|>",
    "\n\n",
)

_PIECES = Regex(r" ?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def _bytes_as_characters(text: str) -> list[str]:
    (piece,) = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(
        text
    )
    return list(piece[0])


def tokenizer_of(family: str) -> Tokenizer:
    """Return a family's tokenizer: every byte, a few words, its own special tokens."""
    given = _OF[family]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges: dict[tuple[str, str], None] = {}
    for word in _WORDS:
        whole, *rest = _bytes_as_characters(word)
        for character in rest:
            merges[(whole, character)] = None
            whole += character
    own = [*alphabet, *dict.fromkeys(first + second for first, second in merges)]
    first = list(given.special) if given.special_first else []
    vocabulary = {token: place for place, token in enumerate([*first, *own])}
    tokenizer = Tokenizer(BPE(vocabulary, list(merges), ignore_merges=family == "llama"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(  # type: ignore[assignment]
        [
            pre_tokenizers.Split(_PIECES, "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in given.special])
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in given.plain])
    bos = dict(given.named).get("bos_token")
    if bos is not None and family != "gpt-oss":
        # As in the real ones: whoever adds special tokens to a rendered template has two.
        tokenizer.post_processor = processors.TemplateProcessing(  # type: ignore[assignment]
            single=f"{bos} $A", special_tokens=[(bos, tokenizer.token_to_id(bos))]
        )
    return tokenizer


def vocabulary_size(family: str) -> int:
    """Return the number of token ids of a family's tokenizer."""
    return tokenizer_of(family).get_vocab_size()


def token_id(family: str, token: str) -> int:
    """Return the id of a token, such as ``<|eot_id|>``."""
    found = tokenizer_of(family).token_to_id(token)
    assert found is not None, f"{family} has no token {token}"
    return found


def end_ids(family: str) -> tuple[int, ...]:
    """Return the ids that end a response of a family."""
    return tuple(token_id(family, token) for token in _OF[family].end)


def named_ids(family: str) -> dict[str, int]:
    """Return the ids of a family's named tokens: ``bos_token_id`` and so on."""
    return {f"{name}_id": token_id(family, token) for name, token in _OF[family].named}


def template_of(family: str) -> str:
    """Return a family's chat template."""
    return _OF[family].template


def save_chat_format(folder: Path, family: str, *, template: str | None = None) -> Path:
    """Write ``tokenizer.json``, ``tokenizer_config.json`` and ``chat_template.jinja``.

    Args:
        folder: Where; made if it is missing.
        family: One of :data:`FAMILIES`.
        template: Another chat template; ``""`` writes none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer_of(family).save(str(folder / "tokenizer.json"))
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": 4096,
        "clean_up_tokenization_spaces": family == "llama",
        **dict(_OF[family].named),
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    text = template_of(family) if template is None else template
    if text:
        (folder / "chat_template.jinja").write_text(text, encoding="utf-8")
    return folder
