"""What all wire models share: strictness, camelCase names, and the types of leaves.

A wire model is the domain model; there is no second representation.  Fields have no
defaults: a writer states everything, null included, so that a missing field is an error
and never a silent default.

A later minor version may only add fields, each ``X | None = None``: older readers ignore
what they do not know, newer ones read its absence as null, and what is derived compares
equal.  Anything else is a new predicate type.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, NewType

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    StringConstraints,
)
from pydantic.alias_generators import to_camel
from pydantic_core import core_schema

from safety_receipts.receipts.canonical import MAX_SAFE_INTEGER, Sha256
from safety_receipts.receipts.model.described import DescribedModel


def _fail_fast(schema: Any, of: type | None = None) -> None:
    """Mark the arrays and maps of a core schema, in place.

    Args:
        schema: The schema, or a part of it.
        of: The model whose schema it is; models in it were marked when they were made.
    """
    if isinstance(schema, dict):
        kind = schema.get("type")
        if kind in ("tuple", "list", "set", "frozenset", "dict"):
            schema["fail_fast"] = True
        elif kind == "model" and schema["cls"] is not of and issubclass(schema["cls"], WireModel):
            return
        for part in schema.values():
            _fail_fast(part, of)
    elif isinstance(schema, list):
        for part in schema:
            _fail_fast(part, of)


class WireModel(DescribedModel):
    """Base of everything that is sealed: frozen, strict, closed, camelCase on the wire."""

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="forbid",
        alias_generator=to_camel,
        validate_by_alias=True,
        validate_by_name=True,
        serialize_by_alias=True,
    )

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        """Stop at the first item of an array or a map that is wrong.

        A hostile document has a million of them, and pydantic would hold an error for each field
        of each.
        """
        schema = handler(source)
        _fail_fast(schema, cls)
        return schema

    def to_wire(self) -> dict[str, Any]:
        """Return the JSON value that is sealed: wire names, enums as strings, no tuples."""
        return self.model_dump(mode="json", by_alias=True)


def _exact(pattern: str) -> AfterValidator:
    """Return a validator for a pattern with look-ahead, which pydantic's own engine lacks.

    ``fullmatch``, not ``search``: Python's ``$`` would let a final line break pass.
    """
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        if compiled.fullmatch(value) is None:
            raise ValueError(f"does not have the form {pattern}")
        return value

    return AfterValidator(check)


_PATH_FORM = r"^(?!/)(?!(.*/)?\.{1,2}(/|$))(?!.*//)[^\u0000-\u001f\u007f-\u009f\\]+$"
_DECIMAL_FORM = r"^(?!-0(\.0+)?$)-?(0|[1-9][0-9]{0,15})(\.[0-9]{1,20})?$"
_SCORE_FORM = r"^(?!-0\.0+$)-?(0|[1-9][0-9]{0,15})\.[0-9]{6}$"

ConditionId = NewType("ConditionId", str)
QueryId = NewType("QueryId", str)
SourceName = NewType("SourceName", str)

_HEX64 = r"^[0-9a-f]{64}$"

Digest = Annotated[Sha256, StringConstraints(pattern=_HEX64, min_length=64, max_length=64)]
"""A SHA-256 digest: 64 lower-case hex digits."""

Bytes32 = Annotated[str, StringConstraints(pattern=_HEX64, min_length=64, max_length=64)]
"""32 bytes that are no digest (salt, nonce): 64 lower-case hex digits."""

Count = Annotated[int, Field(ge=0, le=MAX_SAFE_INTEGER)]
"""A whole number, 0 to 2^53 − 1."""

SafeInteger = Annotated[int, Field(ge=-MAX_SAFE_INTEGER, le=MAX_SAFE_INTEGER)]
"""A whole number that every JSON reader holds exactly, −(2^53 − 1) to 2^53 − 1."""

Positive = Annotated[int, Field(ge=1, le=MAX_SAFE_INTEGER)]
"""A whole number, 1 to 2^53 − 1."""

MAX_POINTS = 10_000_000
"""Most points of one event: a hundred paper-sized sweeps.  It bounds what a reader may be made
to hold."""

PointCount = Annotated[int, Field(ge=0, le=MAX_POINTS)]
"""A number of evaluation points, or the index of one."""

# Visible ASCII but for the quotation mark and the backslash: such text is its own JSON
# string in every encoder, so that an evidence line has one byte form in every language.
_VISIBLE = r"[!#-\[\]-~]"

Source = Annotated[
    SourceName, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=64)
]
"""Name of a corpus within a plan; no slash, so that it can prefix an id."""

Query = Annotated[
    QueryId,
    StringConstraints(
        pattern=rf"^[A-Za-z0-9][A-Za-z0-9._-]*/{_VISIBLE}+$", min_length=3, max_length=256
    ),
]
"""Id of an evaluation query: ``<source>/<id>``."""

Condition = Annotated[
    ConditionId, StringConstraints(pattern=r"^h[0-9]+-b[0-9]+[a-zA-Z0-9:._-]*$", max_length=200)
]
"""Id of a condition, readable: ``h16-b16-suffix``; the baseline is ``h0-b0``."""

_NO_CONTROLS = r"^[^\u0000-\u001f\u007f-\u009f\u2028\u2029]+$"

Name = Annotated[str, StringConstraints(pattern=_NO_CONTROLS, min_length=1, max_length=512)]
"""A name for people: one line, no control characters."""

Text = Annotated[str, StringConstraints(max_length=8192)]
"""Prose, line breaks allowed."""

RelativePath = Annotated[
    str,
    StringConstraints(min_length=1, max_length=1024),
    _exact(_PATH_FORM),
    Field(json_schema_extra={"pattern": _PATH_FORM}),
]
"""A path inside a folder: forward slashes, never absolute, never ``.`` or ``..``."""

Timestamp = Annotated[
    str,
    StringConstraints(
        pattern=r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
        r"T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z$",
        min_length=20,
        max_length=20,
    ),
]
"""A moment in UTC to the second: ``2026-01-31T23:59:59Z`` (RFC 3339)."""

Date = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$"),
]
"""A calendar date: ``2026-01-31``."""

Rate = Annotated[str, StringConstraints(pattern=r"^(0\.[0-9]{6}|1\.000000)$")]
"""A share from 0 to 1 as a decimal string with six places."""

Mean = Annotated[str, StringConstraints(pattern=r"^(0|[1-9][0-9]{0,15})\.[0-9]{2}$")]
"""A non-negative mean as a decimal string with two places."""

Decimal = Annotated[
    str,
    StringConstraints(max_length=40),
    _exact(_DECIMAL_FORM),
    Field(json_schema_extra={"pattern": _DECIMAL_FORM}),
]
"""An exact decimal: ``-?digits(.digits)?``, no exponent, no leading zeros, no −0."""

Margin = Annotated[
    str, StringConstraints(pattern=r"^(0|[1-9][0-9]{0,15})(\.[0-9]{1,20})?$", max_length=40)
]
"""An exact decimal that is not negative."""

Score = Annotated[
    str,
    StringConstraints(max_length=40),
    _exact(_SCORE_FORM),
    Field(json_schema_extra={"pattern": _SCORE_FORM}),
]
"""A fitted or measured value as a decimal string with six places, sign allowed."""

Probability = Annotated[str, StringConstraints(pattern=r"^(0(\.[0-9]{1,20})?|1(\.0{1,20})?)$")]
"""A probability as an exact decimal from 0 to 1."""
