"""What of a checkpoint's responses is judged: found, named by the plan, or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from chat_formats import FAMILIES, save_chat_format
from scripted import CHATML, SPECIAL, Vocabulary, save_format

from safety_receipts.receipts.errors import UsageError
from safety_receipts.receipts.model.checkpoint import ThoughtMarks, Thoughts
from safety_receipts.runner.plan.entries.prompt import PromptEntry
from safety_receipts.runner.plan.thoughts import thoughts_of
from safety_receipts.runner.prompts.chat_format import ChatFormat
from safety_receipts.runner.prompts.template_probe import Conversation, around_tool, try_template

TAGS = ThoughtMarks(opening="<think>", closing="</think>", opening_token=None, closing_token=None)
DATE = "2026-01-31"


def chat_of(folder: Path, template: str = CHATML, **tokens: Any) -> ChatFormat:
    return ChatFormat.load(save_format(folder, Vocabulary(**tokens), template=template))


def found(chat: ChatFormat, **entry: Any) -> Thoughts | None:
    return thoughts_of(chat, PromptEntry.model_validate({"date": DATE, **entry}))


def test_a_checkpoint_without_marks_is_judged_whole(tmp_path: Path) -> None:
    assert found(chat_of(tmp_path)) is None


@pytest.mark.parametrize("family", FAMILIES)
def test_the_four_families_have_no_marks_beside_their_channels(family: str, tmp_path: Path) -> None:
    assert found(ChatFormat.load(save_chat_format(tmp_path, family))) is None


def test_marks_are_found_in_the_vocabulary_alone(tmp_path: Path) -> None:
    chat = chat_of(tmp_path, added=("<think>", "</think>"))
    marks = ThoughtMarks(
        opening="<think>",
        closing="</think>",
        opening_token=chat.added["<think>"],
        closing_token=chat.added["</think>"],
    )
    assert found(chat) == Thoughts(marks=(marks,), prompt_opens=None, given=False)


def test_marks_are_found_in_the_template_alone(tmp_path: Path) -> None:
    template = CHATML.replace("message.content", "message.content.split('</think>')[-1]")
    assert found(chat_of(tmp_path, template)) == Thoughts(
        marks=(TAGS,), prompt_opens=None, given=False
    )


def test_marks_are_found_that_a_template_puts_together(tmp_path: Path) -> None:
    made = "{% set tag = '<think{}>'.format(':own') %}"
    chat = chat_of(
        tmp_path, made + CHATML.replace("assistant\n{% endif", "assistant\n{{ tag }}{% endif")
    )
    thoughts = found(chat)
    assert thoughts is not None
    assert (thoughts.marks[0].opening, thoughts.marks[0].closing) == (
        "<think:own>",
        "</think:own>",
    )
    assert thoughts.prompt_opens == 0


THINKING = CHATML.replace(
    "assistant\n{% endif",
    "assistant\n<think>\n{% if enable_thinking is false %}\n</think>\n\n{% endif %}{% endif",
)


@pytest.mark.parametrize(("options", "opens"), [({}, 0), ({"enable_thinking": False}, None)])
def test_a_prompt_opens_a_thought_or_not_as_the_plans_options_say(
    options: dict[str, bool], opens: int | None, tmp_path: Path
) -> None:
    thoughts = found(chat_of(tmp_path, THINKING), template_options=options)
    assert thoughts == Thoughts(marks=(TAGS,), prompt_opens=opens, given=False)


UNPLACED = [
    ("{{ message.reasoning_content }}", (), "reasoning_content"),
    ("{% if enable_thinking %}{% endif %}", (), "enable_thinking"),
    ("<|think|>", (), r"<\|think\|>"),
    ("", ("<|thinking|>",), r"<\|thinking\|>"),
]


@pytest.mark.parametrize(("more", "special", "named"), UNPLACED)
def test_marks_that_cannot_be_placed_are_named_and_refused(
    more: str, special: tuple[str, ...], named: str, tmp_path: Path
) -> None:
    chat = chat_of(
        tmp_path, CHATML.replace("{% endfor", more + "{% endfor"), special=(*SPECIAL, *special)
    )
    with pytest.raises(UsageError, match=f"speaks of thoughts.*{named}") as caught:
        found(chat)
    assert "`thoughts: none`" in caught.value.one_line()
    # The plan decides.
    assert found(chat, thoughts="none") == Thoughts(marks=(), prompt_opens=None, given=True)
    entry = [{"opening": "<|start|>", "closing": "<|stop|>"}]
    pair = ThoughtMarks(
        opening="<|start|>", closing="<|stop|>", opening_token=None, closing_token=None
    )
    assert found(chat, thoughts=entry) == Thoughts(marks=(pair,), prompt_opens=None, given=True)


def test_the_plan_names_no_marks_for_a_format_with_channels(tmp_path: Path) -> None:
    chat = ChatFormat.load(save_chat_format(tmp_path, "gpt-oss"))
    with pytest.raises(UsageError, match=r"has channels.*take `thoughts:` out"):
        found(chat, thoughts="none")


def test_channels_are_those_of_the_template_and_not_of_the_vocabulary(tmp_path: Path) -> None:
    channels = ("<|start|>", "<|channel|>", "<|message|>", "<|channel>", "<channel|>")
    chat = chat_of(tmp_path, special=(*SPECIAL, *channels))
    assert (chat.channels, chat.judged_channel) == (None, None)


# What the template does

DATED = "system\nCutting Knowledge Date: December 2023\nToday Date: 31 Jan 2026"


def told(system: str | None = None, **options: bool) -> Conversation:
    return Conversation(system, DATE, options)


def test_what_stands_around_an_earlier_answer_is_told(tmp_path: Path) -> None:
    empty = "{% if message.role == 'assistant' %}<think>\n\n</think>\n\n{% endif %}"
    chat = chat_of(tmp_path, CHATML.replace("{{ message.content", empty + "{{ message.content"))
    facts = try_template(chat, told(), found(chat))
    assert facts.before_answer == "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
    assert facts.after_answer == "<|im_end|>\n<|im_start|>user\n"
    assert facts.own_prompt is None


@pytest.mark.parametrize(
    ("content", "kept"),
    [
        ("message.content", True),
        ("message.content.split('</think>')[-1]", False),
        (
            "raise_exception('no thoughts') if '<think>' in message.content else message.content",
            None,
        ),
    ],
)
def test_what_becomes_of_a_thought_in_an_earlier_answer_is_tried(
    content: str, kept: bool | None, tmp_path: Path
) -> None:
    chat = chat_of(
        tmp_path, CHATML.replace("message.content", content), added=("<think>", "</think>")
    )
    assert try_template(chat, told(), found(chat)).thought is kept


@pytest.mark.parametrize(
    ("family", "system", "said"),
    [
        ("llama", None, DATED),
        ("llama", "Be kind.", DATED),
        ("olmo3", None, "system\nYou are a helpful assistant with no functions."),
        ("olmo3", "Be kind.", None),
        ("gemma4", None, None),
        ("gemma4", "Be kind.", None),
        ("gpt-oss", None, "system\nYou are a language model.\n"),
    ],
)
def test_what_a_template_says_of_its_own_is_told(
    family: str, system: str | None, said: str | None, tmp_path: Path
) -> None:
    chat = ChatFormat.load(save_chat_format(tmp_path, family))
    own = try_template(chat, told(system), None).own_prompt
    if said is None:
        assert own is None
    else:
        assert own is not None
        assert own.startswith(said)


def test_a_system_prompt_in_the_last_turn_is_no_prompt_of_the_templates_own(
    tmp_path: Path,
) -> None:
    template = (
        "{% set first = messages[0].role == 'system' %}"
        "{% for m in messages if m.role != 'system' %}<|im_start|>{{ m.role ~ '\\n' }}"
        "{% if loop.last and first %}{{ messages[0].content ~ '\\n\\n' }}{% endif %}"
        "{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    facts = try_template(chat_of(tmp_path, template), told("Be kind."), None)
    assert facts.own_prompt is None


def test_more_marks_than_a_plan_can_seal_are_refused(tmp_path: Path) -> None:
    many = tuple(f"<{end}think_{i}>" for i in range(17) for end in ("", "/"))
    chat = chat_of(tmp_path, added=many)
    with pytest.raises(UsageError, match="17 pairs of marks of thoughts, more than the 16"):
        found(chat)
    entry = [{"opening": "<think_3>", "closing": "</think_3>"}]
    assert found(chat, thoughts=entry) is not None


def test_a_mark_that_no_terminal_could_show_is_none(tmp_path: Path) -> None:
    assert found(chat_of(tmp_path, added=("<think\x07s>", "</think\x07s>"))) is None


def test_what_stands_around_the_result_of_a_tool_is_told(tmp_path: Path) -> None:
    chat = ChatFormat.load(save_chat_format(tmp_path / "llama", "llama"))
    around = around_tool(chat, told())
    assert around is not None
    before, after = around
    assert "lookup_examples" in before
    assert before.endswith('ipython<|end_header_id|>\n\n"')
    assert after.startswith('"<|eot_id|><|start_header_id|>assistant')
    no_tools = "{% if message.role == 'tool' %}{{ raise_exception('no tools') }}{% endif %}"
    refuses = CHATML.replace("{{ message.content", f"{no_tools}{{{{ message.content")
    assert around_tool(chat_of(tmp_path / "refuses", refuses), told()) is None
