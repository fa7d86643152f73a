"""Every statement this program reads: predicate type → the model it is read as, and its schema.

A statement says what it is by its ``predicateType``, ``urn:safety-receipts:KIND:MAJOR`` (in-toto
Attestation Framework, section Predicate).  Reading looks that up here and nowhere else: a type
that is not in the table is an error that says what was met, and never read as the nearest one.

A new major version of a kind is one more row: its own model and schema, and on the rows before
it ``upgrade``, from what was written to the model that the program works with.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from os import PathLike
from types import MappingProxyType
from typing import Any, Final, Generic, TypeVar, cast

from safety_receipts.receipts.documents.parse import read_as, unknown_fields
from safety_receipts.receipts.documents.strict_json import parse_json
from safety_receipts.receipts.errors import MalformedError
from safety_receipts.receipts.io.text import printable
from safety_receipts.receipts.model.base import WireModel
from safety_receipts.receipts.model.statement import (
    AUDIT_START_TYPE,
    AUDIT_TYPE,
    CALIBRATION_TYPE,
    EVALUATION_TYPE,
    FIRST_AUDIT_START_TYPE,
    FIRST_AUDIT_TYPE,
    PLAN_TYPE,
    PUBLIC_AUDIT_TYPE,
    AuditStartStatement,
    AuditStatement,
    CalibrationStatement,
    EvaluationStatement,
    PlanStatement,
    PublicAuditStatement,
)

T = TypeVar("T", bound=WireModel)

_URN = re.compile(r"urn:safety-receipts:([a-z-]+):([1-9][0-9]{0,5})")
_LONGEST = 120


@dataclass(frozen=True)
class StatementVersion:
    """One predicate type."""

    noun: str
    """What such a statement is called in messages, with its article."""
    written: type[WireModel]
    """The model of what is signed."""
    schema: str
    """Name of its JSON Schema."""
    read: type[WireModel]
    """The model that the program works with; ``written`` where nothing is upgraded."""
    upgrade: Callable[[Any], WireModel] | None = None
    """From ``written`` to ``read``; None: they are one."""


def _as_it_is(noun: str, model: type[WireModel], schema: str) -> StatementVersion:
    return StatementVersion(noun, model, schema, model)


_AUDIT_START: Final = _as_it_is(
    "the announcement of an audit", AuditStartStatement, "audit-start-statement"
)
_AUDIT: Final = _as_it_is("the result of an audit", AuditStatement, "audit-statement")

STATEMENTS: Final[Mapping[str, StatementVersion]] = MappingProxyType(
    {
        PLAN_TYPE: _as_it_is("a plan", PlanStatement, "plan-statement"),
        EVALUATION_TYPE: _as_it_is("a receipt", EvaluationStatement, "evaluation-statement"),
        # Version 2 may name other rates, which readers of version 1 take for others; the
        # fields are the same.
        FIRST_AUDIT_START_TYPE: _AUDIT_START,
        AUDIT_START_TYPE: _AUDIT_START,
        FIRST_AUDIT_TYPE: _AUDIT,
        AUDIT_TYPE: _AUDIT,
        PUBLIC_AUDIT_TYPE: _as_it_is(
            "the public form of an audit", PublicAuditStatement, "audit-public-statement"
        ),
        CALIBRATION_TYPE: _as_it_is("a calibration", CalibrationStatement, "calibration-statement"),
    }
)
"""Predicate type → how its statements are read."""


@dataclass(frozen=True)
class ReadStatement(Generic[T]):
    """A statement that was read, and what it was read from."""

    statement: T
    """As the program works with it."""
    document: Any
    """The payload as plain JSON, unknown fields included."""
    unknown: tuple[str, ...]
    """JSON paths of the fields that the model of what was written does not know."""


def predicate_type(payload: bytes, *, file: str | PathLike[str] | None = None) -> str | None:
    """Return the predicate type that a statement names; None: it names none.

    Args:
        payload: UTF-8 JSON; the caller has bounded its length.
        file: Named in errors.

    Raises:
        MalformedError: It is no JSON.
    """
    return _named(parse_json(payload, file=file))


def _named(document: Any) -> str | None:
    kind = document.get("predicateType") if isinstance(document, dict) else None
    return kind if isinstance(kind, str) else None


def read_statement(
    payload: bytes,
    *wanted: type[T],
    file: str | PathLike[str] | None = None,
    versions: Mapping[str, StatementVersion] = STATEMENTS,
) -> ReadStatement[T]:
    """Read a signed statement as what it says it is.

    Args:
        payload: UTF-8 JSON; the caller has bounded its length.
        wanted: The models that belong here; a statement of another kind is an error.
        file: Named in errors.
        versions: The table to look in.

    Returns:
        The statement; its type is one of ``wanted``.

    Raises:
        MalformedError: It is no JSON, names a type or a version that this program does not know,
            is of another kind, or does not fit its schema.
    """
    document = parse_json(payload, file=file)
    named = _named(document)
    version = None if named is None else versions.get(named)
    if version is None or version.read not in wanted:
        belongs = [known.noun for known in versions.values() if known.read in wanted]
        message, hint = _refusal(named, version, tuple(dict.fromkeys(belongs)), versions)
        place = "$.predicateType" if isinstance(document, dict) else "$"
        raise MalformedError(message, file=file, place=place, hint=hint)
    statement = read_as(version.written, version.schema, payload, document, file=file)
    unknown = tuple(unknown_fields(document, statement))
    read = statement if version.upgrade is None else version.upgrade(statement)
    return ReadStatement(cast("T", read), document, unknown)  # `version.read` is in `wanted`


def _refusal(
    named: str | None,
    version: StatementVersion | None,
    belongs: tuple[str, ...],
    versions: Mapping[str, StatementVersion],
) -> tuple[str, str]:
    """Return why a statement is not read, and what to do."""
    here = " or ".join(filter(None, (", ".join(belongs[:-1]), belongs[-1])))
    if named is None:
        return f"names no predicate type: this is not {here}", "get the file again from its source"
    if version is not None:
        return f"is {version.noun}, and {here} belongs here", "give the file of the right kind"
    shown = printable(named, _LONGEST)
    if (urn := _URN.fullmatch(named)) is not None:
        known = {
            int(match[2]) for match in map(_URN.fullmatch, versions) if match and match[1] == urn[1]
        }
        if known and int(urn[2]) > max(known):
            newest = f"urn:safety-receipts:{urn[1]}:{max(known)}"
            return (
                f"is of type {shown}, and this program reads no newer one than {newest}",
                "read it with a newer version of safety-receipts",
            )
    return (
        f"is of type {shown}, which this program does not know: {here} belongs here",
        "it may be another tool's, or made by a newer version of safety-receipts",
    )
