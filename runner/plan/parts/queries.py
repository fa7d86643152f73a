"""Evaluation queries: their corpora, ids and texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from safety_receipts.receipts.model.base import QueryId, SourceName
from safety_receipts.receipts.model.demonstrations import QuerySource
from safety_receipts.runner.corpora.rows import query_id
from safety_receipts.runner.corpora.same import REQUEST_RULE, normalised_request
from safety_receipts.runner.plan.parts.source import PlanSource, corpus_fields


@dataclass(frozen=True)
class Queries:
    """Evaluation queries, in pooled order."""

    sources: tuple[QuerySource, ...]
    """What is sealed of their corpora."""
    ids: tuple[QueryId, ...]
    """Their ids."""
    texts: tuple[str, ...]
    """Their texts."""


def resolve_queries(source: PlanSource) -> Queries:
    """Read the evaluation queries.

    Raises:
        ReceiptsError: A corpus cannot be read, or asks nothing of its own.
    """
    sources, ids, texts = [], [], []
    asked: set[str] = set()
    once = source.entries.queries_repeated == "first"
    for i, entry in enumerate(source.entries.queries):
        rows = source.corpus(entry)
        name = SourceName(entry.name or entry.corpus)
        taken = rows.selected
        if once:
            taken = tuple(row for row in taken if source.same(row.request) not in asked)
            asked |= {source.same(row.request) for row in taken}
            if not taken:
                raise source.error(
                    ("queries", i),
                    f"source {name} asks nothing that no earlier source does",
                    "leave it out, or write queries_repeated: keep",
                )
        sources.append(
            QuerySource(
                **corpus_fields(name, entry, rows),
                role=entry.role,
                selected=len(taken),
                repeated_rows=len(rows.selected) - len(taken) if once else None,
            )
        )
        ids += [query_id(name, row) for row in taken]
        texts += [row.request for row in taken]
    return Queries(tuple(sources), tuple(ids), tuple(texts))


def same_queries(
    ids: Sequence[QueryId], texts: Sequence[str], rule: str = REQUEST_RULE
) -> tuple[tuple[QueryId, ...], ...]:
    """Return the queries that ask the same, in pooled order.

    Equal means equal after :func:`runner.corpora.same.normalised_request`, as for demonstrations.

    Args:
        ids: Ids of all evaluation queries.
        texts: Their requests.
        rule: When two requests are one.
    """
    asking: dict[str, list[QueryId]] = {}
    for id_, text in zip(ids, texts, strict=True):
        asking.setdefault(normalised_request(text, rule), []).append(id_)
    return tuple(tuple(group) for group in asking.values() if len(group) > 1)
