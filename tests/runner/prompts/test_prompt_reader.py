"""Texts that begin alike are read on from where they part, to the very same ids."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from chat_formats import FAMILIES, save_chat_format
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from safety_receipts.runner.prompts.chat_format import ChatFormat
from safety_receipts.runner.prompts.prompt_reader import PromptReader, TokenisedText, cuttable
from safety_receipts.runner.templates.messages import Message, Role

DATE = "2026-01-01"
WORDS = ("boil", " tea", "\n", "é", "🫖", "  two", "a")


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_chat_format(tmp_path_factory.mktemp("format") / request.param, request.param)


def encoder(tokenizer: Any, read: list[str]) -> Any:
    def encode(text: str) -> tuple[list[int], list[tuple[int, int]]]:
        read.append(text)
        found = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        return found["input_ids"], found["offset_mapping"]

    return encode


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_texts_give_the_ids_of_reading_them_whole(folder: Path, data: st.DataObject) -> None:
    """Control tokens anywhere, also cut in two by where texts part."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    control = {id_: token.content for id_, token in tokenizer.added_tokens_decoder.items()}
    cuts = cuttable(tokenizer.added_tokens_decoder, control)
    assert cuts
    pieces = st.sampled_from([*WORDS, *control.values(), "<|", "|>"])
    common = data.draw(st.lists(pieces, max_size=8))
    reader = PromptReader(encoder(tokenizer, []), control, cuts)
    for rest in data.draw(st.lists(st.lists(pieces, max_size=6), min_size=2, max_size=6)):
        text = "".join([*common[: data.draw(st.integers(0, len(common)))], *rest])
        fresh = PromptReader(encoder(tokenizer, []), control, {}).read(text)
        assert reader.read(text) == fresh


def test_only_what_is_new_is_read(folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    chat = ChatFormat.load(folder)
    shown = [Message(role, f"{role.value} {i}") for i in range(40) for role in TURNS]
    texts = [chat.render([*shown, Message(Role.USER, f"query {i}")], date=DATE) for i in range(5)]
    read: list[str] = []
    control = {id_: token.content for id_, token in tokenizer.added_tokens_decoder.items()}
    reader = PromptReader(
        encoder(tokenizer, read), control, cuttable(tokenizer.added_tokens_decoder, control)
    )
    for text in texts:
        reader.read(text)
    # The second one twice: the first time that a token serves as a cut is checked.
    assert read[0] == texts[0]
    assert texts[1] in read
    assert all(len(text) < len(texts[0]) / 10 for text in read[3:])


TURNS = (Role.USER, Role.ASSISTANT)


def test_a_tokenizer_that_minds_what_came_before_is_read_whole() -> None:
    """Each token's id depends on how much stands before it: no cut is sound."""

    def encode(text: str) -> tuple[list[int], list[tuple[int, int]]]:
        ids = [7 if one == "|" else 100 + i for i, one in enumerate(text)]
        return ids, [(i, i + 1) for i in range(len(text))]

    reader = PromptReader(encode, {7: "|"}, {7: "|"})
    for text in ("ab|cd", "ab|ef", "ab|gh"):
        assert reader.read(text) == TokenisedText(text, *_whole(encode, text))


def _whole(encode: Any, text: str) -> tuple[Any, Any]:
    reading = PromptReader(encode, {7: "|"}, {}).read(text)
    return reading.ids, reading.marks


@pytest.mark.parametrize("flag", ["lstrip", "single_word", "normalized"])
def test_tokens_that_touch_what_stands_before_them_are_no_cuts(flag: str) -> None:
    from tokenizers import AddedToken

    added = {1: AddedToken("<a>", special=True), 2: AddedToken("<b>", **{flag: True})}
    assert cuttable(added, {1: "<a>", 2: "<b>"}) == {1: "<a>"}


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
