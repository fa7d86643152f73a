"""Models that say one known text whatever they are asked.

A llama whose next token depends on the last one alone: its embeddings are one-hot, all else is
zero, and its output layer holds the script.  Every piece of a script is one token, so that it is
known which tokens a text is made of.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
END = "<|im_end|>"
SPECIAL = ("<|endoftext|>", "<|im_start|>", END)


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of a scripted model: all bytes, special and added ones, and pieces of text."""

    special: Sequence[str] = SPECIAL
    """Added tokens that are special."""
    added: Sequence[str] = ()
    """Added tokens that are not."""
    pieces: Sequence[str] = ()
    """Texts that are ordinary tokens, which no text is ever read as."""

    def tokenizer(self) -> Tokenizer:
        """Return the tokenizer."""
        ordinary = sorted(pre_tokenizers.ByteLevel.alphabet())
        ordinary += [text for text in map(as_bytes, self.pieces) if text not in ordinary]
        tokenizer = Tokenizer(BPE({text: id_ for id_, text in enumerate(ordinary)}, []))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(  # type: ignore[assignment]
            add_prefix_space=False
        )
        tokenizer.decoder = decoders.ByteLevel()  # type: ignore[assignment]
        tokenizer.add_special_tokens([AddedToken(text, normalized=False) for text in self.special])
        tokenizer.add_tokens([AddedToken(text, normalized=False) for text in self.added])
        return tokenizer

    def id_of(self, text: str) -> int:
        """Return the id of a token."""
        own = text in self.special or text in self.added
        id_ = self.tokenizer().token_to_id(text if own else as_bytes(text))
        assert id_ is not None, text
        return id_

    def ids(self, pieces: Sequence[str]) -> list[int]:
        """Return the ids of a script, a token a piece."""
        return [self.id_of(piece) for piece in pieces]


def as_bytes(text: str) -> str:
    """Return a text as a byte-level vocabulary spells it."""
    (piece,) = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(
        text
    )
    return piece[0]


def save_format(
    folder: Path,
    vocabulary: Vocabulary,
    *,
    template: str = CHATML,
    eos: str | None = END,
    settings: Mapping[str, Any] | None = None,
) -> Path:
    """Write tokenizer and chat template.

    Args:
        folder: Made if it does not exist.
        vocabulary: The tokens.
        template: The chat template.
        eos: The tokenizer's end token; None: it has none.
        settings: Further keys of ``tokenizer_config.json``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary.tokenizer().save(str(folder / "tokenizer.json"))
    config: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast"}
    config |= {} if eos is None else {"eos_token": eos}
    config |= settings or {}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), "utf-8")
    (folder / "chat_template.jinja").write_text(template, "utf-8")
    return folder


@dataclass(frozen=True)
class Script:
    """What a model says."""

    pieces: Sequence[str]
    """A token a piece, each once; the last is followed by itself."""
    after: str = "\n"
    """The token that ends every prompt."""
    vocabulary: Vocabulary = field(default_factory=Vocabulary)
    """Tokens beside the pieces."""
    ends: Sequence[str] = (END,)
    """End tokens that ``config.json`` and ``generation_config.json`` state; it may be none."""
    context: int = 4096
    """Longest context."""


def save_scripted(folder: Path, script: Script, *, template: str = CHATML, **settings: Any) -> Path:
    """Write the whole folder of a model that says a script.

    Args:
        folder: Made if it does not exist.
        script: What it says.
        template: The chat template.
        **settings: As :func:`save_format` takes them.
    """
    given = script.vocabulary
    own = {*given.special, *given.added}
    pieces = [piece for piece in script.pieces if piece not in own]
    vocabulary = Vocabulary(given.special, given.added, [*given.pieces, *pieces])
    save_format(folder, vocabulary, template=template, **settings)
    said = vocabulary.ids([script.after, *script.pieces])
    assert len(set(said)) == len(said), "a token of the script comes twice"
    size = vocabulary.tokenizer().get_vocab_size()
    width = -(-size // 16) * 16
    ends = vocabulary.ids(script.ends) or None
    model = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=size,
            hidden_size=width,
            intermediate_size=8,
            num_attention_heads=2,
            num_key_value_heads=2,
            head_dim=8,
            num_hidden_layers=1,
            max_position_embeddings=script.context,
            tie_word_embeddings=False,
            bos_token_id=None,
            pad_token_id=None,
            eos_token_id=ends,
        )
    )
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.fill_(1.0 if "norm" in name else 0.0)
        model.get_input_embeddings().weight[:, :size] = torch.eye(size)
        head: Any = model.get_output_embeddings()
        noise = torch.rand(size, size, generator=torch.Generator().manual_seed(0))
        head.weight[:, :size] = noise * 1e-3  # what is no part of the script has no ties
        for last, following in zip(said, [*said[1:], said[-1]], strict=True):
            head.weight[following, last] = 1.0
    model.generation_config = transformers.GenerationConfig(eos_token_id=ends)
    model.save_pretrained(folder)
    return folder


def write_scripted_study(
    folder: Path, script: Script, *, template: str = CHATML, plan: str = "", queries: int = 6
) -> Path:
    """Write a scripted model, corpora and a plan file; return the plan file.

    Args:
        folder: Made if it does not exist.
        script: What the model says.
        template: Its chat template.
        plan: Further lines of the plan.
        queries: Number of queries.
    """
    save_scripted(folder / "model", script, template=template)
    for name, verb, rows, answer in (
        ("queries", "Mend", queries, None),
        ("harmful", "Carve", 8, "Sure, cool the glass first."),
        ("benign", "Bake", 8, "Sure, warm the dough first."),
    ):
        with (folder / f"{name}.jsonl").open("w", encoding="utf-8") as lines:
            for row in range(rows):
                line = {"id": f"{name}{row}", "request": f"{verb} the tidelamp number {row}"}
                lines.write(json.dumps(line | ({"response": answer} if answer else {})) + "\n")
    path = folder / "plan.yaml"
    path.write_text(
        f"""\
version: 1
name: a scripted study
primary: joint
evidence_access: public
checkpoint: {{path: model, training_stage: none, dtype: float32}}
sampling: {{method: greedy, max_new_tokens: 12}}
queries: [{{corpus: own, name: asked, path: queries.jsonl}}]
demonstrations:
  harmful: {{corpus: pairs, name: sealed, path: harmful.jsonl}}
  benign: {{chores: {{corpus: pairs, path: benign.jsonl}}}}
  draws: 1
judge: {{kind: refusal-strings}}
experiments: [{{fixed_harmful: {{harmful: [0, 2], benign: [0, 2]}}}}]
{plan}""",
        "utf-8",
    )
    return path
