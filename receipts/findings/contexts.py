"""What other shapes than plain turns do to one mixture of demonstrations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from safety_receipts.receipts.findings.breakdown.sealed_grid import SealedGrid
from safety_receipts.receipts.findings.breakdown.shares import gap
from safety_receipts.receipts.findings.effects import is_significant
from safety_receipts.receipts.findings.fits.changes import counterpart, rate_change
from safety_receipts.receipts.findings.fits.study import StudyPoints
from safety_receipts.receipts.findings.kind import FindingKind
from safety_receipts.receipts.model.base import ConditionId
from safety_receipts.receipts.model.breakdown import FindingBreakdown
from safety_receipts.receipts.model.demonstrations import ExperimentKind
from safety_receipts.receipts.model.findings import ContextFinding, Findings


def context_findings(study: StudyPoints) -> list[ContextFinding]:
    """Return one finding a condition in another context whose mixture was run in plain turns too.

    The conditions are those of the plan's contexts experiments; their counterparts may belong to
    any.
    """
    return [
        ContextFinding(
            condition=study.condition(place).id,
            form=study.condition(place).context.form,
            turns=study.condition(turns).id,
            change=rate_change(study, place, turns),
        )
        for place, turns in _pairs(study)
    ]


def _pairs(study: StudyPoints) -> Iterator[tuple[int, int]]:
    """Yield the places of conditions, each with that of its counterpart in plain turns."""
    ids = [
        id_
        for experiment in study.plan.experiments
        if experiment.kind is ExperimentKind.CONTEXTS
        for id_ in experiment.conditions
    ]
    plain = study.plan.contexts[0]
    for place in study.places(ids):
        if study.condition(place).context != plain:
            turns = counterpart(study, place, context=plain)
            if turns is not None:
                yield place, turns


class ContextKind(FindingKind):
    """What other shapes than plain turns do."""

    name = "context"
    fields = ("contexts",)

    def derive(self, study: StudyPoints) -> Mapping[str, Any]:
        """Compute one finding a condition in another context."""
        return {"contexts": tuple(context_findings(study)) or None}

    def null_hypothesis(self, test: str) -> str:
        """Return what a test would rule out."""
        return "as in plain turns"

    def p_values(self, findings: Findings) -> Iterator[tuple[str, str | None]]:
        """Yield the test of the change that the context makes."""
        for one in findings.contexts or ():
            yield f"{self.name}/{one.condition}", one.change.p if one.change else None

    def breakdowns(self, findings: Findings, sealed: SealedGrid) -> Iterator[FindingBreakdown]:
        """Yield one a change that is significant after correction."""
        adjusted = {test.name: test.adjusted for test in findings.tests}
        for one in findings.contexts or ():
            name = f"{self.name}/{one.condition}"
            if one.change is None or not is_significant(adjusted.get(name, "1")):
                continue
            pair = one.condition, one.turns
            if Decimal(one.change.value) < 0:
                pair = one.turns, one.condition
            high, low = (sealed.counts[id_] for id_ in pair)
            yield sealed.rates_apart(name, pair, gap(high, low))

    def conditions(self, findings: Findings) -> Iterator[ConditionId]:
        """Yield each condition, and its counterpart in plain turns."""
        for context in findings.contexts or ():
            yield from (context.condition, context.turns)
