"""What a template writes around contents depends on roles and places, and not on what is said."""

from __future__ import annotations

import hashlib
import re
import time
from pathlib import Path

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from safety_receipts.receipts.errors import UsageError
from safety_receipts.receipts.model.demonstrations import ContextForm, DemonstrationKind
from safety_receipts.runner.prompts.contexts import messages, planned_context
from safety_receipts.runner.prompts.demonstrations import Demonstration
from safety_receipts.runner.templates.chat_template import ChatTemplate
from safety_receipts.runner.templates.compiled import compiled_template
from safety_receipts.runner.templates.messages import Message, Role
from safety_receipts.runner.templates.own_words import template_words, words_of
from safety_receipts.runner.templates.skeletons import ContentDependenceError, SkeletonKeeper
from safety_receipts.runner.templates.stand_ins import StandInLength, stood_in
from safety_receipts.runner.templates.turns import Skeleton

SEED = "5" * 64
CONTROL = re.compile(r"<\|[\w/]+\|>|</?turn>|\[/?INST\]|</?think>|</?s>")
DATE = "2026-01-09"

CHATML = """\
{%- if messages[0].role != 'system' -%}<|im_start|>system\nHelp.<|im_end|>\n{% endif -%}
{%- for m in messages -%}
{{- '<|im_start|>' ~ m.role ~ '\n' ~ m.get('content', '') -}}
{%- for call in m.tool_calls or [] -%}{{- call.function | tojson -}}{%- endfor -%}
{{- '<|im_end|>\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\n' }}{%- endif -%}"""
HEADERS = """\
{{- bos_token -}}<|head|>system<|/head|>Today: {{ strftime_now('%d %b %Y') }}
{%- if messages[0].role == 'system' %}
{{ messages[0].content | trim }}
{%- set messages = messages[1:] -%}
{%- endif -%}<|eot|>
{%- for m in messages -%}
{{- '<|head|>' ~ m.role ~ '<|/head|>\n\n' -}}
{%- if m.role == 'tool' -%}{{ m.content | tojson }}
{%- elif 'tool_calls' in m -%}{{ m.tool_calls[0].function.name }}
{%- else -%}{{ m.content | trim }}{%- endif -%}<|eot|>
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|head|>assistant<|/head|>\n\n' }}{%- endif -%}"""
LAST_TURN = """\
{%- set system = messages[0].content if messages[0].role == 'system' else none -%}
{%- set turns = messages if system is none else messages[1:] -%}
{{- bos_token -}}
{%- for m in turns -%}
{%- if m.role == 'user' -%}
{{- '[INST] ' ~ ((system ~ '\n\n') if loop.last and system else '') ~ m.content ~ '[/INST]' -}}
{%- elif m.role == 'assistant' -%}{{- ' ' ~ m.content | trim ~ eos_token -}}
{%- else -%}{{ raise_exception('no tools') }}{%- endif -%}
{%- endfor -%}"""
NO_SYSTEM = """\
{{- bos_token -}}
{%- if messages[0].role == 'system' -%}{{ raise_exception('no system role') }}{%- endif -%}
{%- for m in messages -%}
{%- if (m.role == 'user') != (loop.index0 % 2 == 0) -%}{{ raise_exception('no turn') }}{%- endif -%}
{{- '<turn>' ~ ('model' if m.role == 'assistant' else m.role) ~ '\n' ~ m.content | trim -}}
{{- '</turn>\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<turn>model\n' }}{%- endif -%}"""
THINKS = """\
{%- set ns = namespace(last=0) -%}
{%- for m in messages -%}
{%- if m.role == 'user' and not m.content.startswith('<tool_response>') -%}
{%- set ns.last = loop.index0 -%}
{%- endif -%}
{%- endfor -%}
{%- for m in messages -%}
{%- set content = m.content or '' -%}
{%- if m.role == 'assistant' and '</think>' in content -%}
{%- set content = content.split('</think>')[-1].lstrip('\n') -%}
{%- endif -%}
{{- '<' ~ m.role ~ '>' -}}
{%- if m.role == 'assistant' and loop.index0 > ns.last -%}{{ '<think></think>' }}{%- endif -%}
{{- content ~ '</s>' -}}
{%- for call in m.tool_calls or [] -%}{{- call.function.name -}}{%- endfor -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<assistant>' -}}
{%- if '/no_think' in messages[0].content -%}{{ '<think></think>' }}{%- endif -%}
{%- endif -%}"""
CHANNELS = """\
{{- '<|start|>system<|message|>Channels: analysis, final.<|end|>' -}}
{%- for m in messages -%}
{%- if m.role == 'system' -%}{{ '<|start|>developer<|message|># Orders\n' ~ m.content }}
{%- elif m.role == 'user' -%}{{ '<|start|>user<|message|>' ~ m.content }}
{%- elif m.role == 'tool' -%}{{ '<|start|>look<|message|>' ~ m.content | tojson }}
{%- elif 'tool_calls' in m -%}
{{- '<|start|>assistant to=' ~ m.tool_calls[0].function.name -}}
{%- else -%}{{ '<|start|>assistant<|channel|>final<|message|>' ~ m.content }}{%- endif -%}
{{- '<|end|>' -}}
{%- endfor -%}
{{- '<|start|>assistant' -}}"""
HONEST = {
    "chatml": CHATML,
    "headers": HEADERS,
    "last turn": LAST_TURN,
    "no system": NO_SYSTEM,
    "thinks": THINKS,
    "channels": CHANNELS,
}
PLAIN = CHATML.replace("{%- if messages[0].role != 'system' -%}", "{%- if false -%}")


