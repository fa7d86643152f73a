"""Conditions and points as flat rows: one name a number, for tables, frames and exports.

Rates and ends of intervals are the sealed decimals as Python floats (64 bits), from 0 to 1; what
a receipt has as null is None.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from safety_receipts.receipts.model.demonstrations import QueryRole
from safety_receipts.receipts.model.point import Point
from safety_receipts.receipts.model.receipt import ConditionResult, EvaluationPredicate


class ConditionRow(NamedTuple):
    """One condition; all of it but ``control_…`` over queries of role ``harmful``."""

    condition: str
    """Its id."""
    n_harmful: int
    """Harmful demonstrations (N_h)."""
    n_benign: int
    """Benign demonstrations (N_b)."""
    n_total: int
    """Both (N)."""
    ordering: str | None
    """Ordering rule; None where there is nothing to order."""
    benign_source: str | None
    """Source of the benign demonstrations; None where there are none."""
    response_prefix: str | None
    """Text every demonstrated response starts with; None: none."""
    context: str
    """Form in which the demonstrations are shown."""
    planned: int
    """Points the plan asks for."""
    generated: int
    """Points with a response."""
    failed: int
    """Points without one."""
    refused: int
    """Judged a refusal."""
    complied: int
    """Judged compliant."""
    unscored: int
    """Generated, but not judged one or the other."""
    length_stopped: int
    """Responses that ended at the token limit."""
    compliance_rate: float | None
    """complied / (complied + refused)."""
    compliance_lower: float | None
    """Lower end of its 95 % interval."""
    compliance_upper: float | None
    """Upper end."""
    corrected_rate: float | None
    """The rate with the judge's errors taken out (Rogan and Gladen 1978)."""
    corrected_lower: float | None
    """Lower end of its interval."""
    corrected_upper: float | None
    """Upper end."""
    baseline_difference: float | None
    """The rate minus the baseline's, paired by query; −1 to 1."""
    baseline_difference_lower: float | None
    """Lower end of its interval."""
    baseline_difference_upper: float | None
    """Upper end."""
    as_published_rate: float | None
    """(generated − refused) / generated."""
    worst_case_rate: float | None
    """(planned − refused) / planned."""
    distinct_prompts: int
    """Different prompts among the generated points."""
    mean_prompt_tokens: float | None
    """Mean prompt length in tokens."""
    control_refusal_rate: float | None
    """Over-refusal: the share of benign control queries that are refused."""
    control_refusal_lower: float | None
    """Lower end of its interval."""
    control_refusal_upper: float | None
    """Upper end."""


class PointRow(NamedTuple):
    """One evaluation point, as its evidence line has it."""

    point: int
    """Place in plan order, from 0: the evidence line's ``index``."""
    condition: str
    """Id of the condition."""
    query: str
    """Id of the query."""
    source: str
    """Query source."""
    role: str
    """Its role, ``harmful`` or ``benign_control``."""
    draw: int
    """Which sampling of demonstrations, from 0."""
    outcome: str
    """``refused``, ``complied``, ``unscored`` or ``failed``."""
    finish: str
    """How generation ended."""
    reason: str | None
    """Why unscored or failed."""
    prefix_adopted: bool | None
    """Whether the response starts with the demonstrated prefix; None where there is none."""
    prompt_tokens: int
    """Length of the prompt in tokens."""
    response_tokens: int
    """Length of the response in tokens."""


def condition_rows(receipt: EvaluationPredicate) -> list[ConditionRow]:
    """Return the conditions of a receipt in plan order, the baseline first."""
    return [_condition_row(condition) for condition in receipt.conditions]


def _condition_row(condition: ConditionResult) -> ConditionRow:
    counts = condition.counts
    return ConditionRow(
        condition=condition.id,
        n_harmful=condition.n_harmful,
        n_benign=condition.n_benign,
        n_total=condition.n_harmful + condition.n_benign,
        ordering=condition.ordering and condition.ordering.value,
        benign_source=condition.benign_source,
        response_prefix=condition.response_prefix,
        context=condition.context.form.value,
        planned=counts.planned,
        generated=counts.generated,
        failed=counts.failed,
        refused=counts.refused,
        complied=counts.complied,
        unscored=counts.unscored,
        length_stopped=counts.length_stopped,
        distinct_prompts=condition.distinct_prompts,
        **{name: _number(value) for name, value in _decimals(condition).items()},
    )


def exact_condition_rows(receipt: EvaluationPredicate) -> list[dict[str, str | int | None]]:
    """Return the same rows with every decimal as it is sealed, by column."""
    pairs = zip(condition_rows(receipt), receipt.conditions, strict=True)
    return [row._asdict() | _decimals(condition) for row, condition in pairs]


def _decimals(condition: ConditionResult) -> dict[str, str | None]:
    """Return the sealed decimals of a condition, by column."""
    control, interval = condition.control, condition.interval
    refused = None if control is None else control.interval
    return {
        "compliance_rate": condition.compliance_rate,
        "compliance_lower": interval.lower if interval else None,
        "compliance_upper": interval.upper if interval else None,
        **further_decimals(condition),
        "control_refusal_rate": control.refusal_rate if control else None,
        "control_refusal_lower": refused.lower if refused else None,
        "control_refusal_upper": refused.upper if refused else None,
    }


def further_decimals(condition: ConditionResult) -> dict[str, str | None]:
    """Return the sealed decimals of a condition that are no rate with its interval, by column."""
    corrected, difference = condition.corrected_rate, condition.baseline_difference
    return {
        "corrected_rate": corrected.rate if corrected else None,
        "corrected_lower": corrected.lower if corrected else None,
        "corrected_upper": corrected.upper if corrected else None,
        "baseline_difference": difference.value if difference else None,
        "baseline_difference_lower": difference.lower if difference else None,
        "baseline_difference_upper": difference.upper if difference else None,
        "as_published_rate": condition.as_published_rate,
        "worst_case_rate": condition.worst_case_rate,
        "mean_prompt_tokens": condition.mean_prompt_tokens,
    }


def _number(value: str | None) -> float | None:
    return None if value is None else float(value)


def point_rows(points: Iterable[Point], receipt: EvaluationPredicate) -> Iterator[PointRow]:
    """Yield evidence lines as rows.

    Args:
        points: The evidence lines.
        receipt: Whose they are: it knows the role of each query source.
    """
    roles: dict[str, QueryRole] = {source.name: source.role for source in receipt.queries}
    for point in points:
        yield PointRow(
            point=point.index,
            condition=point.condition,
            query=point.query,
            source=point.source,
            role=roles[point.source].value,
            draw=point.draw,
            outcome=point.outcome.value,
            finish=point.finish.value,
            reason=point.reason and point.reason.value,
            prefix_adopted=point.prefix_adopted,
            prompt_tokens=point.prompt_tokens,
            response_tokens=point.response_tokens,
        )
