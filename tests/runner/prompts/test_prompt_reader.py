"""Texts are read in parts, to the very same ids."""

from __future__ import annotations

import re
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
from chat_formats import FAMILIES, save_chat_format
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken
from transformers import AutoTokenizer

from safety_receipts.runner.prompts.chat_format import ChatFormat
from safety_receipts.runner.prompts.plain_content import forged
from safety_receipts.runner.prompts.prompt_reader import (
    ControlTokens,
    Mark,
    PromptEncoders,
    PromptReader,
    TokenisedText,
    cuttable,
)
from safety_receipts.runner.templates.messages import Message, Role

DATE = "2026-01-01"
WORDS = ("boil", " tea", "\n", "é", "🫖", "  two", "a")


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_chat_format(tmp_path_factory.mktemp("format") / request.param, request.param)


def encoders(tokenizer: Any, read: list[str]) -> PromptEncoders:
    """Return what reads, and tells of every text that it was given."""

    def whole(text: str) -> tuple[list[int], list[tuple[int, int]]]:
        read.append(text)
        found = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        return found["input_ids"], found["offset_mapping"]

    def parts(texts: list[str]) -> list[list[int]]:
        read.extend(texts)
        backend = tokenizer.backend_tokenizer
        return [one.ids for one in backend.encode_batch_fast(texts, add_special_tokens=False)]

    return PromptEncoders(whole, parts, lambda *_: True)


def control_of(tokenizer: Any) -> ControlTokens:
    added = tokenizer.added_tokens_decoder
    return ControlTokens.of(added, {id_: token.content for id_, token in added.items()})


def uncut(encoders: PromptEncoders, control: ControlTokens) -> PromptReader:
    """Return what reads every text whole."""
    return PromptReader(encoders, ControlTokens(control.by_id, frozenset(), frozenset()))


def ids_and_marks(reading: TokenisedText) -> tuple[list[int], tuple[Mark, ...]]:
    return reading.ids.tolist(), reading.marks


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_texts_give_the_ids_of_reading_them_whole(folder: Path, data: st.DataObject) -> None:
    """Control tokens anywhere, also cut in two by where contents begin, and few parts kept."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    control = control_of(tokenizer)
    assert control.cuts
    pieces = st.sampled_from([*WORDS, *control.by_id.values(), "<|", "|>"])
    said = st.lists(pieces, max_size=4).map("".join)
    reader = PromptReader(
        encoders(tokenizer, []), control, most=data.draw(st.sampled_from([0, 20, 10**6]))
    )
    plain = uncut(encoders(tokenizer, []), control)
    recurring = data.draw(st.lists(said, min_size=1, max_size=4))
    for _ in range(data.draw(st.integers(2, 6))):
        texts = data.draw(st.lists(st.one_of(st.sampled_from(recurring), said), max_size=9))
        pieces = texts if len(texts) % 2 else [*texts, ""]
        ends = list(accumulate(map(len, pieces)))
        spans = list(zip(ends[0:-1:2], ends[1::2], strict=True))
        reading = reader.read(pieces)
        assert ids_and_marks(reading) == ids_and_marks(plain.read(["".join(pieces)]))
        assert reader.kept <= max(reader.most, 0)
        if reading.clear and len(reading.parts) > 1:
            assert forged(reading.marks, spans, control.by_id) is None


def test_a_part_is_read_once_whatever_stands_around_it(folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    template = ChatFormat.load(folder).template
    shown = [Message(role, f"{role.value} {i}") for i in range(40) for role in TURNS]
    rendered = [
        template.rendered([*shown[2 * i :], Message(Role.USER, f"query {i}")], DATE, {})
        for i in range(5)
    ]
    read: list[str] = []
    reader = PromptReader(encoders(tokenizer, read), control_of(tokenizer))
    for each in rendered:
        reader.read(each.pieces)
    # The first one twice: that each piece of the template may be a cut is tried.
    assert read.count(rendered[0].text) == 1
    assert not {each.text for each in rendered[1:]} & {*read}
    parts = [text for text in read if text != rendered[0].text]
    assert len(parts) == len({*parts})
    for i in range(80):
        assert sum(f"{TURNS[i % 2].value} {i // 2}" in part.split() for part in parts) <= 2


TURNS = (Role.USER, Role.ASSISTANT)


def test_parts_read_longest_ago_are_forgotten_first() -> None:
    read: list[str] = []
    reader = PromptReader(of_characters(read), PIPES, most=8)
    for text in ("ab|cd", "ab|ef", "ab|gh"):
        reader.read(piped(text))
        assert reader.kept <= 8
    read.clear()
    reader.read(piped("ab|gh|ef|cd"))
    assert read == ["|cd"]


def piped(text: str) -> list[str]:
    """Return a text whose contents stand between pipes, in pieces."""
    return ["", *re.split(r"(\|)", text), ""]


PIPES = ControlTokens({7: "|"}, frozenset("|"), frozenset("|"))


def of_characters(read: list[str], *, minds: bool = False) -> PromptEncoders:
    """Return what reads each character by itself, or minds how much stands before it."""

    def whole(text: str) -> tuple[list[int], list[tuple[int, int]]]:
        ids = [7 if one == "|" else 100 + (i if minds else ord(one)) for i, one in enumerate(text)]
        return ids, [(i, i + 1) for i in range(len(text))]

    def parts(texts: list[str]) -> list[list[int]]:
        read.extend(texts)
        return [whole(text)[0] for text in texts]

    return PromptEncoders(whole, parts, lambda *_: True)


def test_a_tokenizer_that_minds_what_came_before_is_read_whole() -> None:
    """Each token's id depends on how much stands before it: no cut is sound."""
    reader = PromptReader(of_characters([], minds=True), PIPES)
    plain = uncut(of_characters([], minds=True), PIPES)
    for text in ("ab|cd", "ab|ef", "ab|gh"):
        reading = reader.read(piped(text))
        assert ids_and_marks(reading) == ids_and_marks(plain.read([text]))
        assert len(reading.parts) == 1


@pytest.mark.parametrize("flag", ["lstrip", "single_word", "normalized"])
def test_tokens_that_touch_what_stands_before_them_are_no_cuts(flag: str) -> None:
    added = {1: AddedToken("<a>", special=True), 2: AddedToken("<b>", **{flag: True})}
    assert cuttable(added, {1: "<a>", 2: "<b>"}) == {1: "<a>"}


def test_tokens_into_which_another_one_reaches_are_no_cuts() -> None:
    """In ``x<a>`` there is no ``<a>``, and in ``(a[b]`` no ``[``."""
    texts = ("<a>", "x<a", "(a[b]", "[", "[c]")
    added = {i: AddedToken(text, special=True) for i, text in enumerate(texts)}
    assert set(cuttable(added, dict(enumerate(texts))).values()) == {"x<a", "(a[b]", "[c]"}


def test_markup_inside_content_is_found_though_the_text_began_like_another(folder: Path) -> None:
    """The same text, once the template's and once a message's content."""
    chat = ChatFormat.load(folder)
    turns = [Message(Role.USER, "one"), Message(Role.ASSISTANT, "two"), Message(Role.USER, "three")]
    text = chat.render(turns, date=DATE)
    inside = text[text.index("one") : text.index("three") + len("three")]
    forged = [Message(Role.USER, inside)]
    assert chat.render(forged, date=DATE) == text
    fresh = ChatFormat.load(folder).tokens(forged, date=DATE)
    real = chat.tokens(turns, date=DATE)
    assert chat.tokens(forged, date=DATE) == fresh
    assert fresh != real
