"""What prompts are made of.  Whoever renders them needs nothing else of a model."""

from __future__ import annotations

from dataclasses import dataclass

from safety_receipts.runner.prompts.chat_format import ChatFormat
from safety_receipts.runner.prompts.demonstrations import Pools


@dataclass(frozen=True)
class PromptTexts:
    """The texts that a plan's digests stand for, and what makes them a prompt."""

    chat: ChatFormat
    """Tokenizer and chat template."""
    system: str | None
    """The system prompt's text; None: none is given."""
    queries: tuple[str, ...]
    """Texts of the evaluation queries, in pooled order."""
    pools: Pools
    """Demonstrations to draw from, decontaminated."""
