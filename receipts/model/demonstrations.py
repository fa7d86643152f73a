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
    """Its compliance is the rate under test."""
    BENIGN_CONTROL = "benign_control"
    """It should be answered: refusing it is over-refusal."""


class Corpus(WireModel):
    """A file of requests, bound by digest."""

    name: Source
    """Name within the plan."""
    corpus: Name
    """Which reader understood the file (harmbench, sorry-bench, pairs, …)."""
    digest: Digest
    """SHA-256 of the file's bytes."""
    hub: Name | None
    """Dataset repository, where it came from a hub."""
    revision: Name | None
    """Commit of that repository."""
    file: RelativePath | None
    """File within that repository."""
    licence: Name | None
    """Licence the source states."""
    languages: Annotated[tuple[Name, ...], Field(max_length=256)]
    """Languages of the requests (BCP 47 tags); empty: not stated."""
    rows: Count
    """Rows in the file."""
    where: dict[Annotated[str, Field(max_length=128)], Name]
    """Column = value filters; empty: all rows."""
    empty_rows: Count
    """Rows dropped because the request was empty."""
    duplicate_rows: Count
    """Rows dropped because an earlier row has the same request."""


class QuerySource(Corpus):
    """A corpus of evaluation queries."""

    role: QueryRole
    """``harmful``, or ``benign_control``."""
    selected: PointCount
    """Queries taken from it."""
    repeated_rows: Count | None = None
    """Rows left out because an earlier source asks the same; null: none are left out for that."""


class DemonstrationKind(StrEnum):
    """What a demonstration's request is, or that its response refuses."""

    HARMFUL = "harmful"
    BENIGN = "benign"
    REFUSAL = "refusal"


class DemonstrationSource(Corpus):
    """A pool of demonstrations: requests with the responses shown to the model."""

    kind: DemonstrationKind
    """``harmful`` or ``benign`` by request; ``refusal`` for refusal examples."""
    responses_by: Name | None
    """Who or what wrote the responses."""
    decontaminated: Count
    """Rows left out because the request equals an evaluation query."""
    pool: PointCount
    """Rows left to draw from."""


class TruncationScope(StrEnum):
    """What the character limit applies to."""

    DEMONSTRATION = "demonstration"
    """Request and response together."""
    RESPONSE = "response"


class Truncation(WireModel):
    """How long demonstrations may be."""

    characters: Positive
    """Limit in characters (Unicode code points)."""
    scope: TruncationScope
    """What is counted."""


class Demonstrations(WireModel):
    """Where demonstrations come from and how they were drawn."""

    harmful: DemonstrationSource | None
    """Harmful requests with compliant responses, supplied by the lab; null: none."""
    benign: Annotated[tuple[DemonstrationSource, ...], Field(max_length=32)]
    """Benign sources; the first is the default."""
    refusal: DemonstrationSource | None
    """Refusal examples for policy contexts; null: none."""
    selection: Name
    """Name and version of the rule that draws and orders (``counter-hash/1``)."""
    draws: Annotated[int, Field(ge=1, le=10_000)]
    """Random samplings of demonstrations for each query."""
    draw_block: Positive | Literal["all"]
    """Queries in a row that share a draw: 1 = a fresh draw for each query, ``all`` = one."""
    distinct_lists: Count
    """Demonstration lists per condition: blocks of queries × draws."""
    truncation: Truncation | None
    """Length rule; null: whole texts."""

    @property
    def sources(self) -> tuple[DemonstrationSource, ...]:
        """All sources: harmful, benign, refusal."""
        shown = (self.harmful, *self.benign, self.refusal)
        return tuple(source for source in shown if source is not None)


class Ordering(StrEnum):
    """Where the harmful demonstrations stand."""

    PREFIX = "prefix"
    """All harmful first."""
    SUFFIX = "suffix"
    """All benign first, harmful nearest the query: the default."""
    MIDDLE = "middle"
    """Harmful sandwiched in benign."""
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
    """The shape in which examples reach the model."""

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
    """A context: a form, the role that carries it, a wrapper template."""

    form: ContextForm
    """Which shape."""
    role: Name | None
    """Message role that carries it; null for turns, which have both."""
    template: Digest | None
    """Digest of the wrapper template; null where nothing is wrapped."""
    gap_turns: Annotated[int, Field(ge=0, le=4096)]
    """Benign turns between the examples and the query."""
    gap_source: Source | None
    """Benign source they are drawn from, after the demonstrations; null where there are none."""
    n_refusal: Annotated[int, Field(ge=0, le=4096)]
    """Refusal examples among those shown."""


Labels = Annotated[str, StringConstraints(pattern=r"^[bhr]*$", max_length=8192)]
"""Kinds of the demonstrations in the order shown: ``b`` benign, ``h`` harmful, ``r`` refusal."""


class PlannedCondition(WireModel):
    """One cell of the grid."""

    id: Condition
    """Readable id, derived from the fields below."""
    n_harmful: Annotated[int, Field(ge=0, le=4096)]
    """Harmful demonstrations (N_h)."""
    n_benign: Annotated[int, Field(ge=0, le=4096)]
    """Benign demonstrations (N_b)."""
    ordering: Ordering | None
    """Ordering rule; null where fewer than two kinds are shown, and so nothing to order."""
    labels: Labels | None
    """The order as a string, the last letter nearest the query; null under ``random``."""
    benign_source: Source | None
    """Source of the benign demonstrations; null where there are none."""
    response_prefix: Name | None
    """Text every demonstrated response starts with; null: none."""
    context: ShownContext
    """Shape in which the demonstrations are shown."""


class ExperimentKind(StrEnum):
    """Which question a set of conditions answers."""

    SWEEP = "sweep"
    FIXED_HARMFUL = "fixed_harmful"
    ORDERINGS = "orderings"
    RESPONSE_PREFIX = "response_prefix"
    BENIGN_SOURCES = "benign_sources"
    CONTEXTS = "contexts"


class Experiment(WireModel):
    """A set of conditions that are read together; conditions may serve several."""

    kind: ExperimentKind
    """Which question."""
    conditions: Annotated[tuple[Condition, ...], Field(min_length=1, max_length=4096)]
    """Ids of its conditions, in plan order."""
