"""How responses are generated, and what ends them."""

from __future__ import annotations

from decimal import Decimal as ExactDecimal
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from safety_receipts.receipts.canonical import MAX_SAFE_INTEGER
from safety_receipts.receipts.documents.written import DecimalNumber, Distinct, Whole
from safety_receipts.receipts.model.checkpoint import SamplingMethod
from safety_receipts.runner.plan import schema as plan_schema
from safety_receipts.runner.plan.entries.base import PlanModel


def _token(value: Any) -> Any:
    if isinstance(value, str) and value:
        return value
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_SAFE_INTEGER:
        return value
    raise ValueError('should be a token, "<|im_end|>", or its id')


Token = Annotated[
    Annotated[str, Field(min_length=1, max_length=512)]
    | Annotated[int, Field(ge=0, le=MAX_SAFE_INTEGER)],
    BeforeValidator(_token),
]
"""A token: its text as the tokenizer has it, or its id."""

EndTokenIds = Annotated[tuple[Token, ...], Field(max_length=64), Distinct]


class EndTokensEntry(PlanModel):
    """Corrections of the end tokens that the checkpoint's own files state."""

    add: EndTokenIds = ()
    """Tokens that end a response in addition to those stated."""
    remove: EndTokenIds = ()
    """Stated tokens that do not end a response."""


class SamplingEntry(PlanModel):
    """How responses are generated."""

    model_config = ConfigDict(json_schema_extra=plan_schema.SAMPLING)

    method: SamplingMethod = SamplingMethod.GREEDY
    temperature: DecimalNumber | None = None
    """Temperature of the softmax, above 0, for ``seeded``; null for ``greedy``."""
    top_p: DecimalNumber | None = None
    """Probability mass of nucleus sampling, above 0 and up to 1, for ``seeded``; null: no limit."""
    top_k: Whole | None = None
    """Largest number of candidate tokens, for ``seeded``; null: no limit."""
    repetition_penalty: DecimalNumber | Literal["checkpoint"] | None = None
    """Number by which the logits of tokens that occurred before are divided; ``checkpoint``: the
    number that its files state; null: none, whatever they state."""
    max_new_tokens: Whole
    """Largest length of a response in tokens."""
    end_tokens: EndTokensEntry = EndTokensEntry()
    """Corrections of the end tokens that the checkpoint's own files state."""

    @model_validator(mode="after")
    def _method(self) -> Self:
        greedy = self.method is SamplingMethod.GREEDY
        if greedy and {self.temperature, self.top_p, self.top_k} != {None}:
            raise ValueError("greedy sampling takes no temperature, top_p or top_k")
        if not greedy and (self.temperature is None or ExactDecimal(self.temperature) == 0):
            raise ValueError("seeded sampling needs a temperature above 0")
        if self.top_p is not None and not 0 < ExactDecimal(self.top_p) <= 1:
            raise ValueError("top_p must be above 0 and at most 1")
        penalty = self.repetition_penalty
        if penalty not in (None, "checkpoint") and ExactDecimal(penalty) == 0:
            raise ValueError("repetition_penalty must be above 0")
        return self
