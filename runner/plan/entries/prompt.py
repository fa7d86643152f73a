"""How a conversation is rendered, and what of a response is judged."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, model_validator

from safety_receipts.receipts.canonical import MAX_SAFE_INTEGER
from safety_receipts.receipts.model.base import Date, Name
from safety_receipts.receipts.model.checkpoint import MAX_MARKS
from safety_receipts.runner.plan.entries.base import ColumnName, PlanModel


def _day(value: str) -> str:
    try:
        date.fromisoformat(value)
    except ValueError:
        raise ValueError("there is no such day") from None
    return value


def _option(value: Any) -> Any:
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int) and -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER:
        return value
    raise ValueError("should be text, a whole number, true, false or null")


TemplateOptionEntry = Annotated[
    Name | bool | int | None,
    BeforeValidator(_option),
    Field(json_schema_extra={"minimum": -MAX_SAFE_INTEGER, "maximum": MAX_SAFE_INTEGER}),
]
"""Value of a template's variable."""


class ThoughtMarksEntry(PlanModel):
    """The marks that stand before and after a thought in a response."""

    opening: Name
    """Mark before a thought, such as <think>."""
    closing: Name
    """Mark after a thought, such as </think>."""

    @model_validator(mode="after")
    def _two_marks(self) -> Self:
        if not self.opening.strip() or not self.closing.strip():
            raise ValueError("a mark must hold more than white space")
        if self.opening == self.closing:
            raise ValueError("opening and closing must be two different marks")
        return self


def _each_mark_once(pairs: tuple[ThoughtMarksEntry, ...]) -> tuple[ThoughtMarksEntry, ...]:
    marks = [mark for pair in pairs for mark in (pair.opening, pair.closing)]
    for mark in marks:
        if marks.count(mark) > 1:
            raise ValueError(f"the mark {mark} is named twice")
    return pairs


def _thoughts_kind(value: Any) -> str | None:
    if isinstance(value, (list, tuple)):
        return "marks"
    return "none" if value == "none" else None


ThoughtsEntry = Annotated[
    Annotated[Literal["none"], Tag("none")]
    | Annotated[
        tuple[ThoughtMarksEntry, ...],
        Field(min_length=1, max_length=MAX_MARKS),
        AfterValidator(_each_mark_once),
        Tag("marks"),
    ],
    Discriminator(
        _thoughts_kind,
        custom_error_type="thoughts",
        custom_error_message="should be none, or a list of {opening: …, closing: …}",
    ),
]
"""How thoughts are told from the answer."""


class PromptEntry(PlanModel):
    """How a conversation is rendered, and which part of a response is judged."""

    system: str | None = None
    """Text of the system prompt; null: none is given, though the template may add its own."""
    date: Annotated[Date, AfterValidator(_day)] | None = None
    """Date that is given to chat templates that print today's date, in quotes: "2026-01-31"; null:
    none is given."""
    template_options: Annotated[dict[ColumnName, TemplateOptionEntry], Field(max_length=64)] = {}  # noqa: RUF012 (pydantic gives each instance its own)
    """Further variables of the chat template, such as a reasoning effort."""
    thoughts: ThoughtsEntry | None = None
    """Marks around thoughts, which are not judged; null: the marks that are found in the chat
    template and the vocabulary; ``none``: whole responses are judged."""
