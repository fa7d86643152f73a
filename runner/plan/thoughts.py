"""How a plan tells thoughts from the answer, and what its inputs leave in doubt of it."""

from __future__ import annotations

from safety_receipts.receipts.errors import UsageError
from safety_receipts.receipts.model.checkpoint import Thoughts
from safety_receipts.runner.plan.entries.prompt import PromptEntry
from safety_receipts.runner.prompts.answers import (
    find_thought_marks,
    found_thoughts,
    given_thoughts,
)
from safety_receipts.runner.prompts.chat_format import ChatFormat
from safety_receipts.runner.prompts.template_probe import Conversation
from safety_receipts.runner.warnings import PlanWarning


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


def doubts(chat: ChatFormat, entry: PromptEntry) -> tuple[PlanWarning, ...]:
    """Return a warning where tags speak of thoughts beside the marks that were found.

    They may be switches or quotations; a plan that names the marks leaves no doubt.
    """
    told = Conversation(entry.system, entry.date, entry.template_options)
    if entry.thoughts is not None or chat.channels is not None:
        return ()
    found = find_thought_marks(chat, told)
    if not found.pairs or not found.unplaced:
        return ()
    message = (
        f"{', '.join(found.unplaced[:6])} of template or vocabulary may be marks of thoughts "
        f"beside {found.pairs[0][0]} and {found.pairs[0][1]}, and are not taken for marks"
    )
    return (PlanWarning("thoughts", message, "name all marks under `prompt: {thoughts: …}`"),)
