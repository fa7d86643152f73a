"""What of a checkpoint's responses is judged."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from safety_receipts.receipts.errors import UsageError
from safety_receipts.receipts.model.checkpoint import MAX_MARKS, Thoughts
from safety_receipts.runner.plan.entries import PromptEntry
from safety_receipts.runner.plan.warnings import PlanWarning
from safety_receipts.runner.prompts.chat_format import ChatFormat
from safety_receipts.runner.prompts.thoughts import FoundMarks, find_marks, opened_by, placed
from safety_receipts.runner.templates.template_probe import Conversation, around_answers

_THINKING = re.compile(r"\b(?:think|thinking|thoughts?|reasoning)\b", re.IGNORECASE)
"""Words in a generation prompt by which a response goes on with a thought."""

_REMEDY: Final = (
    "say under `prompt:` in the plan how a thought is told from the answer: `thoughts: [{opening: "
    "…, closing: …}]`, or `thoughts: none` where the model writes none, to judge whole responses"
)


def thoughts_of(chat: ChatFormat, entry: PromptEntry) -> Thoughts | None:
    """Return how thoughts are told from the answer; None: there are none to be told.

    Args:
        chat: The checkpoint's chat format.
        entry: What the plan says of prompts; the marks it names rule.

    Raises:
        UsageError: Template or vocabulary speak of thoughts by no marks that are known; or the
            plan names marks for a format with channels.
    """
    told = Conversation(entry.system, entry.date, entry.template_options)
    if entry.thoughts is None:
        return found_thoughts(chat, told)
    if chat.channels is not None:
        raise UsageError(
            "the plan names marks of thoughts, and the chat template has channels, of which "
            "`final` is judged",
            file=chat.folder,
            hint="take `thoughts:` out of the plan",
        )
    named = () if entry.thoughts == "none" else entry.thoughts
    return given_thoughts(chat, told, [(each.opening, each.closing) for each in named])


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
    opening, found = chat.generation_prompt(told.system, told.date, told.options), _look(chat, told)
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


def doubts(chat: ChatFormat, entry: PromptEntry) -> tuple[PlanWarning, ...]:
    """Return a warning where tags speak of thoughts beside the marks that were found.

    They may be switches or quotations; a plan that names the marks leaves no doubt.
    """
    told = Conversation(entry.system, entry.date, entry.template_options)
    if entry.thoughts is not None or chat.channels is not None:
        return ()
    found = _look(chat, told)
    if not found.pairs or not found.unplaced:
        return ()
    message = (
        f"{', '.join(found.unplaced[:6])} of template or vocabulary may be marks of thoughts "
        f"beside {found.pairs[0][0]} and {found.pairs[0][1]}, and are not taken for marks"
    )
    return (PlanWarning("thoughts", message, "name all marks under `prompt: {thoughts: …}`"),)


def _look(chat: ChatFormat, told: Conversation) -> FoundMarks:
    opening = chat.generation_prompt(told.system, told.date, told.options)
    texts = (*chat.texts, *([] if told.system is None else [told.system]))
    return find_marks(texts, chat.added, chat.names, (opening, *around_answers(chat, told)))


def _thoughts(
    chat: ChatFormat, told: Conversation, pairs: Iterable[tuple[str, str]], *, given: bool
) -> Thoughts:
    marks = placed(pairs, chat.added)
    opens = opened_by(chat.generation_prompt(told.system, told.date, told.options), marks)
    return Thoughts(marks=marks, prompt_opens=opens, given=given)