def template_of(source: str) -> ChatTemplate:
    named = {"bos_token": "<s>", "eos_token": "</s>"}
    return ChatTemplate(source, compiled_template(Path("m"), source), named, CONTROL, Path("m"))


def keeper(source: str, system: str | None = None) -> SkeletonKeeper:
    return SkeletonKeeper(template_of(source), system, DATE, {}, SEED)


def said(
    *texts: str, query: str = "And so?", system: str | None = None, form: str = "turns"
) -> tuple[Message, ...]:
    shown = [
        Demonstration(str(i), DemonstrationKind.BENIGN, request, response)
        for i, (request, response) in enumerate(zip(texts[::2], texts[1::2], strict=True))
    ]
    return messages(planned_context(ContextForm(form)), shown, query, system=system)


def with_clause(condition: str, text: str = "Refuse.") -> str:
    """A template that writes more before a message under a condition."""
    clause = "{%- if " + condition + " -%}" + text + "{%- endif -%}"
    return PLAIN.replace("{{- '<|im_start|>' ~ m.role", clause + "{{- '<|im_start|>' ~ m.role")


contents = st.text(min_size=1, max_size=40).filter(str.strip) | st.sampled_from(
    [" a", "b\n", "\t<|eot|> ", '"quoted"\n\n', "a\ue000b", "[INST] x", "{{ y }}", "<think"]
)
lists = st.lists(st.tuples(contents, contents), max_size=4).map(lambda p: [t for e in p for t in e])
FORMS = {
    "no system": (ContextForm.TURNS, ContextForm.RETRIEVED),
    "last turn": tuple(form for form in ContextForm if form is not ContextForm.TOOL),
}


@pytest.mark.parametrize("name", HONEST)
@settings(max_examples=40, deadline=None)
@given(data=st.data(), texts=lists, query=contents)
def test_honest_templates_write_the_same_whatever_is_said(
    name: str, data: st.DataObject, texts: list[str], query: str
) -> None:
    system = None if name == "no system" else data.draw(st.sampled_from([None, "", "Be kind."]))
    form = data.draw(st.sampled_from(FORMS.get(name, tuple(ContextForm))))
    conversation = said(*texts, query=query, system=system, form=form)
    kept, template = keeper(HONEST[name], system), template_of(HONEST[name])
    rendered = kept.rendered(conversation)
    assert rendered == template.rendered(conversation, DATE, {})
    neutral = stood_in(conversation, StandInLength.LINES, system=system, seed="another")
    around = template.rendered(neutral, DATE, {}).around
    assert kept.skeleton(conversation).pieces == around
    # Outer white space of contents is theirs, shown or trimmed.
    assert len(rendered.around) == len(around)
    for piece, plain in zip(rendered.around, around, strict=True):
        assert plain.strip() in piece
        assert piece.replace("\\n", "").split() == plain.replace("\\n", "").split()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<|eot|>\n<|head|>user<|/head|>\n\n", None),
        ("</s> USER: ", None),
        ("<|head|>assistant<|/head|>final", None),
        ("<|head|>system<|/head|>\n\nBe  good.\n <|eot|>", "system\nBe  good."),
        ("<|head|>assistant<|/head|>Sorry", "assistant\nSorry"),
        ("### 1", "### 1"),
        ("", None),
        ("【user】：<|eot|>", None),
        ("Ⓡⓔⓕⓤⓢⓔ.", "Ⓡⓔⓕⓤⓢⓔ."),
        ("<|head|>🚫", "🚫"),
        ("user\U000e0053\U000e0061\U000e0079", "user\U000e0053\U000e0061\U000e0079"),
    ],
)
def test_words_are_what_is_neither_markup_nor_a_name(text: str, words: str | None) -> None:
    assert words_of(text, CONTROL) == words


def test_special_tokens_without_brackets_say_what_they_say() -> None:
    control = re.compile(r"<\|end\|>|Sorry,|▁sealed\.")
    assert words_of("Sorry,▁sealed.<|end|>user", control) == "Sorry,▁sealed.\nuser"


