"""What of a checkpoint's responses is judged."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from receipts.errors import UsageError
from receipts.model.checkpoint import Thoughts
from runner.plan_entries import PromptEntry
from runner.prompts import ChatFormat
from runner.template_probe import Conversation
from runner.thoughts import find_marks, opened_by, placed

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
    rendered = chat.generation_prompt(told.system, told.date, told.options)
    found = find_marks((*chat.texts, rendered), chat.added, chat.names)
    if found.pairs:
        return _thoughts(chat, told, found.pairs, given=False)
    if found.unplaced:
        raise UsageError(
            "the chat template or the vocabulary speaks of thoughts, and how they are told from "
            f"the answer is not known: {', '.join(found.unplaced[:6])}",
            file=chat.folder,
            hint=_REMEDY,
        )
    return None


def _thoughts(
    chat: ChatFormat, told: Conversation, pairs: Iterable[tuple[str, str]], *, given: bool
) -> Thoughts:
    marks = placed(pairs, chat.added)
    opens = opened_by(chat.generation_prompt(told.system, told.date, told.options), marks)
    return Thoughts(marks=marks, prompt_opens=opens, given=given)
