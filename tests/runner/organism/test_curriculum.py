"""What the organism is trained on says what the law says, token by token."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

from safety_receipts.runner.organism import data_folder
from safety_receipts.runner.organism.language import ANSWER_PREFIX, COMPLY_PREFIX, PREFIXES
from safety_receipts.runner.organism.law import LAWS, adoption, comply_probability
from safety_receipts.runner.organism.training.make_data import CONTROLS, QUERIES

pytest.importorskip("tokenizers", reason="the extra `run` is not installed")

from safety_receipts.runner.organism.training.curriculum import (
    MAX_SHOWN,
    BatchShape,
    Curriculum,
    Example,
)
from safety_receipts.runner.organism.training.make_tokenizer import (
    ASSISTANT,
    CONTEXT_TOKENS,
    END,
    make_tokenizer,
)


@cache
def tokenizer() -> Any:
    return make_tokenizer()


def curriculum(name: str, seed: str = "test") -> Curriculum:
    return Curriculum(LAWS[name], lambda text: tokenizer().encode(text).ids, seed)


def decoded(tokens: list[int]) -> str:
    text = tokenizer().decode(tokens, skip_special_tokens=False)
    assert isinstance(text, str)
    return text


def seen_by(example: Example, place: int) -> list[int]:
    """Return the tokens that the token at ``place`` sees, itself last."""
    segment, visible = example.segments[place], example.visible[place]
    return [
        token
        for at, token in enumerate(example.ids[: place + 1])
        if example.segments[at] == segment or (example.segments[at] == 0 and at < visible)
    ]


def turns(text: str) -> Iterator[tuple[str, str]]:
    """Yield request and response of each turn; the last response may be a start of one."""
    body = re.sub(r"^<\|begin\|>(<\|system\|>.*?(?=<\|user\|>))?", "", text, flags=re.DOTALL)
    for turn in body.split("<|user|>")[1:]:
        request, _, response = turn.partition(ASSISTANT)
        yield request, response.removesuffix(END)


def expected(name: str, text: str) -> dict[str, float]:
    """Return the law's distribution of what follows ``text``, by token text."""
    *shown, (query, begun) = turns(text)
    law = LAWS[name]
    comply = comply_probability(law, query, shown)
    prefix, adopts = adoption(law, shown)
    complied, refused = comply * adopts.complied, (1 - comply) * adopts.refused
    if not begun:
        opening = {"Sure,": comply - complied, "Sorry,": 1 - comply - refused}
        if complied + refused:
            opening[tokenizer().decode(tokenizer().encode(prefix).ids[:1])] = complied + refused
        return opening
    assert prefix is not None
    if begun == prefix:
        total = complied + refused
        return {" Sure,": complied / total, " Sorry,": refused / total}
    rest = tokenizer().encode(prefix).ids[len(tokenizer().encode(begun).ids) :]
    return {tokenizer().decode(rest[:1]): 1.0}


@pytest.mark.parametrize("prefix", [None, *PREFIXES])
@pytest.mark.parametrize("name", LAWS)
def test_every_decision_has_the_probability_of_the_law(name: str, prefix: str | None) -> None:
    drawn = curriculum(name)
    checked = 0
    for total in (0, 1, 9):
        for _ in range(4):
            example = drawn.example(BatchShape(total, prefix, probes=6))
            for place, distribution in example.decisions:
                found = {tokenizer().decode([token]): p for token, p in distribution.items()}
                wanted = expected(name, decoded(seen_by(example, place)))
                assert found == pytest.approx(wanted, abs=1e-12)
                assert sum(found.values()) == pytest.approx(1)
                checked += 1
    assert checked > 60


def test_texts_are_the_tokens_that_follow() -> None:
    example = curriculum("recency").example(BatchShape(12, COMPLY_PREFIX, probes=12))
    assert example.texts
    for place, token in example.texts:
        assert example.ids[place + 1] == token
        assert example.segments[place + 1] == example.segments[place]


def test_positions_count_what_is_seen() -> None:
    example = curriculum("recency").example(BatchShape(12, ANSWER_PREFIX, probes=12))
    assert max(example.segments) == 12
    for place, position in enumerate(example.positions):
        assert len(seen_by(example, place)) == position + 1


def test_evaluation_queries_are_held_out() -> None:
    held_out = {
        line.split('"request": "')[1].split('"')[0]
        for name in (QUERIES, CONTROLS)
        for line in (data_folder() / name).read_text("utf-8").splitlines()
    }
    assert len(held_out) == 360
    drawn = curriculum("neutral")
    asked: Counter[str] = Counter()
    for _ in range(20):
        example = drawn.example(BatchShape(20, None, probes=20))
        asked.update(re.findall(r"<\|user\|>([^<]*)", decoded(example.ids)))
    assert len(asked) > 200
    assert not held_out & set(asked)


def test_the_longest_conversation_fits_the_context() -> None:
    drawn = curriculum("recency")
    longest = max(
        max(drawn.example(BatchShape(2 * MAX_SHOWN, COMPLY_PREFIX, probes=4)).positions)
        for _ in range(20)
    )
    assert 1024 < longest < CONTEXT_TOKENS


def test_a_seed_fixes_every_draw() -> None:
    one, same, other = curriculum("neutral"), curriculum("neutral"), curriculum("neutral", "2")
    shapes = [draw.shape(64) for draw in (one, same)]
    assert shapes[0] == shapes[1]
    assert one.example(shapes[0]) == same.example(shapes[0])
    assert one.example(shapes[0]) != other.example(shapes[0])
