"""Files of requests: evaluation queries and pools of demonstrations."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from safety_receipts.receipts.documents.written import Distinct
from safety_receipts.receipts.model.base import Name, Source
from safety_receipts.receipts.model.demonstrations import QueryRole
from safety_receipts.runner.corpora.read import READERS
from safety_receipts.runner.plan.entries.base import ColumnName, Located


def _known_corpus(value: str) -> str:
    if value not in READERS:
        raise ValueError(f"no such corpus; known: {', '.join(READERS)}")
    return value


def _filter_text(value: Any) -> Any:
    """Take 3 for "3", as columns are compared as text; 1.0 and true have several spellings."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise ValueError("should be text or a whole number; put it in quotes")
    return value


FilterValue = Annotated[Name, BeforeValidator(_filter_text, json_schema_input_type=Name | int)]


class CorpusEntry(Located):
    """A file of requests."""

    corpus: Annotated[
        str, AfterValidator(_known_corpus), Field(json_schema_extra={"enum": list(READERS)})
    ]
    """Name of the reader for the file's format."""
    name: Source | None = None
    """Name of the source within the plan; default: the name of the corpus."""
    file: Name | None = None
    """Path of the file within the hub repository; default: the corpus's own file."""
    where: dict[ColumnName, FilterValue] = {}  # noqa: RUF012 (pydantic gives each instance its own)
    """Filters, column = value, which select rows; empty: all rows are taken."""
    licence: Name | None = None
    """Licence of the requests; default: the corpus's own."""
    languages: Annotated[tuple[Name, ...], Field(max_length=256), Distinct] = ()
    """Languages of the requests (BCP 47 tags); empty: not stated."""


class QueryEntry(CorpusEntry):
    """A corpus of evaluation queries."""

    role: QueryRole = QueryRole.HARMFUL


class PoolEntry(CorpusEntry):
    """A pool of demonstrations."""

    responses_by: Name | None = None
    """Who or what wrote the responses; null: not stated."""
