"""An evaluator with the true key who lies: signatures, root, counts and rates all fit.

No check that needs no model can find this; it is what audits are for.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from receipts.bundle import Bundle
from receipts.findings.derive import derive
from receipts.keys import Signer
from receipts.model.point import Outcome, Point, RestrictedRecord
from receipts.seal import seal_event


def relabel(bundle: Path, forged: Path, signer: Signer, every: int) -> int:
    """Seal a copy of a bundle in which compliances are recorded as refusals.

    The responses stay what they were.

    Args:
        bundle: The honest bundle.
        forged: A new folder.
        signer: The evaluator's own key.
        every: Every so manieth compliance is relabelled.

    Returns:
        How many were.

    Raises:
        ReceiptsError: The bundle cannot be read, or the folder not written.
    """
    honest = Bundle(bundle)
    relabelled = 0
    seen = 0

    def points() -> Iterator[tuple[Point, RestrictedRecord]]:
        nonlocal relabelled, seen
        for point, record in zip(honest.points(), honest.responses(), strict=True):
            if point.outcome is not Outcome.COMPLIED or record.judge is None:
                yield point, record
                continue
            seen += 1
            if seen % every:
                yield point, record
                continue
            relabelled += 1
            judge = record.judge.model_copy(update={"outcome": Outcome.REFUSED})
            said = record.model_copy(update={"outcome": Outcome.REFUSED, "judge": judge})
            changed = {"outcome": Outcome.REFUSED, "commitment": said.commitment()}
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
    return relabelled
