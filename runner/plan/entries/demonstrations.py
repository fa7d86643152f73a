"""Where demonstrations come from, and how they are drawn."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag

from safety_receipts.receipts.canonical import MAX_SAFE_INTEGER
from safety_receipts.receipts.model.base import Name, Source
from safety_receipts.receipts.model.demonstrations import TruncationScope
from safety_receipts.runner.plan.entries.base import PlanModel, Whole
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
    """How long demonstrations may be."""

    characters: Whole
    """Most characters."""
    scope: TruncationScope = TruncationScope.DEMONSTRATION


class BeaconEntry(PlanModel):
    """A beacon round still to come."""

    source: Name
    """The beacon's chain."""
    round: Whole
    """Round whose value becomes part of the seed."""


class BeaconSeed(PlanModel):
    """A seed that waits for a beacon."""

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
    """Harmful requests with helpful responses."""
    benign: Annotated[
        dict[Source, PoolEntry],
        Field(max_length=32, json_schema_extra={"additionalProperties": False}),
    ] = {}  # noqa: RUF012 (pydantic gives each instance its own)
    """Benign requests with responses, by name; the first is the default source."""
    refusal: PoolEntry | None = None
    """Refused requests, for the context form ``policy``."""
    draws: Annotated[int, Field(strict=True, ge=1, le=10_000)] = 2
    """Random samplings for each query."""
    draw_block: DrawBlockEntry = 1
    """Queries in a row that share a draw: 1, a fresh draw for each; or ``all``."""
    truncate: TruncateEntry | None = None
    """How long demonstrations may be; null: as long as they are."""
    seed: Seed = "plan"
    """Where the seed comes from: the plan's digest, or a beacon round still to come as well."""
