"""What a chat template does beside showing messages, tried on a short conversation."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Final

from receipts.errors import UsageError
from receipts.model.checkpoint import Thoughts
from runner.chat_template import ChatTemplate, Option
from runner.contexts import Message, Role
from runner.prompts import ChatFormat

_REQUEST: Final = "How is the first tea made?"
_THOUGHT: Final = "They ask for tea."
_ANSWER: Final = "With water that boils."
_QUERY: Final = "How is the next tea made?"

_ROLES = re.compile(r"\s*(system|developer)?\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Conversation:
    """How a plan has conversations rendered, beside their messages."""

    system: str | None
    """The system prompt; None: none is given."""
    date: str | None
    """The date shown to templates that print today's."""
    options: Mapping[str, Option]
    """Further template variables."""

    @property
    def first(self) -> list[Message]:
        """The messages before the first request."""
        return [] if self.system is None else [Message(Role.SYSTEM, self.system)]


@dataclass(frozen=True)
class TemplateFacts:
    """What a template does beside showing messages."""

    own_prompt: str | None
    """What it says to the model of its own before the first request: a system prompt, a date;
    None: nothing."""
    before_answer: str
    """What stands between a request and its answer in an earlier turn."""
    after_answer: str
    """What stands between that answer and the next request."""
    thought: bool | None
    """Whether it keeps a thought inside an earlier answer; None: there are no marks of thoughts, or
    it refuses the answer."""


def try_template(chat: ChatFormat, told: Conversation, thoughts: Thoughts | None) -> TemplateFacts:
    """Try a template on a conversation of two requests.

    Args:
        chat: The checkpoint's chat format.
        told: How conversations are rendered.
        thoughts: How thoughts are told from answers.

    Raises:
        UsageError: The template refuses such a conversation.
    """
    system = told.first
    asked, answered = Message(Role.USER, _REQUEST), Message(Role.ASSISTANT, _ANSWER)
    query = Message(Role.USER, _QUERY)
    rendered = chat.template.rendered([*system, asked, answered, query], told.date, told.options)
    (start, stop), (begin, end), (following, _) = rendered.spans[-3:]
    between = rendered.text[end:following]
    places = [0, *(place for span in rendered.spans[:-3] for place in span), start]
    opening = [rendered.text[i:j] for i, j in zip(places[::2], places[1::2], strict=True)]
    kept = None
    if thoughts is not None and thoughts.marks:
        marks = thoughts.marks[0]
        thinking = f"{marks.opening}{_THOUGHT}{marks.closing}{_ANSWER}"
        kept = _keeps(
            chat.template, [*system, asked, Message(Role.ASSISTANT, thinking), query], told
        )
    return TemplateFacts(
        own_prompt=own_prompt(opening, between, chat.template.control),
        before_answer=rendered.text[stop:begin],
        after_answer=between,
        thought=kept,
    )


def own_prompt(opening: Sequence[str], between: str, control: re.Pattern[str]) -> str | None:
    """Return what a template says of its own before the first request, or None.

    Args:
        opening: What it writes before the first request, around a system prompt.
        between: What it writes between an answer and the next request; it ends in what stands
            before every request.
        control: Matches control tokens, which say nothing.
    """
    own = _without_header("".join(opening), between, control)
    said = re.sub(r"\s*\n\s*", "\n", control.sub("\n", own)).strip()
    return None if _ROLES.fullmatch(said) else said


def _without_header(opening: str, between: str, control: re.Pattern[str]) -> str:
    """Return a text without the header that every request has."""
    if between.endswith(opening):
        return ""
    first, later = (_atoms(text, control) for text in (opening, between))
    pairs = zip(reversed(first), reversed(later), strict=False)
    alike = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    return "".join(first[: len(first) - alike])


def _atoms(text: str, control: re.Pattern[str]) -> list[str]:
    """Return control tokens and what stands between them, in order."""
    atoms, place = [], 0
    for match in control.finditer(text):
        atoms += [text[place : match.start()], match[0]]
        place = match.end()
    return [atom for atom in (*atoms, text[place:]) if atom]


def _keeps(template: ChatTemplate, messages: list[Message], told: Conversation) -> bool | None:
    try:
        return _THOUGHT in template.unguarded(messages, told.date, told.options)
    except UsageError:
        return None
