"""Many-shot workloads of random words: what is asked of every engine.

A prompt is ``n`` demonstrations and a query.  All queries of a draw are shown the same
demonstrations, and the first of a longer prompt are all of a shorter one: prompts form a tree.
Standard library only, so that every peer's environment can import it.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

VOCABULARY = 4096
CONTEXT = 16384
"""Longest context of the tiny model."""
PAD, BEGIN, END_OF_TEXT, USER, ASSISTANT, END = range(6)
SPECIAL_TOKENS = ("<pad>", "<s>", "</s>", "<|user|>", "<|assistant|>", "<|end|>")
"""By token id; id i from 6 on is the word ``wi``."""

_QUERY_WORDS = (16, 40)
_QUESTION_SPREAD, _ANSWER_SPREAD = 4, 6


@dataclass(frozen=True, slots=True)
class Shape:
    """What a workload is made of."""

    name: str
    draws: int
    demonstrations: tuple[int, ...]
    """Numbers of demonstrations shown, ascending."""
    words: tuple[int, int]
    """Mean words of a demonstration's question and answer."""
    seed: int
    queries: int = 64
    new_tokens: int = 32
    """Length of every response; there is no end token."""
    vocabulary: int = VOCABULARY


SHAPES = {
    "S": Shape("S", draws=2, demonstrations=(0, 8, 32), words=(18, 38), seed=1),
    "L": Shape("L", draws=1, demonstrations=(0, 32, 128), words=(40, 78), seed=3),
}
WARM_UP = Shape("warm-up", draws=1, demonstrations=(0, 2), words=(18, 38), seed=7, queries=2)


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt."""

    query: int
    draw: int
    shown: int
    """How many demonstrations."""
    tokens: tuple[int, ...]
    prefix: int
    """How many of its tokens every query of this draw and number shares."""
    turns: tuple[str, ...]
    """The same as a conversation: user and assistant by turns, the user last."""


@dataclass(frozen=True, slots=True)
class Workload:
    """Prompts, and what they amount to."""

    shape: Shape
    prompts: tuple[Prompt, ...]

    @property
    def prompt_tokens(self) -> int:
        """Tokens of all prompts."""
        return sum(len(prompt.tokens) for prompt in self.prompts)

    @property
    def unique_tokens(self) -> int:
        """Nodes of the prefix tree of all prompts."""
        return count_unique(prompt.tokens for prompt in self.prompts)

    @property
    def distinct_prompts(self) -> int:
        """Prompts that differ: without demonstrations a query is the same in every draw."""
        return len({prompt.tokens for prompt in self.prompts})

    @property
    def decode_tokens(self) -> int:
        """New tokens that are computed; a response's last one is chosen, not computed."""
        return len(self.prompts) * (self.shape.new_tokens - 1)

    @property
    def lower_bound(self) -> int:
        """Fewest tokens to compute: the prefix tree, and each distinct prompt's response once."""
        return self.unique_tokens + self.distinct_prompts * (self.shape.new_tokens - 1)

    def of_first(self, queries: int) -> Workload:
        """Return the prompts of the first queries."""
        kept = tuple(prompt for prompt in self.prompts if prompt.query < queries)
        return Workload(replace(self.shape, queries=queries), kept)


def build(shape: Shape) -> Workload:
    """Return the workload of a shape; the same one every time.

    Demonstrations and the first queries do not depend on how many queries there are.
    """
    source = random.Random(shape.seed)

    def words(count: int) -> list[int]:
        return [source.randrange(len(SPECIAL_TOKENS), shape.vocabulary) for _ in range(count)]

    question, answer = shape.words
    draws = [
        [
            (
                words(question + source.randint(-_QUESTION_SPREAD, _QUESTION_SPREAD)),
                words(answer + source.randint(-_ANSWER_SPREAD, _ANSWER_SPREAD)),
            )
            for _ in range(max(shape.demonstrations))
        ]
        for _ in range(shape.draws)
    ]
    queries = [words(source.randint(*_QUERY_WORDS)) for _ in range(shape.queries)]
    prompts = []
    for draw, pairs in enumerate(draws):
        for shown in shape.demonstrations:
            prefix = [BEGIN]
            turns: list[str] = []
            for asked, answered in pairs[:shown]:
                prefix += [USER, *asked, END, ASSISTANT, *answered, END]
                turns += [text_of(asked), text_of(answered)]
            for number, query in enumerate(queries):
                tokens = (*prefix, USER, *query, END, ASSISTANT)
                said = (*turns, text_of(query))
                prompts.append(Prompt(number, draw, shown, tokens, len(prefix), said))
    return Workload(shape, tuple(prompts))


def text_of(tokens: Iterable[int]) -> str:
    """Return words and special tokens as the tokenizer's text: one blank between two."""
    special = dict(enumerate(SPECIAL_TOKENS))
    return " ".join(special.get(token, f"w{token}") for token in tokens)


def tokens_of(text: str) -> tuple[int, ...]:
    """Return the token ids of such a text.

    Raises:
        ValueError: A word is none of the vocabulary's.
    """
    special = {name: token for token, name in enumerate(SPECIAL_TOKENS)}
    return tuple(
        special[word] if word in special else int(word.removeprefix("w")) for word in text.split()
    )


def count_unique(sequences: Iterable[tuple[int, ...]]) -> int:
    """Return the number of nodes of the prefix tree of token sequences."""
    nodes: dict[tuple[int, int], int] = {}
    for tokens in sequences:
        node = -1
        for token in tokens:
            node = nodes.setdefault((node, token), len(nodes))
    return len(nodes)


def write(workload: Workload, path: Path) -> None:
    """Write a workload for a worker to read."""
    path.write_text(json.dumps(asdict(workload)), "utf-8")


def read(path: Path) -> Workload:
    """Return what :func:`write` has written."""
    raw = json.loads(path.read_text("utf-8"))
    shape = raw["shape"]
    for name in ("demonstrations", "words"):
        shape[name] = tuple(shape[name])
    prompts = [
        Prompt(**{**prompt, "tokens": tuple(prompt["tokens"]), "turns": tuple(prompt["turns"])})
        for prompt in raw["prompts"]
    ]
    return Workload(Shape(**shape), tuple(prompts))
