"""Queries, demonstrations and the conditions that mix them."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal, assert_never

from pydantic import Field, StringConstraints

from safety_receipts.receipts.model.base import (
    Condition,
    Count,
    Digest,
    Name,
    PointCount,
    Positive,
    RelativePath,
    Source,
    WireModel,
)


class QueryRole(StrEnum):
    """Why a query is asked."""

    HARMFUL = "harmful"
    """The compliance rate on it is what the evaluation measures."""
    BENIGN_CONTROL = "benign_control"
    """The model should answer it: a refusal is over-refusal."""


class Corpus(WireModel):
    """A file of requests, bound by digest."""

    name: Source
    """Name of the source within the plan."""
    corpus: Name
    """Name of the reader for the file's format (harmbench, sorry-bench, pairs, …)."""
    digest: Digest
    """SHA-256 of the file's bytes."""
    hub: Name | None
    """Dataset repository on the Hugging Face hub; null: the file came from elsewhere."""
    revision: Name | None
    """Commit of that repository; null where there is no repository."""
    file: RelativePath | None
    """Path of the file within that repository; null where there is no repository."""
    licence: Name | None
    """Licence that the source states; null: not stated."""
    languages: Annotated[tuple[Name, ...], Field(max_length=256)]
    """Languages of the requests (BCP 47 tags); empty: not stated."""
    rows: Count
    """Number of rows in the file."""
    where: dict[Annotated[str, Field(max_length=128)], Name]
    """Filters, column = value, which selected the rows; empty: all rows were taken."""
    empty_rows: Count
    """Number of rows that were left out because the request was empty."""
    duplicate_rows: Count
    """Number of rows that were left out because an earlier row has the same request."""


class QuerySource(Corpus):
    """A corpus of evaluation queries."""

    role: QueryRole
    """Role of the source's queries: ``harmful`` or ``benign_control``."""
    selected: PointCount
    """Number of queries taken from the source."""
    repeated_rows: Count | None = None
    """Number of rows that were left out because an earlier source asks the same; null: no row was
    left out for that reason."""


class DemonstrationKind(StrEnum):
    """Kind of a demonstration: its request is harmful or benign, or its response refuses."""

    HARMFUL = "harmful"
    BENIGN = "benign"
    REFUSAL = "refusal"


class DemonstrationSource(Corpus):
    """A pool of demonstrations: requests with the responses shown to the model."""

    kind: DemonstrationKind
    """Kind of the source's demonstrations: ``harmful`` or ``benign`` by their request, ``refusal``
    for refusal examples."""
    responses_by: Name | None
    """Who or what wrote the responses; null: not stated."""
    decontaminated: Count
    """Number of rows that were left out because the request equals an evaluation query."""
    pool: PointCount
    """Number of rows that remain to draw from."""


class TruncationScope(StrEnum):
    """What the character limit applies to."""

    DEMONSTRATION = "demonstration"
    """The limit applies to request and response together."""
    RESPONSE = "response"


class Truncation(WireModel):
    """The length to which demonstrations are cut."""

    characters: Positive
    """Largest length in characters (Unicode code points)."""
    scope: TruncationScope
    """Whether the limit applies to the response or to the whole demonstration."""


class Demonstrations(WireModel):
    """Where demonstrations come from and how they were drawn."""

    harmful: DemonstrationSource | None
    """Harmful requests with compliant responses, which the lab supplies; null: no harmful
    demonstrations are shown."""
    benign: Annotated[tuple[DemonstrationSource, ...], Field(max_length=32)]
    """Sources of benign demonstrations; the first is the default."""
    refusal: DemonstrationSource | None
    """Refusal examples for contexts of form ``policy``; null: none are shown."""
    selection: Name
    """Name and version of the rule that draws and orders demonstrations (``counter-hash/1``)."""
    draws: Annotated[int, Field(ge=1, le=10_000)]
    """Number of random samplings of demonstrations for each query."""
    draw_block: Positive | Literal["all"]
    """Number of consecutive queries that share a draw: 1 means a fresh draw for each query, ``all``
    one draw for all of them."""
    distinct_lists: Count
    """Number of demonstration lists per condition: blocks of queries × draws."""
    truncation: Truncation | None
    """The length to which demonstrations are cut; null: they are shown whole."""

    @property
    def sources(self) -> tuple[DemonstrationSource, ...]:
        """All sources: harmful, benign, refusal."""
        shown = (self.harmful, *self.benign, self.refusal)
        return tuple(source for source in shown if source is not None)


