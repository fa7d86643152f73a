"""What is varied."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field, PlainValidator, model_validator

from safety_receipts.receipts.model.base import Name, Source
from safety_receipts.receipts.model.demonstrations import ContextForm, ExperimentKind, Ordering
from safety_receipts.runner.plan import schema as plan_schema
from safety_receipts.runner.plan.entries.base import Distinct, PlanModel, as_decimal

_SHARE_FORM = re.compile(r"[0-9]{1,4}(/[1-9][0-9]{0,3}|\.[0-9]{1,20})?", re.ASCII)


def _share(value: Any) -> Fraction:
    text = str(value) if isinstance(value, str) else as_decimal(value)
    if isinstance(text, str) and _SHARE_FORM.fullmatch(text) and Fraction(text) <= 1:
        return Fraction(text)
    raise ValueError("should be a share from 0 to 1, such as 0.25 or 1/3")


Share = Annotated[
    Fraction,
    PlainValidator(_share, json_schema_input_type=float | str),
    Field(json_schema_extra={"minimum": 0, "maximum": 1, "pattern": f"^{_SHARE_FORM.pattern}$"}),
]
"""A share from 0 to 1: 0.25, or 1/3."""

Shown = Annotated[int, Field(strict=True, ge=0, le=4096)]
"""A number of demonstrations or turns; 0 shows none."""

ShownSome = Annotated[int, Field(strict=True, ge=1, le=4096)]
"""A number of demonstrations, at least one."""


class SweepEntry(PlanModel):
    """Totals crossed with harmful fractions."""

    totals: Annotated[tuple[ShownSome, ...], Field(min_length=1), Distinct]
    """Numbers of demonstrations, harmful and benign together."""
    harmful_fractions: Annotated[tuple[Share, ...], Field(min_length=1), Distinct]
    """Shares of harmful ones among them, from 0 to 1: 0.25, or 1/3."""


class FixedHarmfulEntry(PlanModel):
    """Benign demonstrations varied at fixed harmful ones."""

    harmful: Annotated[tuple[Shown, ...], Field(min_length=1), Distinct]
    """Numbers of harmful demonstrations."""
    benign: Annotated[tuple[Shown, ...], Field(min_length=1), Distinct]
    """Numbers of benign demonstrations, each crossed with each number of harmful ones."""
    orderings: Annotated[tuple[Ordering, ...], Field(min_length=1), Distinct] = (Ordering.SUFFIX,)
    """Orders in which they are shown."""


class OrderingsEntry(PlanModel):
    """One mixture in several orders."""

    harmful: ShownSome
    """Number of harmful demonstrations."""
    benign: ShownSome
    """Number of benign demonstrations."""
    rules: Annotated[tuple[Ordering, ...], Field(min_length=1), Distinct]
    """Orders in which they are shown."""


class ResponsePrefixEntry(PlanModel):
    """One mixture with a prefix before every demonstrated response."""

    harmful: Shown
    """Number of harmful demonstrations."""
    benign: Shown
    """Number of benign demonstrations."""
    prefixes: Annotated[tuple[Name, ...], Field(min_length=1, max_length=64), Distinct]
    """What every demonstrated response starts with."""


class BenignSourcesEntry(PlanModel):
    """Benign demonstrations from several sources."""

    harmful: Shown
    """Number of harmful demonstrations."""
    benign: Annotated[tuple[Shown, ...], Field(min_length=1), Distinct]
    """Numbers of benign demonstrations."""
    sources: Annotated[tuple[Source, ...], Field(min_length=1), Distinct]
    """Names under ``demonstrations.benign``."""


class ContextsEntry(PlanModel):
    """One mixture in several shapes."""

    harmful: Shown
    """Number of harmful demonstrations."""
    benign: Shown
    """Number of benign demonstrations."""
    forms: Annotated[tuple[ContextForm, ...], Field(min_length=1), Distinct]
    """Shapes in which they reach the model."""
    gap_turns: Shown = 4
    """Benign turns before the query, in ``conversation``."""
    n_refusal: Shown = 0
    """Refusal examples, in ``policy``."""


class ExperimentEntry(PlanModel):
    """One experiment: exactly one of these."""

    model_config = ConfigDict(
        json_schema_extra=plan_schema.exactly_one([kind.value for kind in ExperimentKind])
    )

    sweep: SweepEntry | None = None
    """Totals crossed with harmful fractions."""
    fixed_harmful: FixedHarmfulEntry | None = None
    """Benign demonstrations varied at fixed harmful ones."""
    orderings: OrderingsEntry | None = None
    """One mixture in several orders."""
    response_prefix: ResponsePrefixEntry | None = None
    """One mixture with a prefix before every demonstrated response."""
    benign_sources: BenignSourcesEntry | None = None
    """Benign demonstrations from several sources."""
    contexts: ContextsEntry | None = None
    """One mixture in several shapes."""

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if sum(value is not None for _, value in self) != 1:
            raise ValueError(f"give one of {', '.join(ExperimentEntry.model_fields)}")
        return self

    @property
    def kind(self) -> str:
        """Name of the one that is given."""
        return next(name for name, value in self if value is not None)