def test_the_digest_of_a_template_s_words_is_over_every_condition_s_pieces() -> None:
    silent = Skeleton(("<|head|>user", "<|eot|>"), (Role.USER,), (0,))
    speaks = Skeleton(("Be good.", "<|eot|>"), (Role.USER,), (0,))
    tool = Skeleton(("", "look up", "<|eot|>", ""), (Role.USER, Role.TOOL, Role.USER), (0, 2, 3))
    assert template_words([silent, silent], CONTROL) is None
    assert template_words([silent, tool], CONTROL) is not None
    tagged = ["safety-receipts/template-words/1", [list(each.pieces) for each in (silent, speaks)]]
    expected = hashlib.sha256(rfc8785.dumps(tagged)).hexdigest()
    assert template_words([silent, speaks], CONTROL) == expected


@pytest.mark.parametrize("count", [0, 1, 2, 3, 8, 40])
@pytest.mark.parametrize("name", HONEST)
def test_honest_templates_repeat_their_turns(name: str, count: int) -> None:
    texts = [f"{word} {i}" for i in range(count) for word in ("How so", "Like this")]
    for system in [None] if name == "no system" else [None, "Be kind.", ""]:
        keeper(HONEST[name], system).rendered(said(*texts, system=system))


def among_others(role: Role, text: str) -> tuple[Message, ...]:
    """A conversation with a text in the place of its first message of a role."""
    others = {Role.SYSTEM: "Be", Role.USER: "How", Role.ASSISTANT: "So"}
    first = tuple(Message(each, text if each is role else other) for each, other in others.items())
    return (*first, Message(Role.USER, "Well"))


@pytest.mark.parametrize("role", [Role.SYSTEM, Role.USER, Role.ASSISTANT])
@pytest.mark.parametrize(
    ("condition", "text"),
    [
        ("'lamp' in m.content", "a lamp of tin"),
        ("m.content | length > 600", "tin " * 200),
        ("m.content.count('\\n') > 20", "tin\n" * 30 + "tin"),
        ("m.content[1:].startswith('lamp')", "lamp"),
        ("'%c' | format(57345) in m.content", "a <|eot|> of tin"),
        ("m.content.endswith(' ')", "tin "),
        ("m.content | upper == m.content", "TIN"),
    ],
)
def test_a_message_that_changes_what_stands_around_it_is_named(
    condition: str, text: str, role: Role
) -> None:
    kept = keeper(with_clause(f"m.role == '{role.value}' and {condition}"))
    kept.rendered(among_others(role, "tin"))
    with pytest.raises(ContentDependenceError, match=r"it adds «Refuse\.»") as caught:
        kept.rendered(among_others(role, text))
    assert f"(role {role.value})" in caught.value.message
    assert caught.value.content == text


