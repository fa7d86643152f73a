"""What the rules of a policy file are made of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from datetime import date
from fnmatch import fnmatchcase
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

from safety_receipts.receipts.documents.written import Distinct, WrittenModel, as_decimal
from safety_receipts.receipts.model.base import Name, Probability
from safety_receipts.receipts.model.receipt import ConditionResult, EvaluationPredicate

ShareNumber = Annotated[
    Probability,
    BeforeValidator(as_decimal, json_schema_input_type=float | str),
    Field(
        json_schema_extra={
            "minimum": 0,
            "maximum": 1,
            "pattern": r"^(0(\.[0-9]{1,20})?|1(\.0{1,20})?)$",
        }
    ),
]
"""A number from 0 to 1, as an exact decimal: 0.05, or "0.05"."""

Number = Annotated[int, Field(strict=True, ge=0, le=10**9)]
"""A whole number from 0."""

Days = Annotated[int, Field(strict=True, ge=1, le=36_500)]
"""A number of days."""


T = TypeVar("T")

Listed = Annotated[tuple[T, ...], Field(min_length=1, max_length=256), Distinct]
"""A list of one or more different items."""


def _calendar(value: str) -> str:
    try:
        date.fromisoformat(value)
    except ValueError:
        raise ValueError("is no date: 2026-12-31") from None
    return value


DateText = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"),
    AfterValidator(_calendar),
]
"""A date: ``2026-12-31``."""

Glob = Annotated[str, StringConstraints(min_length=1, max_length=200)]
"""A name, or a pattern of names: ``*`` stands for any text, ``?`` for one character."""

RuleId = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_.-]*$", max_length=64)]
"""What a rule is called in its policy."""


class RuleEntry(WrittenModel, ABC):
    """Base of every rule."""

    rule: str
    """Which rule it is."""
    id: RuleId | None = None
    """What it is called, where a policy has a rule several times; by default, the rule's name."""
    note: Name | None = None
    """Why it is asked for, for people."""

    @property
    def name(self) -> str:
        """What it is called in its policy."""
        return self.id or self.rule

    @abstractmethod
    def asked(self) -> str:
        """Return what it asks for, in words."""

    def contradictions(self) -> Iterator[str]:
        """Yield what no key by itself is wrong about."""
        yield from ()


def chosen(receipt: EvaluationPredicate, globs: Sequence[str]) -> list[ConditionResult]:
    """Return the conditions of a receipt that one of some patterns names, in plan order."""
    return [one for one in receipt.conditions if any(fnmatchcase(one.id, glob) for glob in globs)]


def unmatched(receipt: EvaluationPredicate, globs: Sequence[str]) -> list[str]:
    """Return a problem for each pattern that names no condition of a receipt."""
    ids = [one.id for one in receipt.conditions]
    return [
        f"no condition is named by {glob}"
        for glob in globs
        if not any(fnmatchcase(name, glob) for name in ids)
    ]


def alternatives(parts: Sequence[object]) -> str:
    """Return alternatives in words: ``a, b or c``."""
    texts = [str(part) for part in parts]
    if len(texts) < 2:
        return "".join(texts)
    return f"{', '.join(texts[:-1])} or {texts[-1]}"


def of_conditions(globs: Sequence[str]) -> str:
    """Return which conditions are asked about, in words."""
    return "every condition" if tuple(globs) == ("*",) else f"conditions {', '.join(globs)}"
