"""What findings say of themselves, without the points: their arithmetic, words and grid.

A published receipt has no points to fit again.  Its numbers must still agree with each other, with
the rates beside them, and with the plan.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from safety_receipts.receipts.findings.breakdown.sealed_grid import SealedGrid
from safety_receipts.receipts.findings.counts.observations import Observations
from safety_receipts.receipts.findings.derive import differences, with_breakdown
from safety_receipts.receipts.findings.effects import ALPHA
from safety_receipts.receipts.findings.fits.logit import newton
from safety_receipts.receipts.findings.fits.study import StudyPoints
from safety_receipts.receipts.findings.multiplicity import settle
from safety_receipts.receipts.findings.registry import KINDS
from safety_receipts.receipts.model.findings import Findings
from safety_receipts.receipts.model.plan import PlanPredicate
from safety_receipts.receipts.model.receipt import EvaluationPredicate


def stated_problems(receipt: EvaluationPredicate, plan: PlanPredicate) -> Iterator[str]:
    """Yield what in a receipt's findings contradicts itself, its rates or the plan.

    Breakdown points are derived again only where nothing else does.

    Args:
        receipt: A receipt with findings, whose conditions are the plan's.
        plan: The plan.
    """
    findings = receipt.findings
    if findings is None:
        return
    contradicted = False
    for problem in _own_problems(findings, receipt, plan):
        contradicted = True
        yield problem
    if not contradicted:  # breakdown points of words that do not hold say nothing
        yield from _breakdown_problems(findings, receipt)


def _own_problems(
    findings: Findings, receipt: EvaluationPredicate, plan: PlanPredicate
) -> Iterator[str]:
    """Yield what is wrong with them but for the breakdown points."""
    if findings.alpha != ALPHA:
        yield f"findings.alpha is {findings.alpha}, not {ALPHA}"
    yield from differences(findings.to_wire(), settle(findings, plan).to_wire())
    yield from _grid_problems(findings, plan)
    for kind in KINDS:
        yield from kind.problems(findings, receipt, plan)


def _breakdown_problems(findings: Findings, receipt: EvaluationPredicate) -> Iterator[str]:
    """Yield what in the stated breakdown points does not follow from the counts."""
    if findings.breakdown is None:
        return
    try:
        derived = with_breakdown(findings, SealedGrid.of(receipt))
    except (KeyError, ValueError, ArithmeticError):  # of numpy, LinAlgError is a ValueError
        yield "findings.breakdown is of findings whose conditions or counts are not the receipt's"
        return
    yield from differences(findings.to_wire(), derived.to_wire())


def feeds_findings(plan: PlanPredicate) -> bool:
    """Say whether some experiment of the plan feeds a joint, total-count or ordering finding.

    These are the kinds that a primary hypothesis can name.
    """
    study, nothing = _without_points(plan), _NOTHING
    return any(kind.grid(nothing, study)[1] for kind in KINDS if kind.hypothesis is not None)


_NOTHING = Findings(
    alpha=ALPHA, tests=(), **{field: None for kind in KINDS for field in kind.fields}
)


def _without_points(plan: PlanPredicate) -> StudyPoints:
    """Return a study that knows its grid, and no point."""
    nothing = np.zeros((len(plan.conditions), 0, 0), dtype=np.int8)
    tokens = nothing.astype(np.int64)
    return StudyPoints(
        Observations(plan, nothing, nothing, nothing, tokens, nothing, nothing), newton
    )


def _grid_problems(findings: Findings, plan: PlanPredicate) -> Iterator[str]:
    study = _without_points(plan)
    known = {condition.id for condition in plan.conditions}
    for kind in KINDS:
        stated, planned = kind.grid(findings, study)
        if stated != planned:
            yield (
                f"findings.{kind.fields[0]}: not the conditions that the plan's experiments ask for"
            )
    for kind in KINDS:
        for id_ in kind.conditions(findings):
            if id_ not in known:
                yield f"findings name {id_}, which is not a condition of the plan"
