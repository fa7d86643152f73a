"""What a chat template writes after the assistant's turn: where a model was trained to stop.

No field of a template says so; it is read from what the template makes of a short conversation.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import takewhile
from typing import Final

from safety_receipts.receipts.errors import UsageError
from safety_receipts.runner.templates.chat_template import ChatTemplate, TemplateOption
from safety_receipts.runner.templates.messages import Message, Role

_QUESTION = Message(Role.USER, "How is a lamp mended?")
_ANSWER = Message(Role.ASSISTANT, "Polish its glass.")
_NEXT = Message(Role.USER, "And a kite?")
TURN_END_TRIAL: Final = (_QUESTION, _ANSWER, _NEXT)
"""The conversation from which is read what ends a turn."""


def turn_end(
    template: ChatTemplate, date: str | None, options: Mapping[str, TemplateOption]
) -> str | None:
    """Return the control token that ends a turn of the assistant, or None.

    It is the last of the control tokens, with nothing but white space before and between them,
    that the template writes both after a past turn and after a final one: the first alone could
    be the header of the next turn (``<|user|>``), and before the last may stand the end of a
    part of the turn (``<|END_RESPONSE|>``).  A template that writes nothing after a final turn,
    or a new header even there, is asked what follows a turn of the user.

    None for a template that writes nothing, plain text or another token in each place, and for
    one that refuses such a conversation.

    Args:
        template: The template.
        date: The date for templates that print today's.
        options: Further template variables.
    """
    try:
        past = template.rendered(TURN_END_TRIAL, date, options)
        final = template.rendered([_QUESTION, _ANSWER], date, options, generation_prompt=False)
        opened = template.rendered([_QUESTION, _ANSWER], date, options)
    except UsageError:  # prompts that need such a conversation are refused with its reason
        return None
    question, answer, following = past.spans
    before = past.text[: question[0]]
    after_past = _run(template.control, past.text[answer[1] : following[0]])
    after_final = _run(template.control, final.text[final.spans[1][1] :])
    if final.text == opened.text or not after_final:
        after_user = _run(template.control, past.text[question[1] : answer[0]])
        other = after_final or after_user
        common = _common(after_past, other)
        # With one token in common it may be the header that every turn has.
        return common[0] if common and (len(common) > 1 or common[0] not in before) else None
    common = _common(after_past, after_final)
    # A token that starts every conversation is no end of one, unless it is the only one.
    ends = [token for token in common if token not in before] or common[:1]
    return ends[-1] if ends else None


def _run(control: re.Pattern[str], text: str) -> list[str]:
    """Return the control tokens that a text starts with, white space between them left out."""
    tokens, place = [], 0
    while match := control.match(text, len(text) - len(text[place:].lstrip())):
        tokens.append(match[0])
        place = match.end()
    return tokens


def _common(one: list[str], other: list[str]) -> list[str]:
    pairs = takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
    return [token for token, _ in pairs]
