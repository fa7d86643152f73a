"""Conditions with all that follows from their points."""

from __future__ import annotations

from fractions import Fraction

from safety_receipts.receipts.canonical import decimal_string
from safety_receipts.receipts.findings.counts import rates
from safety_receipts.receipts.findings.counts.differences import paired_difference
from safety_receipts.receipts.findings.counts.judge_error import corrected_rate
from safety_receipts.receipts.findings.counts.observations import Observations
from safety_receipts.receipts.findings.counts.rates import (
    INTERVAL_LEVEL,
    MEAN_PLACES,
    RATE_PLACES,
    clustered_interval,
)
from safety_receipts.receipts.findings.counts.tally import Selection, Tally, reasons, tally
from safety_receipts.receipts.model.base import SourceName
from safety_receipts.receipts.model.demonstrations import PlannedCondition, QueryRole
from safety_receipts.receipts.model.judge import IntervalMethod, JudgeCalibration
from safety_receipts.receipts.model.receipt import (
    Baseline,
    ConditionResult,
    ControlResult,
    CorrectedRate,
    ReasonCount,
    SourceResult,
)


def condition_results(observations: Observations) -> tuple[ConditionResult, ...]:
    """Return all conditions with their results, in plan order."""
    return _Results(observations).all()


class _Results:
    def __init__(self, observations: Observations) -> None:
        self._observations = observations
        harmful = observations.harmful_queries
        self._harmful = Selection(observations, harmful)
        self._control = None if harmful.all() else Selection(observations, ~harmful)
        self._sources: dict[SourceName, Selection] = {
            source.name: Selection(observations, observations.of_source(source.name))
            for source in observations.plan.queries
        }

    def all(self) -> tuple[ConditionResult, ...]:
        return tuple(map(self._result, range(len(self._observations.plan.conditions))))

    def _result(self, place: int) -> ConditionResult:
        observations = self._observations
        plan, condition = observations.plan, observations.plan.conditions[place]
        found = tally(observations, place, self._harmful)
        counts = found.counts
        fields = {name: getattr(condition, name) for name in PlannedCondition.model_fields}
        return ConditionResult(
            **fields,
            counts=counts,
            reasons=tuple(
                ReasonCount(reason=reason, points=points)
                for reason, points in reasons(observations, place, self._harmful).items()
            ),
            compliance_rate=rates.compliance_rate(counts),
            interval=clustered_interval(found),
            corrected_rate=_corrected(found, plan.judge.calibration),
            baseline_difference=(
                paired_difference(observations, place, 0, self._harmful) if place else None
            ),
            as_published_rate=rates.as_published_rate(counts),
            worst_case_rate=rates.worst_case_rate(counts),
            distinct_prompts=found.distinct_prompts,
            mean_prompt_tokens=(
                decimal_string(Fraction(found.prompt_tokens, counts.generated), MEAN_PLACES)
                if counts.generated
                else None
            ),
            by_source=tuple(
                self._source(place, source.name, source.role) for source in plan.queries
            ),
            control=self._over_refusal(place),
        )

    def _source(self, place: int, name: SourceName, role: QueryRole) -> SourceResult:
        found = tally(self._observations, place, self._sources[name])
        return SourceResult(
            source=name,
            role=role,
            counts=found.counts,
            compliance_rate=rates.compliance_rate(found.counts),
            interval=clustered_interval(found),
        )

    def _over_refusal(self, place: int) -> ControlResult | None:
        if self._control is None:
            return None
        found = tally(self._observations, place, self._control)
        return ControlResult(
            counts=found.counts,
            refusal_rate=rates.refusal_rate(found.counts),
            interval=clustered_interval(found, of_refusals=True),
        )


def _corrected(found: Tally, calibration: JudgeCalibration | None) -> CorrectedRate | None:
    share = rates.compliance_share(found)
    if share is None or calibration is None:
        return None
    corrected = corrected_rate(share, rates.effective_size(found), calibration)
    if corrected is None:
        return None
    return CorrectedRate(
        rate=decimal_string(corrected.rate, RATE_PLACES),
        method=IntervalMethod.LANG_REICZIGEL,
        level=INTERVAL_LEVEL,
        lower=decimal_string(corrected.lower, RATE_PLACES),
        upper=decimal_string(corrected.upper, RATE_PLACES),
    )


def baseline_of(conditions: tuple[ConditionResult, ...]) -> Baseline:
    """Return the baseline block: the first condition, repeated where readers look for it."""
    first = conditions[0]
    return Baseline(condition=first.id, counts=first.counts, compliance_rate=first.compliance_rate)
