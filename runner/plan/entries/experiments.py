"""What is varied."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field, PlainValidator, model_validator

from safety_receipts.receipts.documents.written import Distinct, as_decimal
from safety_receipts.receipts.model.base import Name, Source
from safety_receipts.receipts.model.demonstrations import ContextForm, ExperimentKind, Ordering
from safety_receipts.runner.plan import schema as plan_schema
from safety_receipts.runner.plan.entries.base import PlanModel

_SHARE_FORM = re.compile(r"[0-9]{1,4}(/[1-9][0-9]{0,3}|\.[0-9]{1,20})?", re.ASCII)


def _share(value: Any) -> Fraction:
    text = str(value) if isinstance(value, str) else as_decimal(value)
    if isinstance(text, str) and _SHARE_FORM.fullmatch(text) and Fraction(text) <= 1:
        return Fraction(text)
    raise ValueError("should be a share from 0 to 1, such as 0.25 or 1/3")


HarmfulShare = Annotated[
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
    """Total numbers of demonstrations, each crossed with shares of harmful ones."""

    totals: Annotated[tuple[ShownSome, ...], Field(min_length=1), Distinct]
    """Total numbers of demonstrations, harmful and benign together (N)."""
    harmful_fractions: Annotated[tuple[HarmfulShare, ...], Field(min_length=1), Distinct]
    """Shares of harmful demonstrations (φ), from 0 to 1: 0.25, or 1/3."""


class FixedHarmfulEntry(PlanModel):
    """Numbers of benign demonstrations, varied at fixed numbers of harmful ones."""

    harmful: Annotated[tuple[Shown, ...], Field(min_length=1), Distinct]
    """Numbers of harmful demonstrations (N_h)."""
    benign: Annotated[tuple[Shown, ...], Field(min_length=1), Distinct]
    """Numbers of benign demonstrations (N_b), each crossed with each number of harmful ones."""
    orderings: Annotated[tuple[Ordering, ...], Field(min_length=1), Distinct] = (Ordering.SUFFIX,)
    """Orders in which the demonstrations are shown."""


class OrderingsEntry(PlanModel):
    """One mixture in several orders."""

    harmful: ShownSome
    """Number of harmful demonstrations (N_h)."""
    benign: ShownSome
    """Number of benign demonstrations (N_b)."""
    rules: Annotated[tuple[Ordering, ...], Field(min_length=1), Distinct]
    """Orders in which the demonstrations are shown."""


class ResponsePrefixEntry(PlanModel):
    """One mixture, with a prefix before every demonstrated response."""

    harmful: Shown
    """Number of harmful demonstrations (N_h)."""
    benign: Shown
    """Number of benign demonstrations (N_b)."""
    prefixes: Annotated[tuple[Name, ...], Field(min_length=1, max_length=64), Distinct]
    """Prefixes with which demonstrated responses start, one condition for each."""


class BenignSourcesEntry(PlanModel):
    """Benign demonstrations from each of several sources, at one number of harmful ones."""

    harmful: Shown
    """Number of harmful demonstrations (N_h)."""
    benign: Annotated[tuple[Shown, ...], Field(min_length=1), Distinct]
    """Numbers of benign demonstrations (N_b)."""
    sources: Annotated[tuple[Source, ...], Field(min_length=1), Distinct]
    """Names of sources under ``demonstrations.benign``."""


class ContextsEntry(PlanModel):
    """One mixture in several context forms."""

    harmful: Shown
    """Number of harmful demonstrations (N_h)."""
    benign: Shown
    """Number of benign demonstrations (N_b)."""
    forms: Annotated[tuple[ContextForm, ...], Field(min_length=1), Distinct]
    """Context forms in which the demonstrations are shown."""
    gap_turns: Shown = 4
    """Number of benign turns before the query, in the form ``conversation``."""
    n_refusal: Shown = 0
    """Number of refusal examples, in the form ``policy``."""


class ExperimentEntry(PlanModel):
    """One experiment: exactly one of these keys is given."""

    model_config = ConfigDict(
        json_schema_extra=plan_schema.exactly_one([kind.value for kind in ExperimentKind])
    )

    sweep: SweepEntry | None = None
    """Total numbers of demonstrations, each crossed with shares of harmful ones."""
    fixed_harmful: FixedHarmfulEntry | None = None
    """Numbers of benign demonstrations, varied at fixed numbers of harmful ones."""
    orderings: OrderingsEntry | None = None
    """One mixture in several orders."""
    response_prefix: ResponsePrefixEntry | None = None
    """One mixture, with a prefix before every demonstrated response."""
    benign_sources: BenignSourcesEntry | None = None
    """Benign demonstrations from each of several sources."""
    contexts: ContextsEntry | None = None
    """One mixture in several context forms."""

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if sum(value is not None for _, value in self) != 1:
            raise ValueError(f"give one of {', '.join(ExperimentEntry.model_fields)}")
        return self

    @property
    def kind(self) -> str:
        """Name of the one that is given."""
        return next(name for name, value in self if value is not None)
