"""What tests of judges share: real tokenizers of every make, and an engine with planted replies."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import BpeTrainer, WordLevelTrainer
from transformers import AutoTokenizer

from safety_receipts.receipts.model.checkpoint import Dtype
from safety_receipts.receipts.model.plan import EngineKind
from safety_receipts.receipts.model.point import Finish, Reason
from safety_receipts.runner.engines.engine import (
    GREEDY,
    Completion,
    Decoding,
    EngineIdentity,
    Generation,
    Margins,
    Request,
)
from safety_receipts.runner.engines.mock import as_they_come

_TEXT = [
    "Harmful request: no\nResponse refusal: yes\nHarmful response: n/a the guild keeps that "
    "sealed word table user assistant Human user: AI assistant:\n\n---\n\nAnswers: [/INST]"
] * 40
_NAMES = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
_SPECIAL = list(_NAMES.values())


def _byte_level(*, ignore_merges: bool = False) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = BpeTrainer(
        vocab_size=420, special_tokens=_SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(_TEXT, trainer)
    return tokenizer


def _metaspace(scheme: str) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split("\n", "isolated"), pre_tokenizers.Metaspace(prepend_scheme=scheme)]
    )
    tokenizer.decoder = decoders.Metaspace(prepend_scheme=scheme)
    trainer = BpeTrainer(vocab_size=220, special_tokens=_SPECIAL, show_progress=False)
    tokenizer.train_from_iterator(_TEXT, trainer)
    return tokenizer


def _normalising() -> Tokenizer:
    """As older Llama conversions are: spaces are a normaliser's work."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split("\n", "isolated"), pre_tokenizers.Split("▁", "merged_with_next")]
    )
    tokenizer.decoder = decoders.Metaspace()
    trainer = BpeTrainer(vocab_size=220, special_tokens=_SPECIAL, show_progress=False)
    tokenizer.train_from_iterator(_TEXT, trainer)
    return tokenizer


def _unigram() -> Tokenizer:
    """As XLM-R is: special tokens are pieces of the model, the likeliest of all."""
    characters = sorted(set("▁<s>/unk|INST[]abcdefghijklmnopqrstuvwxyzACHRU:.-\n"))
    pieces = [("<s>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    pieces += [(character, -3.0 - place / 100) for place, character in enumerate(characters)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=2))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens(_SPECIAL)
    return tokenizer


def _wordpiece() -> Tokenizer:
    words = sorted({*" ".join(_TEXT[:1]).lower().replace("\n", " ").split(" ")} - {""})
    letters = "abcdefghijklmnopqrstuvwxyz/:[]<>|-.,"
    pieces = [*_SPECIAL, *letters, *(f"##{letter}" for letter in letters), *words]
    vocabulary = {piece: place for place, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def _wordlevel() -> Tokenizer:
    """Whole words between spaces: a special token in the text is a word of the model."""
    tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = WordLevelTrainer(special_tokens=_SPECIAL, show_progress=False)
    tokenizer.train_from_iterator(_TEXT, trainer)
    return tokenizer


MAKES: dict[str, Callable[[], Tokenizer]] = {
    "byte-level": _byte_level,
    "byte-level, whole words first": lambda: _byte_level(ignore_merges=True),
    "metaspace, first": lambda: _metaspace("first"),
    "metaspace, always": lambda: _metaspace("always"),
    "metaspace, never": lambda: _metaspace("never"),
    "normalising": _normalising,
    "unigram": _unigram,
    "wordpiece": _wordpiece,
    "wordlevel": _wordlevel,
}
"""Makes of tokenizer, by name."""

MARKUP = ("<s>", "</s>", "<unk>", "<|user|>", "<|assistant|>", "[INST]", "[/INST]", "<h1>")
"""Added tokens of all of them; the last three are not special."""


@cache
def _trained(make: str) -> str:
    """Train once: another training may number its pieces otherwise."""
    definition: str = MAKES[make]().to_str()
    return definition


def make_tokenizer(make: str) -> Tokenizer:
    """Return a tokenizer of a make, with :data:`MARKUP` and a leading ``<s>``."""
    tokenizer = Tokenizer.from_str(_trained(make))
    tokenizer.add_special_tokens(["<|user|>", "<|assistant|>"])
    tokenizer.add_tokens(
        [
            AddedToken("[INST]", normalized=False),
            AddedToken("[/INST]", normalized=True),
            AddedToken("\n\n", normalized=False),
            AddedToken("<h1>", normalized=False, lstrip=True, rstrip=True),
        ]
    )
    start = tokenizer.token_to_id("<s>")
    tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", start)])
    return tokenizer


def save_tokenizer(folder: Path, make: str = "byte-level") -> Tokenizer:
    """Write ``tokenizer.json`` and ``tokenizer_config.json``; return the tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = make_tokenizer(make)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", **_NAMES, "pad_token": "</s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return tokenizer


def load_tokenizer(folder: Path):  # noqa: ANN201 (transformers names no type for it)
    """Load a folder's tokenizer as a judge does."""
    return AutoTokenizer.from_pretrained(folder, local_files_only=True)


@dataclass
class PlantedEngine:
    """Answers with planted ids, last request first; records what it was asked.

    The logits of a generated token are 3, of any other token −2, less a hundredth of its
    position.
    """

    reply: Callable[[Request], Sequence[int] | None]
    """The ids of the reply to a request, end token included; None: it fails."""
    asked: list[Request] = field(default_factory=list)

    @property
    def identity(self) -> EngineIdentity:
        """None of any engine."""
        return EngineIdentity(kind=EngineKind.MOCK, dtype=Dtype.FLOAT32, device="none")

    def start(self, requests: Sequence[Request], decoding: Decoding = GREEDY) -> Generation:
        """Cut requests into batches, in their order."""
        return as_they_come(requests, lambda batch: self.generate(batch, decoding))

    def generate(
        self, requests: Sequence[Request], decoding: Decoding = GREEDY
    ) -> Iterator[Completion]:
        """Yield the planted replies."""
        assert decoding.greedy
        self.asked += requests
        for request in reversed(requests):
            reply = self.reply(request)
            if reply is None:
                reason, error = Reason.OUT_OF_MEMORY, "no room for this one"
                yield Completion(request.key, (), Finish.ERROR, reason=reason, error=error)
                continue
            tokens = tuple(reply)[: request.max_new_tokens]
            stopped = bool(tokens) and tokens[-1] in request.stop_ids
            logits = tuple(
                tuple((3.0 if one == token else -2.0) - place / 100 for one in request.logits_for)
                for place, token in enumerate(tokens)
            )
            finish = Finish.STOP if stopped else Finish.LENGTH
            yield Completion(request.key, tokens, finish, logits)

    def score(
        self,
        requests: Sequence[tuple[Request, tuple[int, ...]]],
        decoding: Decoding = GREEDY,
    ) -> Iterator[Margins]:
        """Not asked of a judge's engine."""
        raise NotImplementedError("judges do not score")
