"""An evaluator who seals what they like: signatures, root, counts and rates all fit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from safety_receipts.receipts.bundle import Bundle, BundleWriter
from safety_receipts.receipts.dsse import sign
from safety_receipts.receipts.events.synthetic import ENVIRONMENT, EVENT, synthetic_points
from safety_receipts.receipts.findings.counts.observations import observe
from safety_receipts.receipts.findings.derive import derive
from safety_receipts.receipts.keys import Signer
from safety_receipts.receipts.merkle import RootAccumulator
from safety_receipts.receipts.model.plan import PlanPredicate
from safety_receipts.receipts.model.point import Point, RestrictedRecord
from safety_receipts.receipts.model.statement import (
    PLAN_TYPE,
    STATEMENT_TYPE,
    PlanStatement,
    subject,
)
from safety_receipts.receipts.seal import evaluation_statement

Pair = tuple[Point, RestrictedRecord]


def seal_anything(
    folder: Path,
    plan: PlanPredicate,
    signer: Signer,
    change: Callable[[Point, RestrictedRecord], Pair] = lambda point, record: (point, record),
) -> None:
    """Seal ``plan`` and its synthetic points, after ``change``, without a single check."""
    plan_statement = PlanStatement(
        type=STATEMENT_TYPE,
        subject=subject(plan.checkpoint.name, plan.checkpoint.root),
        predicate_type=PLAN_TYPE,
        predicate=plan,
    )
    envelope = sign(plan_statement.to_wire(), signer)
    writer, root = BundleWriter(folder), RootAccumulator()
    writer.write_plan(envelope)
    points = []
    with writer.evidence(public=True) as sink:
        for honest in synthetic_points(plan, envelope.digest):
            point, record = change(*honest)
            point = point.model_copy(update={"commitment": record.commitment()})
            root.append(sink.append(point, record))
            points.append(point)
    statement = evaluation_statement(
        plan,
        plan_digest=envelope.digest,
        observations=observe(points, plan),
        root=root,
        event=EVENT,
        environment=ENVIRONMENT,
    )
    writer.write_receipt(sign(statement.to_wire(), signer))


def seal_again(
    folder: Path, signer: Signer, change: Callable[[Point, RestrictedRecord], Pair]
) -> None:
    """Change points of a sealed bundle, and sign root and commitments that fit again.

    Counts stay as they are: outcomes, finishes and token counts are not for this.
    """
    bundle, writer, root = Bundle(folder), BundleWriter(folder), RootAccumulator()
    pairs = list(zip(bundle.points(), bundle.responses(), strict=True))
    with writer.evidence(public=True) as sink:
        for honest in pairs:
            point, record = change(*honest)
            point = point.model_copy(update={"commitment": record.commitment()})
            root.append(sink.append(point, record))
    statement = json.loads(bundle.receipt_envelope.payload)
    statement["predicate"]["evidence"]["root"] = root.root().hex()
    if statement["predicate"]["findings"] is not None:
        findings = derive(observe(bundle.points(), bundle.plan.statement.predicate))
        statement["predicate"]["findings"] = findings.to_wire()
    writer.write_receipt(sign(statement, signer))
