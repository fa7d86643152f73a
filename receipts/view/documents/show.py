"""What ``receipts show --json`` prints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import PrivateAttr, SerializerFunctionWrapHandler, model_serializer

from safety_receipts.receipts.bundle import SignedStatement
from safety_receipts.receipts.model.audit import AuditMethod, AuditVerdict
from safety_receipts.receipts.model.base import Count, Digest, Probability
from safety_receipts.receipts.model.receipt import EvaluationPredicate
from safety_receipts.receipts.model.statement import AuditStartStatement, EvaluationStatement
from safety_receipts.receipts.view.audits import AuditKind, ListedAudit
from safety_receipts.receipts.view.documents.base import SCHEMA, Document
from safety_receipts.receipts.view.documents.inputs import Inputs, inputs_of


class ListedAuditPart(Document):
    """An audit that lies in the bundle, as it presents itself."""

    digest: Digest
    """Its digest."""
    kind: AuditKind
    """What it is."""
    keyid: str
    """Who is said to have signed it; empty: nobody is named."""
    verdict: AuditVerdict | None
    """Its verdict; null: it is an announcement."""
    method: AuditMethod
    """How drawn points are looked at."""
    epsilon: Probability
    """Tolerated error of a rate."""
    alpha: Probability
    """Risk of confirming a wrong rate."""
    calibrated: bool
    """Whether it names a calibration."""
    rates: Count
    """How many claims on rates it is about."""


class ShowDocument(EvaluationPredicate):
    """What a receipt says: its predicate, and what the bundle says of it.  Nothing is verified.

    What is signed is printed as it is signed: in the order of its bytes, without fields that it
    does not have, and with those that a newer version added and this schema does not know.
    """

    document: Annotated[Literal["cli-show/1"], SCHEMA] = "cli-show/1"
    digest: Digest
    """The receipt's digest."""
    keyid: str
    """Who is said to have signed it; empty: nobody is named."""
    inputs: Inputs
    """What was chosen of rows and prompt."""
    plots: tuple[str, ...] | None = None
    """The figures that were written; left out where none were asked for."""
    audits: tuple[ListedAuditPart, ...]
    """The audits in the bundle."""

    _signed: dict[str, Any] = PrivateAttr(default_factory=dict)
    """The predicate as it was signed; empty: made from nothing that was."""

    @model_serializer(mode="wrap")
    def _as_signed(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        stated: dict[str, Any] = dump(self)
        if not self._signed:
            return stated
        first = {name: stated[name] for name in ("schema", "digest", "keyid", "inputs")}
        plots = {} if self.plots is None else {"plots": stated["plots"]}
        return {**first, **self._signed, **first, **plots, "audits": stated["audits"]}


def show_document(
    receipt: SignedStatement[EvaluationStatement],
    chosen: Sequence[bool],
    *,
    plots: Sequence[Path] | None,
    audits: Sequence[ListedAudit],
) -> ShowDocument:
    """Return what is shown of a receipt.

    Args:
        receipt: The receipt.
        chosen: Of each condition, whether it is shown; at least one is.
        plots: What was drawn; None: nothing was to be drawn.
        audits: The audits in the bundle.
    """
    predicate: dict[str, Any] = receipt.document["predicate"]
    said = receipt.statement.predicate
    stated = {name: getattr(said, name) for name in EvaluationPredicate.model_fields}
    conditions = [one for one, shown in zip(said.conditions, chosen, strict=True) if shown]
    signed = [one for one, shown in zip(predicate["conditions"], chosen, strict=True) if shown]
    document = ShowDocument(
        **stated | {"conditions": tuple(conditions)},
        digest=receipt.envelope.digest,
        keyid=receipt.envelope.signatures[0].keyid,
        inputs=inputs_of(said),
        plots=None if plots is None else tuple(map(str, plots)),
        audits=tuple(map(_listed, audits)),
    )
    document._signed = predicate | {"conditions": signed}
    return document


def _listed(audit: ListedAudit) -> ListedAuditPart:
    said, statement = audit.statement.predicate, audit.statement
    verdict = None
    if not isinstance(statement, AuditStartStatement):
        verdict = statement.predicate.verdict
    return ListedAuditPart(
        digest=audit.digest,
        kind=audit.kind,
        keyid=audit.keyid,
        verdict=verdict,
        method=said.method,
        epsilon=said.epsilon,
        alpha=said.alpha,
        calibrated=said.calibration is not None,
        rates=audit.rates,
    )
