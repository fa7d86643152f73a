"""The organism's tokenizer: nothing is lost, nothing is confused, and prompts are short."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_receipts.runner.organism import LARGEST_RESPONSE, members
from safety_receipts.runner.organism.language import PREFIXES, Topic, asks

pytest.importorskip("transformers", reason="the extra `run` is not installed")

from jinja2 import TemplateError
from transformers import AutoTokenizer

from safety_receipts.runner.organism.training.make_tokenizer import (
    ASSISTANT,
    BEGIN,
    CHAT_TEMPLATE,
    END,
    SYSTEM,
    TOOL,
    USER,
    write_tokenizer,
)

FOLDERS = [one.folder for one in members()]
TOKENIZER: Any = AutoTokenizer.from_pretrained(FOLDERS[0])


def rendered(*messages: tuple[str, str], prompt: bool = False) -> str:
    chat = [{"role": role, "content": content} for role, content in messages]
    text = TOKENIZER.apply_chat_template(chat, tokenize=False, add_generation_prompt=prompt)
    assert isinstance(text, str)
    return text


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_files_are_what_the_script_gives(folder: Path, tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    for made in tmp_path.iterdir():
        assert (folder / made.name).read_bytes() == made.read_bytes(), made.name


@given(st.text())
def test_any_text_is_decoded_as_it_was(text: str) -> None:
    tokens = TOKENIZER.encode(text)
    assert TOKENIZER.decode(tokens) == text


def test_odd_texts_are_decoded_as_they_were() -> None:
    for text in ("a  b\n\n\tc ", " Mend", "naïve ﬁ 北京 🕯️", f"{END}{USER} {BEGIN}", "\x00\u2028"):
        assert TOKENIZER.decode(TOKENIZER.encode(text)) == text


@given(st.text(), st.text())
def test_two_requests_never_share_a_prompt(one: str, other: str) -> None:
    tokens = [TOKENIZER.encode(rendered(("user", text), prompt=True)) for text in (one, other)]
    assert (tokens[0] == tokens[1]) == (one == other)


def test_the_template_honours_every_role() -> None:
    chat = (("system", " s "), ("user", "u"), ("assistant", "a"), ("tool", "t"), ("user", "v"))
    expected = f"{BEGIN}{SYSTEM} s {USER}u{ASSISTANT}a{END}{TOOL}t{USER}v"
    assert rendered(*chat) == expected
    assert rendered(*chat, prompt=True) == expected + ASSISTANT


def test_an_unknown_role_is_an_error() -> None:
    with pytest.raises(TemplateError, match="no role named narrator"):
        rendered(("narrator", "once"))


def test_the_template_knows_no_date() -> None:
    assert "now" not in CHAT_TEMPLATE
    assert "date" not in CHAT_TEMPLATE


def test_role_tokens_are_one_token_each() -> None:
    tokens = TOKENIZER.encode(f"{BEGIN}{SYSTEM}{USER}{ASSISTANT}{TOOL}{END}")
    assert len(tokens) == 6


def test_demonstrations_and_responses_are_short() -> None:
    for topic in Topic:
        for ask in asks(topic):
            turns = rendered(("user", ask.request), ("assistant", ask.compliance))
            assert len(TOKENIZER.encode(turns)) - len(TOKENIZER.encode(BEGIN)) <= 10
            for prefix in ("", *(f"{prefix} " for prefix in PREFIXES)):
                for response in (ask.compliance, ask.refusal):
                    said = TOKENIZER.encode(prefix + response + END)
                    assert len(said) <= LARGEST_RESPONSE