class Ordering(StrEnum):
    """Order in which harmful and benign demonstrations are shown."""

    PREFIX = "prefix"
    """All harmful demonstrations first."""
    SUFFIX = "suffix"
    """All benign demonstrations first, the harmful ones nearest the query: the default."""
    MIDDLE = "middle"
    """Harmful demonstrations between benign ones."""
    INTERLEAVE = "interleave"
    """Alternating, as evenly as the counts allow."""
    RANDOM = "random"
    """Shuffled for each draw, seeded by the plan."""


def is_drawn(ordering: Ordering | None) -> bool:
    """Say whether an ordering is drawn anew for each draw, and each point has labels of its own.

    Args:
        ordering: An ordering rule; None: there is nothing to order.
    """
    match ordering:
        case Ordering.RANDOM:
            return True
        case Ordering.PREFIX | Ordering.SUFFIX | Ordering.MIDDLE | Ordering.INTERLEAVE | None:
            return False
        case _:
            assert_never(ordering)


class ContextForm(StrEnum):
    """The form in which demonstrations reach the model."""

    TURNS = "turns"
    """User and assistant turns: the default."""
    CONVERSATION = "conversation"
    """Turns, then a gap of benign turns before the query."""
    RETRIEVED = "retrieved"
    """Documents in one user message."""
    MEMORY = "memory"
    """A system message."""
    TOOL = "tool"
    """A tool transcript."""
    SCRIPT = "script"
    """A customer-service script."""
    POLICY = "policy"
    """Few-shot policy guidance, which may contain refusal examples."""


class ShownContext(WireModel):
    """A context: its form, the message role that carries it, and its wrapper template."""

    form: ContextForm
    """Form of the context."""
    role: Name | None
    """Message role that carries the demonstrations; null for turns, which have both roles."""
    template: Digest | None
    """Digest of the wrapper template; null where nothing is wrapped."""
    gap_turns: Annotated[int, Field(ge=0, le=4096)]
    """Number of benign turns between the demonstrations and the query."""
    gap_source: Source | None
    """Benign source from which these turns are drawn, after the demonstrations; null where there
    are no such turns."""
    n_refusal: Annotated[int, Field(ge=0, le=4096)]
    """Number of refusal examples among the demonstrations."""


Labels = Annotated[str, StringConstraints(pattern=r"^[bhr]*$", max_length=8192)]
"""Kinds of the demonstrations in the order shown: ``b`` benign, ``h`` harmful, ``r`` refusal."""


class PlannedCondition(WireModel):
    """One condition: one cell of the grid."""

    id: Condition
    """Readable id of the condition, derived from its other fields."""
    n_harmful: Annotated[int, Field(ge=0, le=4096)]
    """Number of harmful demonstrations (N_h)."""
    n_benign: Annotated[int, Field(ge=0, le=4096)]
    """Number of benign demonstrations (N_b)."""
    ordering: Ordering | None
    """Order of the demonstrations; null where fewer than two kinds are shown, so that there is
    nothing to order."""
    labels: Labels | None
    """Kinds of the demonstrations in the order shown, as a string of ``b`` (benign), ``h``
    (harmful) and ``r`` (refusal); the last letter is nearest the query.  Null under ``random``
    ordering."""
    benign_source: Source | None
    """Source of the benign demonstrations; null where there are none."""
    response_prefix: Name | None
    """Text with which every demonstrated response starts; null: none."""
    context: ShownContext
    """Context in which the demonstrations are shown."""


class ExperimentKind(StrEnum):
    """The question that a set of conditions answers."""

    SWEEP = "sweep"
    FIXED_HARMFUL = "fixed_harmful"
    ORDERINGS = "orderings"
    RESPONSE_PREFIX = "response_prefix"
    BENIGN_SOURCES = "benign_sources"
    CONTEXTS = "contexts"


class Experiment(WireModel):
    """A set of conditions that are read together; a condition may belong to several."""

    kind: ExperimentKind
    """The question that these conditions answer."""
    conditions: Annotated[tuple[Condition, ...], Field(min_length=1, max_length=4096)]
    """Ids of the experiment's conditions, in plan order."""
