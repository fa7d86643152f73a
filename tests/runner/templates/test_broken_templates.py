"""A template that cannot be used ends in an error of ours that says so, whatever it does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from safety_receipts.receipts.errors import MalformedError, ReceiptsError, UsageError
from safety_receipts.runner.templates.chat_template import ChatTemplate
from safety_receipts.runner.templates.compiled import compiled_template
from safety_receipts.runner.templates.messages import Message, Role
from safety_receipts.runner.templates.skeletons import SkeletonKeeper

SHOWS = "{% for m in messages %}{{ m.role ~ ': ' ~ m.content ~ '\n' }}{% endfor %}"
SAID = (
    Message(Role.USER, "How?"),
    Message(Role.ASSISTANT, "So."),
    Message(Role.USER, "And?"),
)


def shown(source: str) -> str:
    place = Path("model")
    template = ChatTemplate(
        source, compiled_template(place, source), {}, re.compile(r"(?!)"), place
    )
    return SkeletonKeeper(template, None, None, {}, "5" * 64).rendered(SAID).text


@pytest.mark.parametrize(
    "added",
    [
        "{% break %}",
        "{% endif %}",
        "{% include 'other' %}",
        "{% extends 'other' %}",
        "{{ 1 if }}",
        "{%",
        "{# never closed",
        "{% for m in messages %}",
        "{% for m in messages %}{% else %}{% continue %}{% endfor %}",
        "{% if " + "(" * 5000 + "1" + ")" * 5000 + " %}{% endif %}",
    ],
)
def test_what_is_no_template_is_malformed(added: str) -> None:
    with pytest.raises(ReceiptsError) as caught:
        shown(added + SHOWS)
    assert isinstance(caught.value, (MalformedError, UsageError))


@pytest.mark.parametrize(
    "added",
    [
        "{{ none + 1 }}",
        "{{ messages[99].content }}",
        "{{ messages.pop() }}",
        "{{ messages.append(1) }}",
        "{{ ''.join(messages) }}",
        "{{ messages | length / 0 }}",
        "{{ '%c' % 55296 }}",
        "{{ '%c' % -1 }}",
        "{{ 10 ** 400 / 3 }}",
        "{{ messages[0].content.encode('ascii').nothing() }}",
        "{{ messages[0].content.split('') }}",
        "{{ 'x'.zfill('y') }}",
        "{% macro again(a) %}{{ again(a) }}{% endmacro %}{{ again(1) }}",
        "{{ messages | batch(0) | list }}",
        "{{ range(10 ** 9) | list }}",
        "{{ raise_exception(messages[0].content) }}",
        "{{ messages[0].content.__class__.__mro__ }}{{ ''.__class__() }}",
        "{{ strftime_now('%H') }}",
    ],
)
def test_what_fails_on_messages_is_refused(added: str) -> None:
    with pytest.raises(UsageError) as caught:
        shown(added + SHOWS)
    assert "How?" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_template_without_the_text_of_messages_is_refused() -> None:
    for nothing in ("", "{% for m in messages %}{% break %}{{ m.content }}{% endfor %}"):
        with pytest.raises(UsageError, match="drops or changes message 1"):
            shown(nothing)
