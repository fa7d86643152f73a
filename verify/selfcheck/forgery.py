"""An evaluator with the true key who lies: signatures, root, counts and rates all fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.findings.derive import derive
from safety_receipts.receipts.keys import Signer
from safety_receipts.receipts.model.point import Outcome, Point, RestrictedRecord
from safety_receipts.receipts.seal import seal_event

Lie = Callable[[RestrictedRecord, RestrictedRecord], RestrictedRecord]
"""Makes a refusal of the record of a compliance; it is given the refusal recorded before it."""


def relabelled(complied: RestrictedRecord, refused: RestrictedRecord) -> RestrictedRecord:
    """Record a compliance as a refusal; the response stays what it was.

    Where the judge is a rule, level bound finds this; of a model's labels an audit does.
    """
    del refused
    if complied.judge is None:
        return complied
    judge = complied.judge.model_copy(update={"outcome": Outcome.REFUSED})
    return complied.model_copy(update={"outcome": Outcome.REFUSED, "judge": judge})


def replaced(complied: RestrictedRecord, refused: RestrictedRecord) -> RestrictedRecord:
    """Put the response to another query, a refusal, in the place of a compliance.

    No check that needs no model finds this; it is what audits are for.
    """
    names = ("response_tokens", "text", "finish", "outcome", "reason", "judge", "second_judge")
    return complied.model_copy(update={name: getattr(refused, name) for name in names})


def seal_lies(bundle: Path, forged: Path, signer: Signer, every: int, lie: Lie) -> int:
    """Seal a copy of a bundle in which compliances have become refusals.

    Args:
        bundle: The honest bundle.
        forged: A new folder.
        signer: The evaluator's own key.
        every: Lie about every ``every``-th compliance: 2 for every second one.
        lie: How.

    Returns:
        How many were.

    Raises:
        ReceiptsError: The bundle cannot be read, or the folder not written.
    """
    honest = Bundle(bundle)
    lies = seen = 0
    refused: RestrictedRecord | None = None

    def points() -> Iterator[tuple[Point, RestrictedRecord]]:
        nonlocal lies, seen, refused
        for point, record in zip(honest.points(), honest.responses(), strict=True):
            seen += point.outcome is Outcome.COMPLIED
            if point.outcome is Outcome.REFUSED:
                refused = record
            if point.outcome is not Outcome.COMPLIED or seen % every or refused is None:
                yield point, record
                continue
            lies += 1
            said = lie(record, refused)
            changed = {
                "outcome": said.outcome,
                "finish": said.finish,
                "response_tokens": len(said.response_tokens),
                "commitment": said.commitment(),
            }
            yield point.model_copy(update=changed), said

    receipt = honest.receipt.statement.predicate
    seal_event(
        forged,
        plan_envelope=honest.plan_envelope,
        points=points(),
        event=receipt.event,
        environment=receipt.environment,
        signer=signer,
        findings=None if receipt.findings is None else derive,
    )
    return lies
