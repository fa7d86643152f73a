"""What of a checkpoint's responses is judged."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from safety_receipts.receipts.errors import UsageError
from safety_receipts.receipts.model.checkpoint import MAX_MARKS, Thoughts
from safety_receipts.runner.prompts.chat_format import ChatFormat
from safety_receipts.runner.prompts.template_probe import Conversation, around_answers
from safety_receipts.runner.prompts.thoughts import FoundThoughtMarks, find_marks, opened_by, placed

_THINKING = re.compile(r"\b(?:think|thinking|thoughts?|reasoning)\b", re.IGNORECASE)
"""Words in a generation prompt by which a response goes on with a thought."""

_REMEDY: Final = (
    "say under `prompt:` in the plan how a thought is told from the answer: `thoughts: [{opening: "
    "…, closing: …}]`, or `thoughts: none` where the model writes none, to judge whole responses"
)


def given_thoughts(
    chat: ChatFormat, told: Conversation, pairs: Iterable[tuple[str, str]]
) -> Thoughts:
    """Return the thoughts of a checkpoint by marks that a plan names.

    Args:
        chat: The checkpoint's chat format.
        told: How conversations are rendered.
        pairs: Opening and closing marks; none: whole responses are judged.
    """
    return _thoughts(chat, told, pairs, given=True)


def found_thoughts(chat: ChatFormat, told: Conversation) -> Thoughts | None:
    """Return the thoughts of a checkpoint by the marks of its template and vocabulary.

    Args:
        chat: The checkpoint's chat format.
        told: How conversations are rendered.

    Returns:
        None where there are none, or channels.

    Raises:
        UsageError: They speak of thoughts by no marks that are known.
    """
    if chat.channels is not None:
        return None
    opening, found = (
        chat.generation_prompt(told.system, told.date, told.options),
        find_thought_marks(chat, told),
    )
    # Beside marks that are known, others may be switches or quotations; not in what a response
    # goes on from.
    doubtful = tuple(tag for tag in found.unplaced if tag in opening or not found.pairs)
    if not found.pairs:
        doubtful += found.names + tuple(_THINKING.findall(chat.template.control.sub("", opening)))
    if doubtful:
        raise UsageError(
            "the chat template or the vocabulary speaks of thoughts, and how they are told from "
            f"the answer is not known: {', '.join(dict.fromkeys(doubtful[:6]))}",
            file=chat.folder,
            hint=_REMEDY,
        )
    if len(found.pairs) > MAX_MARKS:
        raise UsageError(
            f"template and vocabulary have {len(found.pairs)} pairs of marks of thoughts, more "
            f"than the {MAX_MARKS} that a plan can seal",
            file=chat.folder,
            hint="name those that the model uses under `prompt: {thoughts: …}`",
        )
    return _thoughts(chat, told, found.pairs, given=False) if found.pairs else None


def find_thought_marks(chat: ChatFormat, told: Conversation) -> FoundThoughtMarks:
    """Return the marks of thoughts in the texts and the vocabulary of a chat format."""
    opening = chat.generation_prompt(told.system, told.date, told.options)
    texts = (*chat.texts, *([] if told.system is None else [told.system]))
    return find_marks(texts, chat.added, chat.names, (opening, *around_answers(chat, told)))


def _thoughts(
    chat: ChatFormat, told: Conversation, pairs: Iterable[tuple[str, str]], *, given: bool
) -> Thoughts:
    marks = placed(pairs, chat.added)
    opens = opened_by(chat.generation_prompt(told.system, told.date, told.options), marks)
    return Thoughts(marks=marks, prompt_opens=opens, given=given)