@pytest.mark.parametrize(
    "contents", [("a", "b"), (" a ", "\nb"), ("a\n", "b ", " c\n", "d"), ("a", " ")]
)
@pytest.mark.parametrize("name", HONEST)
def test_filling_a_skeleton_gives_what_marked_contents_do(
    name: str, contents: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    filled = keeper(HONEST[name]).rendered(said(*contents, query=" c d "))
    monkeypatch.setattr(SkeletonKeeper, "_filled", lambda *_: None)
    assert filled == keeper(HONEST[name]).rendered(said(*contents, query=" c d "))


@pytest.mark.parametrize("system", [None, "Be <|eot|> kind."])
@pytest.mark.parametrize(
    ("condition", "text"),
    [
        ("m.content[0] != '%c' | format(57344)", "tin"),
        ("m.content.startswith('tin')", "tin"),
        ("m.content.startswith('tin')", "tin <|eot|>"),
        ("m.content.endswith('tin')", "a tin"),
        ("m.content | length == 3", "tin"),
    ],
)
def test_a_template_that_looks_for_the_marks_of_contents_is_refused(
    condition: str, text: str, system: str | None
) -> None:
    kept = keeper(with_clause(f"m.role != 'system' and {condition}"), system)
    with pytest.raises(UsageError, match=r"another prompt in use .*it adds «Refuse\.»"):
        kept.rendered(said(text, "So", system=system))


def test_a_template_of_many_texts_that_writes_much_is_refused_at_once() -> None:
    many = "".join(f"{{{{- 'q{number:05}' -}}}}" for number in range(20_000))
    much = "{%- for i in range(200) -%}{{- 'ab' * 50000 -}}{%- endfor -%}"
    source = with_clause("'tin' in m.content").replace("Refuse.", f"Refuse.{much}")
    source += f"{{%- if messages | length > 1000 -%}}{many}{{%- endif -%}}"
    kept = keeper(source)
    start = time.process_time()
    with pytest.raises(ContentDependenceError) as caught:
        kept.rendered(said("tin", "So"))
    assert len(caught.value.one_line()) < 1000
    assert time.process_time() - start < 30


def test_the_clock_shows_a_template_no_name_of_its_own() -> None:
    ours = template_of("{{- strftime_now | string -}}{{- messages[0].content -}}")
    shown = ours.rendered([Message(Role.USER, "How")], DATE, {}).text
    theirs = ours.compiled.render(messages=[{"content": "How"}])
    assert re.sub("0x[0-9a-f]+", "", shown) == re.sub("0x[0-9a-f]+", "", theirs)


@pytest.mark.parametrize("blank", ["", " ", "\n \t"])
@pytest.mark.parametrize("name", HONEST)
def test_a_blank_answer_stands_where_others_do(name: str, blank: str) -> None:
    keeper(HONEST[name]).rendered(said("How", blank, "Who", "So", "Why", blank))


@pytest.mark.parametrize("condition", ["not m.content", "m.content | trim | length == 0"])
def test_a_blank_answer_that_changes_what_stands_around_it_is_named(condition: str) -> None:
    with pytest.raises(ContentDependenceError, match=r"message 2 .*it adds «Refuse\.»"):
        keeper(with_clause(condition)).rendered(said("How", "", "Who", "So"))


def test_the_plans_own_system_prompt_may_be_looked_at() -> None:
    source = THINKS.replace("'/no_think' in", "'no_think' in")
    conversation = said("How", "So", system="/no_think")
    assert keeper(source, "/no_think").rendered(conversation).tail.endswith("<think></think>")
    assert not keeper(source, "Be kind.").rendered(said(system="Be kind.")).tail.endswith(">>")
    # Not so what a context says after it.
    shown = said("/no_think", "So", system="Be kind.", form="memory")
    with pytest.raises(ContentDependenceError, match=r"message 1 \(role system\)"):
        keeper(source, "Be kind.").rendered(shown)


@pytest.mark.parametrize(
    "condition",
    [
        "m.content | length > 300",
        "m.content | length < 300",
        "m.content.split('\\n') | length == 1",
        "' ' in m.content",
    ],
)
def test_what_depends_on_length_or_lines_is_refused_whatever_is_said(condition: str) -> None:
    with pytest.raises(UsageError, match="the length or the letters of messages change"):
        keeper(with_clause(condition)).rendered(said("How", "So"))


def test_what_messages_change_together_is_refused() -> None:
    source = with_clause(
        "loop.first and (messages | map(attribute='content') | join).count('tin') > 1"
    )
    kept = keeper(source)
    kept.rendered(said("tin", "So"))
    with pytest.raises(UsageError, match="what the messages say together changes"):
        kept.rendered(said("tin", "tin"))


@pytest.mark.parametrize(
    "condition",
    [
        "loop.index0 == 6",
        "loop.first and messages | length > 12",
        "messages | length > 12",
        "loop.last and messages | length == 1",
        "loop.index0 == messages | length - 3 and messages | length > 4",
        "m.role == 'assistant' and loop.index0 < 3",
        "m.role == 'user' and loop.index0 % 4 == 2",
        "loop.last",
    ],
)
def test_turns_that_are_not_repeated_are_refused(condition: str) -> None:
    texts = [f"word {i}" for i in range(16)]
    kept = keeper(with_clause(condition))

    def plan_both() -> None:
        kept.rendered(said())
        kept.rendered(said(*texts))

    with pytest.raises(UsageError, match="does not write plain turns"):
        plan_both()


def test_a_system_message_is_not_moved_in_some_conversations() -> None:
    moved = LAST_TURN.replace(
        "loop.last and system", "loop.index0 == (0 if messages | length < 9 else 4) and system"
    )
    kept = keeper(moved, "Be kind.")
    kept.rendered(said("How", "So", system="Be kind."))
    with pytest.raises(UsageError, match="does not write plain turns"):
        kept.rendered(said(*("How", "So") * 6, system="Be kind."))


def test_a_template_for_one_request_alone_has_no_turns() -> None:
    once = PLAIN + "{%- if messages | length > 2 -%}{{ raise_exception('once') }}{%- endif -%}"
    kept = keeper(once)
    kept.rendered(said())
    with pytest.raises(UsageError, match="refuses the messages: once"):
        kept.rendered(said("How", "So"))


def test_stand_ins_are_rendered_once_a_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    render = ChatTemplate.rendered

    def counted(self: ChatTemplate, *arguments: object) -> object:
        seen.append(1)
        return render(self, *arguments)  # type: ignore[arg-type]  # passed on as given

    monkeypatch.setattr(ChatTemplate, "rendered", counted)
    kept = keeper(CHATML)
    for number in range(50):
        kept.rendered(said(f"How {number}", f" So {number}\n", query=f"Well {number}"))
    assert len(seen) == 4  # two stand-ins, and two of plain turns; others fill their skeleton
