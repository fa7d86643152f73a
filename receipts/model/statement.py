"""In-toto Statements: what was found (predicate) about what (subject)."""

from __future__ import annotations

from typing import Annotated, Generic, Literal, TypeVar

from pydantic import ConfigDict, Field

from safety_receipts.receipts.model.audit import (
    AuditPredicate,
    AuditStartPredicate,
    PublicAuditPredicate,
)
from safety_receipts.receipts.model.base import Digest, Name, WireModel
from safety_receipts.receipts.model.calibration import CalibrationPredicate
from safety_receipts.receipts.model.plan import PlanPredicate
from safety_receipts.receipts.model.receipt import EvaluationPredicate

STATEMENT_TYPE: Literal["https://in-toto.io/Statement/v1"] = "https://in-toto.io/Statement/v1"
PLAN_TYPE: Literal["urn:safety-receipts:plan:1"] = "urn:safety-receipts:plan:1"
EVALUATION_TYPE: Literal["urn:safety-receipts:evaluation:1"] = "urn:safety-receipts:evaluation:1"
FIRST_AUDIT_START_TYPE: Literal["urn:safety-receipts:audit-start:1"] = (
    "urn:safety-receipts:audit-start:1"
)
AUDIT_START_TYPE: Literal["urn:safety-receipts:audit-start:2"] = "urn:safety-receipts:audit-start:2"
"""It may name rates of sources and of benign controls, which readers of ``:1`` take for others."""
FIRST_AUDIT_TYPE: Literal["urn:safety-receipts:audit:1"] = "urn:safety-receipts:audit:1"
AUDIT_TYPE: Literal["urn:safety-receipts:audit:2"] = "urn:safety-receipts:audit:2"
PUBLIC_AUDIT_TYPE: Literal["urn:safety-receipts:audit-public:1"] = (
    "urn:safety-receipts:audit-public:1"
)
CALIBRATION_TYPE: Literal["urn:safety-receipts:calibration:1"] = "urn:safety-receipts:calibration:1"


class DigestSet(WireModel):
    """Digests of a subject: SHA-256 only, since sigstore refuses names that it does not know."""

    sha256: Digest
    """SHA-256 as 64 hexadecimal digits."""


class Subject(WireModel):
    """What a statement is about."""

    name: Name
    """Name of the subject; in-toto allows it to be missing, but several tools need it."""
    digest: DigestSet
    """Digest of the subject."""


P = TypeVar("P", bound=WireModel)
T = TypeVar("T", bound=str)


class Statement(WireModel, Generic[T, P]):
    """An in-toto Statement, version 1."""

    # Built where one is read: six kinds would be built twice each, and most commands read two.
    model_config = ConfigDict(defer_build=True)

    type: Annotated[Literal["https://in-toto.io/Statement/v1"], Field(alias="_type")]
    """Type of this document: an in-toto Statement, version 1."""
    subject: Annotated[tuple[Subject, ...], Field(min_length=1, max_length=1)]
    """What the statement is about: exactly one subject."""
    predicate_type: T
    """URN that names the type and version of the predicate."""
    predicate: P
    """What the statement says about its subject."""


class PlanStatement(Statement[Literal["urn:safety-receipts:plan:1"], PlanPredicate]):
    """A sealed plan; its subject is the checkpoint."""

    model_config = ConfigDict(title="Plan statement")


class EvaluationStatement(
    Statement[Literal["urn:safety-receipts:evaluation:1"], EvaluationPredicate]
):
    """An evaluation receipt; its subject is the checkpoint."""

    model_config = ConfigDict(title="Evaluation statement (the receipt)")


class AuditStartStatement(
    Statement[
        Literal["urn:safety-receipts:audit-start:2", "urn:safety-receipts:audit-start:1"],
        AuditStartPredicate,
    ]
):
    """The announcement of an audit; its subject is the receipt."""

    model_config = ConfigDict(title="Audit-start statement")


class AuditStatement(
    Statement[Literal["urn:safety-receipts:audit:2", "urn:safety-receipts:audit:1"], AuditPredicate]
):
    """The result of an audit in full; its subject is the receipt."""

    model_config = ConfigDict(title="Audit statement")


class PublicAuditStatement(
    Statement[Literal["urn:safety-receipts:audit-public:1"], PublicAuditPredicate]
):
    """The result of an audit without the names of drawn points; its subject is the receipt."""

    model_config = ConfigDict(title="Audit statement, public form")


class CalibrationStatement(
    Statement[Literal["urn:safety-receipts:calibration:1"], CalibrationPredicate]
):
    """An auditor's calibration; its subject is the checkpoint."""

    model_config = ConfigDict(title="Calibration statement")


def subject(name: str, digest: Digest) -> tuple[Subject, ...]:
    """Return the subject of a statement about one thing."""
    return (Subject(name=name, digest=DigestSet(sha256=digest)),)
