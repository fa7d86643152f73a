"""What of a vocabulary is markup, and what of it a template writes around messages."""

from __future__ import annotations

from typing import Final

from safety_receipts.receipts.errors import UsageError
from safety_receipts.runner.templates.chat_template import ChatTemplate
from safety_receipts.runner.templates.messages import Message, Role

_DAY: Final = "2026-01-31"

_SAID: Final = (
    Message(Role.SYSTEM, "Be brief."),
    Message(Role.USER, "How is tea made?"),
    Message(Role.ASSISTANT, "With water."),
    Message(Role.USER, "And coffee?"),
)


MARKUP_TRIALS: Final = (_SAID, _SAID[1:], _SAID[1:2])
"""Conversations from which is read what a template writes around messages."""


def written_around(template: ChatTemplate) -> list[str]:
    """Return what a template writes around messages, as some put their markup together."""
    texts: list[str] = []
    for said in MARKUP_TRIALS:
        try:
            texts += template.rendered(said, _DAY, {}).around
        except UsageError:
            continue  # what refuses one of them may show another
    return texts


def is_markup(token: str) -> bool:
    """Say whether an added token is markup and no mere text: a digit, a word, a run of spaces."""
    bare = token.replace("▁", " ").strip()
    return len(bare) > 1 and not all(part.isalnum() for part in bare.split())
