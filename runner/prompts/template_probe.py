"""What a chat template does beside showing messages, tried on a short conversation."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from safety_receipts.receipts.errors import UsageError
from safety_receipts.receipts.model.checkpoint import Thoughts
from safety_receipts.receipts.model.demonstrations import (
    ContextForm,
    DemonstrationKind,
    ShownContext,
)
from safety_receipts.runner.prompts.chat_format import ChatFormat
from safety_receipts.runner.prompts.contexts import messages, planned_context
from safety_receipts.runner.prompts.demonstrations import Demonstration
from safety_receipts.runner.templates.chat_template import ChatTemplate, TemplateOption
from safety_receipts.runner.templates.messages import Message, Role
from safety_receipts.runner.templates.own_words import without_markup, words_of

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
    options: Mapping[str, TemplateOption]
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
    before_response: str | None
    """What it says of its own after the query, where the response begins; None: nothing."""


def probed(told: Conversation) -> list[Message]:
    """Return the conversation of two requests on which a template is tried."""
    asked, answered = Message(Role.USER, _REQUEST), Message(Role.ASSISTANT, _ANSWER)
    return [*told.first, asked, answered, Message(Role.USER, _QUERY)]


def probed_tool(told: Conversation) -> tuple[Message, ...]:
    """Return the conversation with the result of a tool on which a template is tried."""
    shown = [Demonstration("probe", DemonstrationKind.BENIGN, _REQUEST, _ANSWER)]
    return messages(planned_context(ContextForm.TOOL), shown, _QUERY, system=told.system)


def around_tool(chat: ChatFormat, told: Conversation) -> tuple[str, str] | None:
    """Return what a template writes before and after the result of a tool; None: it refuses one.

    Before it stands the call, which has no content.
    """
    said = probed_tool(told)
    try:
        rendered = chat.template.rendered(said, told.date, told.options)
    except UsageError:
        return None
    place = next(i for i, message in enumerate(rendered.places) if said[message].role is Role.TOOL)
    return rendered.around[place], rendered.around[place + 1]


def around_context(chat: ChatFormat, told: Conversation, context: ShownContext) -> tuple[str, ...]:
    """Return what a template writes in a context with one example, but beside a tool's result.

    Nothing where it refuses such a conversation.
    """
    shown = [Demonstration("probe", DemonstrationKind.BENIGN, _REQUEST, _ANSWER)]
    said = messages(context, shown, _QUERY, system=told.system, gap=shown * context.gap_turns)
    try:
        rendered = chat.template.rendered(said, told.date, told.options)
    except UsageError:
        return ()
    tools = [said[place].role is Role.TOOL for place in rendered.places]
    beside = [any(pair) for pair in zip([False, *tools], [*tools, False], strict=True)]
    return tuple(piece for piece, tool in zip(rendered.around, beside, strict=True) if not tool)


def around_answers(chat: ChatFormat, told: Conversation) -> tuple[str, ...]:
    """Return what a template writes around an earlier request, an answer and the next request.

    Nothing where it refuses such a conversation.

    Args:
        chat: The checkpoint's chat format.
        told: How conversations are rendered.
    """
    try:
        return chat.template.rendered(probed(told), told.date, told.options).around
    except UsageError:
        return ()


def try_template(chat: ChatFormat, told: Conversation, thoughts: Thoughts | None) -> TemplateFacts:
    """Try a template on a conversation of two requests.

    Args:
        chat: The checkpoint's chat format.
        told: How conversations are rendered.
        thoughts: How thoughts are told from answers.

    Raises:
        UsageError: The template refuses such a conversation.
    """
    *system, asked, _, query = said = probed(told)
    rendered = chat.template.rendered(said, told.date, told.options)
    # By message: a template may put a system prompt elsewhere than first.
    spans = dict(zip(rendered.places, rendered.spans, strict=True))
    (start, stop), (begin, end), (following, _) = (spans[len(system) + i] for i in range(3))
    system_span = spans.get(0) if system else None
    between = _without(rendered.text, end, following, system_span)
    opening = _without(rendered.text, 0, start, system_span)
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
        before_response=words_of(rendered.tail, chat.template.control),
    )


def _without(text: str, start: int, end: int, span: tuple[int, int] | None) -> str:
    """Return a stretch of a text without a span, where that lies inside."""
    if span is None or not start <= span[0] <= span[1] <= end:
        return text[start:end]
    return text[start : span[0]] + text[span[1] : end]


def own_prompt(opening: str, between: str, control: re.Pattern[str]) -> str | None:
    """Return what a template says of its own before the first request, or None.

    Args:
        opening: What it writes before the first request, a system prompt left out.
        between: What it writes between an answer and the next request; it ends in what stands
            before every request.
        control: Matches control tokens.
    """
    own = _without_header(opening, between, control)
    said = without_markup(own, control)
    return None if _ROLES.fullmatch(said) else said


def _without_header(opening: str, between: str, control: re.Pattern[str]) -> str:
    """Return a text without the header that every request has."""
    if between.endswith(opening):
        return ""
    first, later = (_atoms(text, control) for text in (opening, between))
    for place in range(len(first) + 1):
        header = first[place:]
        starts = range(len(later) - len(header) + 1)
        if any(_begins(later[i : i + len(header)], header) for i in starts):
            return "".join(first[:place])
    return opening


def _begins(atoms: list[str], header: list[str]) -> bool:
    """Say whether atoms are those of a header, but that more text may follow the last one."""
    return atoms[:-1] == header[:-1] and all(
        whole.startswith(start) for whole, start in zip(atoms[-1:], header[-1:], strict=True)
    )


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
