"""What ``receipts plan --show-prompt --json`` prints."""

from __future__ import annotations

from typing import Annotated, Literal

from safety_receipts.receipts.model.base import Condition, Count, Positive, Query
from safety_receipts.receipts.view.documents.base import SCHEMA, Document
from safety_receipts.runner.plan.resolved import ResolvedPlan
from safety_receipts.runner.prompts.prompt_view import PromptView, TextOrigin
from safety_receipts.runner.view.documents.judged import JudgedPart, judged_part


class ShownPromptPart(Document):
    """A stretch of a prompt."""

    origin: TextOrigin
    """Where it comes from."""
    row: str | None
    """Id of the row that it was read from; null: it is of no row."""
    text: str
    """The stretch, verbatim."""


class PromptDocument(Document):
    """One prompt as the run will ask it."""

    document: Annotated[Literal["cli-plan-prompt/1"], SCHEMA] = "cli-plan-prompt/1"
    condition: Condition
    """Its condition."""
    query: Query
    """Its query."""
    draw: Count
    """Which sampling of demonstrations, from 0."""
    prompt_tokens: Count
    """Its length in tokens."""
    context_limit: Positive
    """Longest context of the model in tokens."""
    parts: tuple[ShownPromptPart, ...]
    """Its parts in order; together they are the prompt."""
    judged: JudgedPart
    """What the judge will see of the response."""


def prompt_document(view: PromptView, resolved: ResolvedPlan) -> PromptDocument:
    """Return one prompt of a plan."""
    return PromptDocument(
        condition=view.condition,
        query=view.query,
        draw=view.draw,
        prompt_tokens=view.tokens,
        context_limit=view.context_limit,
        parts=tuple(
            ShownPromptPart(origin=part.origin, row=part.row, text=part.text) for part in view.parts
        ),
        judged=judged_part(resolved),
    )
