"""Where demonstrations come from, and how they are drawn."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag

from safety_receipts.receipts.canonical import MAX_SAFE_INTEGER
from safety_receipts.receipts.documents.written import Whole
from safety_receipts.receipts.model.base import Name, Source
from safety_receipts.receipts.model.demonstrations import TruncationScope
from safety_receipts.runner.plan.entries.base import PlanModel
from safety_receipts.runner.plan.entries.corpora import PoolEntry


def _block(value: Any) -> Any:
    whole = isinstance(value, int) and not isinstance(value, bool)
    if value == "all" or (whole and 1 <= value <= MAX_SAFE_INTEGER):
        return value
    raise ValueError("should be a whole number from 1, or all")


DrawBlockEntry = Annotated[
    int | Literal["all"],
    BeforeValidator(_block),
    Field(json_schema_extra={"minimum": 1, "maximum": MAX_SAFE_INTEGER}),
]
"""Queries in a row that share a draw."""


class TruncateEntry(PlanModel):
    """The length to which demonstrations are cut."""

    characters: Whole
    """Largest length in characters (Unicode code points)."""
    scope: TruncationScope = TruncationScope.DEMONSTRATION


class BeaconEntry(PlanModel):
    """A beacon round that is still in the future."""

    source: Name
    """Name of the beacon's chain (``drand-quicknet``)."""
    round: Whole
    """Number of the round whose value becomes part of the seed."""


class BeaconSeed(PlanModel):
    """A seed that depends on a beacon round."""

    beacon: BeaconEntry


def _seed_kind(value: Any) -> str | None:
    if isinstance(value, (dict, BeaconSeed)):
        return "a beacon's"
    return "the plan's" if value == "plan" else None


Seed = Annotated[
    Annotated[Literal["plan"], Tag("the plan's")] | Annotated[BeaconSeed, Tag("a beacon's")],
    Discriminator(
        _seed_kind,
        custom_error_type="seed",
        custom_error_message="should be plan, or {beacon: {source: …, round: …}}",
    ),
]
"""Where the seed comes from."""


class DemonstrationsEntry(PlanModel):
    """Where demonstrations come from and how they are drawn."""

    harmful: PoolEntry | None = None
    """Harmful requests with helpful responses; null: no harmful demonstrations are shown."""
    benign: Annotated[
        dict[Source, PoolEntry],
        Field(max_length=32, json_schema_extra={"additionalProperties": False}),
    ] = {}  # noqa: RUF012 (pydantic gives each instance its own)
    """Sources of benign requests with responses, by name; the first is the default source."""
    refusal: PoolEntry | None = None
    """Refused requests, for the context form ``policy``; null: none are shown."""
    draws: Annotated[int, Field(strict=True, ge=1, le=10_000)] = 2
    """Number of random samplings of demonstrations for each query."""
    draw_block: DrawBlockEntry = 1
    """Number of consecutive queries that share a draw: 1 means a fresh draw for each query, ``all``
    one draw for all of them."""
    truncate: TruncateEntry | None = None
    """The length to which demonstrations are cut; null: they are shown whole."""
    seed: Seed = "plan"
    """Where the seed comes from: the plan's digest alone (``plan``), or together with a beacon
    round that is still in the future."""
