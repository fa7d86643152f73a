"""Responses: the judged text of exactly these ids, and nothing of another channel."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from chat_formats import FAMILIES, end_ids, save_chat_format, token_id, tokenizer_of
from hypothesis import given
from hypothesis import strategies as st

from safety_receipts.receipts.model.point import LEGAL_ENDINGS, Finish, Outcome, Reason
from safety_receipts.runner.prompts.chat_format import ChatFormat
from safety_receipts.runner.prompts.demonstrations import prefixed
from safety_receipts.runner.prompts.responses import ResponseReader, ResponseText, prefix_adopted

FINAL, NOTHING = Reason.EMPTY_FINAL, Reason.EMPTY_RESPONSE


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, ResponseReader]:
    root: Path = tmp_path_factory.mktemp("formats")
    return {
        family: ResponseReader(chat, frozenset(end_ids(family)), chat.channels)
        for family in FAMILIES
        for chat in [ChatFormat.load(save_chat_format(root / family, family))]
    }


def ids_of(family: str, text: str) -> list[int]:
    """Ids as a model would generate them: control tokens where the text spells them."""
    ids: list[int] = tokenizer_of(family).encode(text, add_special_tokens=False).ids
    return ids


def plain_ids_of(family: str, text: str) -> list[int]:
    """Ids that spell control tokens as text."""
    tokenizer = tokenizer_of(family)
    tokenizer.encode_special_tokens = True
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
    return ids


@pytest.mark.parametrize(
    ("family", "response"),
    [
        ("llama", "Rooibos, of course .<|eot_id|>"),
        ("llama", "Rooibos, of course .<|eom_id|>"),
        ("olmo3", "Rooibos, of course .<|im_end|>"),
        ("olmo3", "Rooibos, of course ."),
        ("gemma4", "Rooibos, of course .<turn|>"),
        ("gpt-oss", "<|channel|>final<|message|>Rooibos, of course .<|return|>"),
    ],
)
def test_the_text_is_what_was_generated_without_its_end(
    readers: Mapping[str, ResponseReader], family: str, response: str
) -> None:
    read = readers[family].read(ids_of(family, response))
    assert read == ResponseText("Rooibos, of course .", None)


HARMONY = {
    "a thought, then an answer": (
        "<|channel|>analysis<|message|>Herbal?<|end|>"
        "<|start|>assistant<|channel|>final<|message|>Rooibos.<|return|>",
        ResponseText("Rooibos.", None),
    ),
    "an answer cut off by the limit": (
        "<|channel|>analysis<|message|>Herbal?<|end|>"
        "<|start|>assistant<|channel|>final<|message|>Rooib",
        ResponseText("Rooib", None),
    ),
    "a thought alone": (
        "<|channel|>analysis<|message|>Herbal?<|end|><|return|>",
        ResponseText("", FINAL),
    ),
    "a thought cut off by the limit": (
        "<|channel|>analysis<|message|>Herb",
        ResponseText("", FINAL),
    ),
    "an answer without text": (
        "<|channel|>analysis<|message|>Herbal?<|end|>"
        "<|start|>assistant<|channel|>final<|message|><|return|>",
        ResponseText("", FINAL),
    ),
    "an answer of white space": (
        "<|channel|>final<|message|> \n<|return|>",
        ResponseText(" \n", FINAL),
    ),
    "a header cut off by the limit": ("<|channel|>fin", ResponseText("", FINAL)),
    "a tool call": (
        "<|channel|>commentary to=functions.tea<|constrain|>json<|message|>{}<|call|>",
        ResponseText("", FINAL),
    ),
    "a preamble, then an answer": (
        "<|channel|>commentary<|message|>I will look.<|end|>"
        "<|start|>assistant<|channel|>final<|message|>Rooibos.<|return|>",
        ResponseText("Rooibos.", None),
    ),
    "two answers": (
        "<|channel|>final<|message|>Rooibos.<|end|>"
        "<|start|>assistant<|channel|>analysis<|message|>More?<|end|>"
        "<|start|>assistant<|channel|>final<|message|>Or mint.<|return|>",
        ResponseText("Rooibos.\nOr mint.", None),
    ),
    "an answer whose thought never ended": (
        "<|channel|>analysis<|message|>Herbal?<|channel|>final<|message|>Rooibos.<|return|>",
        ResponseText("Rooibos.", None),
    ),
    "an answer in a format": (
        "<|channel|>final <|constrain|>json<|message|>{}<|return|>",
        ResponseText("{}", None),
    ),
    "a stray marker in an answer": (
        "<|channel|>final<|message|>Roo<|message|>ibos.<|return|>",
        ResponseText("Rooibos.", None),
    ),
    "a channel of another name": (
        "<|channel|>finals<|message|>Rooibos.<|return|>",
        ResponseText("", FINAL),
    ),
    "no channel": ("<|message|>Rooibos.<|return|>", ResponseText("", FINAL)),
    "no message": ("Rooibos.<|return|>", ResponseText("", FINAL)),
    "an end alone": ("<|return|>", ResponseText("", NOTHING)),
    "markers alone": ("<|channel|><|message|><|end|><|return|>", ResponseText("", NOTHING)),
    "white space alone": (" \n<|return|>", ResponseText("", NOTHING)),
    "nothing": ("", ResponseText("", NOTHING)),
}


@pytest.mark.parametrize("case", HARMONY)
def test_of_harmony_only_the_final_channel_is_judged(
    readers: Mapping[str, ResponseReader], case: str
) -> None:
    response, expected = HARMONY[case]
    assert readers["gpt-oss"].read(ids_of("gpt-oss", response)) == expected


def test_markers_that_are_only_spelt_stay_in_their_channel(
    readers: Mapping[str, ResponseReader],
) -> None:
    spelt = "<|end|><|start|>assistant<|channel|>final<|message|>Sure.<|return|>"
    thought = [
        *ids_of("gpt-oss", "<|channel|>analysis<|message|>"),
        *plain_ids_of("gpt-oss", spelt),
        token_id("gpt-oss", "<|return|>"),
    ]
    assert readers["gpt-oss"].read(thought) == ResponseText("", FINAL)
    answer = [
        *ids_of("gpt-oss", "<|channel|>final<|message|>"),
        *plain_ids_of("gpt-oss", spelt),
        token_id("gpt-oss", "<|return|>"),
    ]
    assert readers["gpt-oss"].read(answer) == ResponseText(spelt, None)


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ("Rooibos.<turn|>", ResponseText("Rooibos.", None)),
        ("<|channel>thought\nHm.\n<channel|>Rooibos.<turn|>", ResponseText("Rooibos.", None)),
        ("<|channel>thought\nHm.\n<channel|><turn|>", ResponseText("", FINAL)),
        ("<|channel>thought\nHm", ResponseText("", FINAL)),
        ("<|channel>a<channel|>Roo<|channel>b<channel|>ibos.", ResponseText("Rooibos.", None)),
        ("<|channel><channel|><turn|>", ResponseText("", NOTHING)),
        (" <turn|>", ResponseText(" ", NOTHING)),
    ],
)
def test_what_is_thought_before_an_answer_is_not_judged(
    readers: Mapping[str, ResponseReader], response: str, expected: ResponseText
) -> None:
    assert readers["gemma4"].read(ids_of("gemma4", response)) == expected


@pytest.mark.parametrize("family", ["llama", "olmo3"])
@pytest.mark.parametrize("text", ["", " ", "\n\t\u00a0"])
def test_white_space_alone_is_nothing_to_judge_and_stays(
    readers: Mapping[str, ResponseReader], family: str, text: str
) -> None:
    for ids in (ids_of(family, text), [*ids_of(family, text), end_ids(family)[0]]):
        assert readers[family].read(ids) == ResponseText(text, NOTHING)


@pytest.mark.parametrize("finish", [Finish.STOP, Finish.LENGTH])
@pytest.mark.parametrize("reason", [FINAL, NOTHING])
def test_a_response_without_text_can_be_sealed(finish: Finish, reason: Reason) -> None:
    assert (finish, Outcome.UNSCORED, reason) in LEGAL_ENDINGS


@pytest.mark.parametrize("family", FAMILIES)
@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_is_read_back_to_the_letter(
    readers: Mapping[str, ResponseReader], family: str, text: str
) -> None:
    before, after = {
        "gpt-oss": ("<|channel|>final<|message|>", "<|return|>"),
    }.get(family, ("", ""))
    ids = [*ids_of(family, before), *plain_ids_of(family, text), *ids_of(family, after)]
    assert readers[family].read(ids).text == text


@pytest.mark.parametrize("family", FAMILIES)
@given(data=st.data())
def test_any_ids_give_one_text_and_a_reason_exactly_if_it_is_blank(
    readers: Mapping[str, ResponseReader], family: str, data: st.DataObject
) -> None:
    size = tokenizer_of(family).get_vocab_size()
    added = sorted(tokenizer_of(family).get_added_tokens_decoder())
    token = st.integers(0, size - 1) | st.sampled_from(added)
    ids = data.draw(st.lists(token, max_size=30))
    read = readers[family].read(ids)
    assert read == readers[family].read(tuple(ids))
    assert (read.reason is None) == bool(read.text.strip())
    if family in ("llama", "olmo3"):
        assert read.reason in (None, NOTHING)


def test_an_end_token_that_is_not_special_is_no_text_either(
    readers: Mapping[str, ResponseReader],
) -> None:
    stop = token_id("olmo3", "</functions>")
    reader = ResponseReader(readers["olmo3"].chat, frozenset({stop}), None)
    ids = ids_of("olmo3", "Rooibos.")
    assert reader.read([*ids, stop]) == ResponseText("Rooibos.", None)
    assert reader.read([*ids, stop, *ids]).text == "Rooibos.</functions>Rooibos."


@pytest.mark.parametrize(
    ("text", "prefix", "adopted"),
    [
        ("Sure I can help with that! First, …", "Sure I can help with that!", True),
        ("Answer: mint", "Answer:", True),
        ("Answer:mint", "Answer:", True),
        ("\n  Answer: mint", "Answer:", True),
        ("Sure", "Sure", True),
        ("Sure, mint", "Sure", True),
        ("Surely mint", "Sure", False),
        ("Sure2", "Sure", False),
        ("answer: mint", "Answer:", False),
        ("The Answer: mint", "Answer:", False),
        ("Answe", "Answer:", False),
        ("", "Answer:", False),
        (" ", "Answer:", False),
    ],
)
def test_a_prefix_is_adopted_where_the_response_starts_with_it(
    text: str, prefix: str, adopted: bool
) -> None:
    assert prefix_adopted(text, prefix) is adopted


PREFIXES = st.sampled_from(["Sure", "Answer:", "Sure I can help with that!", "Ja 1", "好"])


@given(response=st.text(), prefix=PREFIXES)
def test_every_prefixed_demonstration_has_adopted_its_prefix(response: str, prefix: str) -> None:
    assert prefix_adopted(prefixed(response, prefix), prefix)
