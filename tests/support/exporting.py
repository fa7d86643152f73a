"""Sealed events for tests of exports: every number there is, none at all, and hostile names."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

from releases import EVALUATOR

from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.canonical import sha256_hex
from safety_receipts.receipts.dsse import sign
from safety_receipts.receipts.events.grid import condition_id
from safety_receipts.receipts.events.synthetic import (
    ENVIRONMENT,
    EVENT,
    Mixture,
    synthetic_plan,
    synthetic_points,
)
from safety_receipts.receipts.findings.counts.rates import wilson
from safety_receipts.receipts.findings.derive import derive
from safety_receipts.receipts.model.base import QueryId
from safety_receipts.receipts.model.demonstrations import Experiment, ExperimentKind, Ordering
from safety_receipts.receipts.model.judge import GoldKind, JudgeCalibration
from safety_receipts.receipts.model.plan import EvidenceAccess, PlanPredicate
from safety_receipts.receipts.model.point import (
    Finish,
    Outcome,
    Point,
    Reason,
    RecordedJudgement,
    RestrictedRecord,
)
from safety_receipts.receipts.model.receipt import EvaluationPredicate
from safety_receipts.receipts.seal import plan_statement, seal_event

HOSTILE = '=HYPERLINK("http://x")<script>&\'\u202e\u200b,;=1+1'
"""A name that is a formula, markup, a reversal of the reading order and a separator."""
BIDI = "\u202e\u200b"
MIXTURES = (
    Mixture(0, 0, None),
    Mixture(0, 4, None),
    Mixture(2, 2, Ordering.SUFFIX),
    Mixture(4, 0, None),
)


def export_plan(*, access: EvidenceAccess = EvidenceAccess.PUBLIC) -> PlanPredicate:
    """Return a plan that gives every kind of number: sources, controls, a calibrated judge."""
    plan = synthetic_plan(
        MIXTURES,
        {"harmful-1": 20, "harmful-2": 14},
        controls={"controls": 10},
        evidence_access=access,
    )
    calibration = JudgeCalibration(
        judge=plan.judge.digest,
        gold=sha256_hex(b"gold"),
        gold_kind=GoldKind.IN_RUN,
        positives=200,
        true_positives=180,
        negatives=200,
        true_negatives=190,
        sensitivity="0.900000",
        sensitivity_interval=wilson(180, 200),
        specificity="0.950000",
        specificity_interval=wilson(190, 200),
        unscored=0,
        strata=(),
    )
    judge = plan.judge.model_copy(update={"calibration": calibration})
    return plan.model_copy(update={"instrument": False, "judge": judge})


def hostile_plan() -> PlanPredicate:
    """Return that plan with hostile names wherever the wire allows them."""
    plan = export_plan()
    first, *others = plan.conditions
    shown = others[-1]
    prefixed = shown.model_copy(
        update={
            "id": condition_id(shown.n_harmful, shown.n_benign, prefix_number=1),
            "response_prefix": HOSTILE,
        }
    )
    conditions = (first, *others, prefixed)
    ids = tuple(QueryId(f"{one};=1+1,-2'<b>") for one in plan.query_ids)
    swept = Experiment(kind=ExperimentKind.SWEEP, conditions=tuple(c.id for c in conditions))
    return plan.model_copy(
        update={
            "name": HOSTILE,
            "training_stage": HOSTILE,
            "checkpoint": plan.checkpoint.model_copy(update={"name": f"../{HOSTILE}/.."}),
            "judge": plan.judge.model_copy(update={"name": HOSTILE}),
            "response_prefixes": (HOSTILE,),
            "query_ids": ids,
            "conditions": conditions,
            "experiments": (swept,),
            "points": len(conditions) * len(ids) * 2,
        }
    )


def seal_export(folder: Path, plan: PlanPredicate, *, judged: bool = True) -> Path:
    """Seal an event of a plan.

    Args:
        folder: The bundle.
        plan: The plan.
        judged: Whether the judge could judge: without, every rate is null.
    """
    # An evaluator's own program signs what ours refuses: names that are not seen.
    envelope = sign(plan_statement(plan).to_wire(), EVALUATOR)
    points = synthetic_points(plan, envelope.digest)
    seal_event(
        folder,
        plan_envelope=envelope,
        points=points if judged else _unscored(points),
        event=EVENT,
        environment=ENVIRONMENT,
        signer=EVALUATOR,
        findings=derive,
    )
    return folder


def _unscored(
    points: Iterator[tuple[Point, RestrictedRecord]],
) -> Iterator[tuple[Point, RestrictedRecord]]:
    reason = Reason.JUDGE_NA
    said = RecordedJudgement(outcome=Outcome.UNSCORED, reason=reason, raw="", margin=None)
    for point, record in points:
        ended = {"finish": Finish.STOP, "outcome": Outcome.UNSCORED, "reason": reason}
        told = {"error": None, "text": "stand-in", "response_tokens": (7, 2), "judge": said}
        changed = record.model_copy(update=ended | told)
        more = {"response_tokens": 2, "commitment": changed.commitment()}
        yield point.model_copy(update=ended | more), changed


def receipt_of(folder: Path) -> EvaluationPredicate:
    return Bundle(folder).receipt.statement.predicate


def texts_of(folder: Path) -> list[str]:
    """Return the texts of all responses."""
    return [record.text for record in Bundle(folder).responses()]


def decimals(value: Any, at: str = "") -> Iterator[tuple[str, str]]:
    """Yield every decimal of the results of a condition, with its place."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from decimals(part, f"{at}.{key}" if at else key)
    elif isinstance(value, list):
        for part in value:
            name = part.get("source", part.get("reason", "")) if isinstance(part, dict) else ""
            yield from decimals(part, f"{at}[{name}]")
    elif isinstance(value, int) and not isinstance(value, bool):
        yield at, str(value)
    elif isinstance(value, str) and _is_decimal(value):
        yield at, value


def _is_decimal(text: str) -> bool:
    return text.lstrip("-").replace(".", "", 1).isdigit() and "." in text


def same(found: float | Decimal | str, sealed: str) -> bool:
    """Say whether a number is the sealed decimal, exactly: a float by its shortest spelling."""
    return Decimal(str(found)) == Decimal(sealed)


def digest_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
