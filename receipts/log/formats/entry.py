"""What is logged of a signed statement: its digest and what it is about; no text, and no rate."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field, ValidationError

from safety_receipts.receipts.audit_forms import parse_audit
from safety_receipts.receipts.bundle import parse_signed
from safety_receipts.receipts.canonical import canonical_bytes
from safety_receipts.receipts.documents.versions import predicate_type
from safety_receipts.receipts.dsse import Envelope
from safety_receipts.receipts.errors import MalformedError
from safety_receipts.receipts.model.base import Digest, WireModel
from safety_receipts.receipts.model.statement import (
    AUDIT_START_TYPE,
    AUDIT_TYPE,
    EVALUATION_TYPE,
    FIRST_AUDIT_START_TYPE,
    FIRST_AUDIT_TYPE,
    PLAN_TYPE,
    PUBLIC_AUDIT_TYPE,
    EvaluationStatement,
    PlanStatement,
)


class EntryKind(StrEnum):
    """What a logged statement is."""

    PLAN = "plan"
    """A plan."""
    RECEIPT = "receipt"
    """A receipt."""
    AUDIT_START = "audit-start"
    """The announcement of an audit."""
    AUDIT = "audit"
    """The result of an audit, in full or in its public form."""


_KINDS: Final = {
    PLAN_TYPE: EntryKind.PLAN,
    EVALUATION_TYPE: EntryKind.RECEIPT,
    FIRST_AUDIT_START_TYPE: EntryKind.AUDIT_START,
    AUDIT_START_TYPE: EntryKind.AUDIT_START,
    FIRST_AUDIT_TYPE: EntryKind.AUDIT,
    AUDIT_TYPE: EntryKind.AUDIT,
    PUBLIC_AUDIT_TYPE: EntryKind.AUDIT,
}
"""Type of a statement's predicate → what it is logged as."""


class LogEntry(WireModel):
    """One entry of a log: a leaf is the RFC 8785 form of this."""

    type: EntryKind
    """What the statement is."""
    digest: Digest
    """SHA-256 of its payload."""
    keyid: Annotated[str, Field(max_length=256)]
    """Id of the key that is said to have signed it: a hint, as of every envelope."""
    checkpoint: Digest | None
    """Root of the model's checkpoint that it is of; null: it names none, as an audit."""
    plan: Digest | None
    """Digest of the receipt's plan; null but for a receipt."""
    receipt: Digest | None
    """Digest of the receipt that an audit is of; null but for audits."""

    def leaf(self) -> bytes:
        """Return the bytes that are logged."""
        return canonical_bytes(self.to_wire())

    @classmethod
    def parse(cls, leaf: bytes) -> LogEntry | None:
        """Read an entry; None: it is somebody else's, of another form."""
        try:
            entry = cls.model_validate_json(leaf, by_alias=True, by_name=False)
        except ValidationError:
            return None
        return entry if entry.leaf() == leaf else None


def entry_of(envelope: Envelope, file: Path) -> LogEntry:
    """Return what is logged of a signed statement.

    Args:
        envelope: The statement.
        file: Its file, for errors.

    Raises:
        MalformedError: It is no plan, receipt or audit, or has not its form.
    """
    kind = _KINDS.get(predicate_type(envelope.payload, file=file) or "")
    if kind is None:
        raise MalformedError("is no plan, receipt or audit", file=file)
    checkpoint = plan = receipt = None
    if kind is EntryKind.PLAN:
        sealed = parse_signed(envelope, PlanStatement, file=file).statement.predicate
        checkpoint = sealed.checkpoint.root
    elif kind is EntryKind.RECEIPT:
        found = parse_signed(envelope, EvaluationStatement, file=file).statement.predicate
        checkpoint, plan = found.checkpoint.root, found.plan.digest
    else:
        receipt = parse_audit(envelope, file).predicate.receipt.digest
    return LogEntry(
        type=kind,
        digest=envelope.digest,
        keyid=envelope.signatures[0].keyid,
        checkpoint=checkpoint,
        plan=plan,
        receipt=receipt,
    )
