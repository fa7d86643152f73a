"""What an evaluator chose of rows and prompt, as documents have it."""

from __future__ import annotations

from typing import TypeAlias

from safety_receipts.receipts.model.base import Count, SafeInteger
from safety_receipts.receipts.model.demonstrations import (
    DemonstrationKind,
    DemonstrationSource,
    QueryRole,
    QuerySource,
)
from safety_receipts.receipts.model.plan import EvaluationSetup
from safety_receipts.receipts.view.documents.base import Document
from safety_receipts.receipts.view.inputs import left_out, taken

TemplateOptions: TypeAlias = dict[str, str | bool | SafeInteger | None]


class QueriesLeftOut(Document):
    """How many rows of a corpus of queries are not asked, by reason."""

    filtered: Count
    """The filter leaves them out."""
    empty: Count
    """They have no text."""
    duplicate: Count
    """They repeat an earlier one."""
    repeated: Count
    """An earlier source asks the same."""


class DemonstrationsLeftOut(Document):
    """How many rows of a corpus of demonstrations cannot be shown, by reason."""

    filtered: Count
    """The filter leaves them out."""
    empty: Count
    """They have no text."""
    duplicate: Count
    """They repeat an earlier one."""
    decontaminated: Count
    """Their request is one of the queries."""


class QueriesTaken(Document):
    """Which rows of a corpus are asked."""

    name: str
    """Name of the source."""
    role: QueryRole
    """Its role."""
    rows: Count
    """Rows of the corpus."""
    taken: Count
    """Rows that are asked."""
    where: dict[str, str]
    """The filter: field → value; empty: none."""
    left_out: QueriesLeftOut
    """Rows that are not asked."""


class DemonstrationsTaken(Document):
    """Which rows of a corpus can be shown."""

    name: str
    """Name of the source."""
    kind: DemonstrationKind
    """What is demonstrated."""
    rows: Count
    """Rows of the corpus."""
    taken: Count
    """Rows that can be shown."""
    where: dict[str, str]
    """The filter: field → value; empty: none."""
    left_out: DemonstrationsLeftOut
    """Rows that cannot be shown."""


class Inputs(Document):
    """What an evaluator chose that decides rates: rows, system prompt, date, template options."""

    system_prompt: str | None
    """SHA-256 of the system prompt's text; null: none is given, and a template may add its own."""
    date: str | None
    """The date shown to templates that print today's; null: none."""
    template_options: TemplateOptions
    """Further template variables."""
    queries: tuple[QueriesTaken, ...]
    """By corpus of queries."""
    demonstrations: tuple[DemonstrationsTaken, ...]
    """By corpus of demonstrations."""


def inputs_of(setup: EvaluationSetup) -> Inputs:
    """Return the inputs of a plan, or of a receipt."""
    prompt = setup.prompt
    return Inputs(
        system_prompt=prompt.system_prompt,
        date=prompt.date,
        template_options=dict(prompt.template_options),
        queries=tuple(map(queries_taken, setup.queries)),
        demonstrations=tuple(map(demonstrations_taken, setup.demonstrations.sources)),
    )


def queries_taken(source: QuerySource) -> QueriesTaken:
    """Return which rows of a source are asked."""
    return QueriesTaken(
        name=source.name,
        role=source.role,
        rows=source.rows,
        taken=taken(source),
        where=dict(source.where),
        left_out=QueriesLeftOut(**left_out(source)),
    )


def demonstrations_taken(source: DemonstrationSource) -> DemonstrationsTaken:
    """Return which rows of a source can be shown."""
    return DemonstrationsTaken(
        name=source.name,
        kind=source.kind,
        rows=source.rows,
        taken=taken(source),
        where=dict(source.where),
        left_out=DemonstrationsLeftOut(**left_out(source)),
    )
