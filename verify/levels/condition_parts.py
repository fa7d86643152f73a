"""The parts of each condition's results, derived again from the evidence."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from safety_receipts.receipts.findings.counts.conditions import condition_results
from safety_receipts.receipts.findings.counts.observations import Observations
from safety_receipts.receipts.model.difference import Difference
from safety_receipts.receipts.model.judge import Interval
from safety_receipts.receipts.model.receipt import (
    ConditionResult,
    CorrectedRate,
    Counts,
    EvaluationPredicate,
    ReasonCount,
)
from safety_receipts.verify.check_names import CheckName
from safety_receipts.verify.checks import CheckList, first_problem

ResultPart = Counts | tuple[ReasonCount, ...] | Interval | Difference | str | int | None

Parts = list[tuple[str, ResultPart]]
"""Parts of a condition's results, each after words that say where it stands."""


def _part_problems(stated: Parts, derived: Parts) -> Iterator[str]:
    """Yield where parts of a condition's results differ from those that the evidence gives."""
    if [what for what, _ in stated] != [what for what, _ in derived]:
        # Which of them goes with which cannot be said.
        yield "not the parts, or not in the order, that the evidence gives"
        return
    for (what, stated_part), (_, derived_part) in zip(stated, derived, strict=True):
        if stated_part != derived_part:
            yield f"{what}the evidence gives {_show(derived_part)}, not {_show(stated_part)}"


def _source_parts(condition: ConditionResult) -> Parts:
    parts: Parts = []
    for result in condition.by_source:
        where = f"{result.source}: "
        parts += [
            (where, result.counts),
            (where, result.compliance_rate),
            (where, result.interval),
        ]
    return parts


def _control_parts(condition: ConditionResult) -> Parts:
    control = condition.control
    if control is None:
        return [("", None)] * 3
    return [("", control.counts), ("", control.refusal_rate), ("", control.interval)]


def _prompt_parts(condition: ConditionResult) -> Parts:
    return [
        ("distinct prompts: ", condition.distinct_prompts),
        ("mean prompt tokens: ", condition.mean_prompt_tokens),
    ]


@dataclass(frozen=True)
class _Check:
    """The check of one part of all conditions' results."""

    name: CheckName
    parts: Callable[[ConditionResult], Parts]
    good: str
    """What is said where it passes."""
    there: Callable[[ConditionResult], object] = lambda _: True
    """What shows that a condition has the part."""
    nothing: str = ""
    """What is said where none has it."""


_FOLLOW: Final = "follow from the evidence"
_CHECKS: Final = (
    _Check(CheckName.COUNTS, lambda c: [("", c.counts), ("", c.reasons)], _FOLLOW),
    _Check(CheckName.BY_SOURCE, _source_parts, "follows from the evidence"),
    _Check(
        CheckName.INTERVALS,
        lambda c: [("", c.interval), ("corrected rate: ", c.corrected_rate)],
        _FOLLOW,
    ),
    _Check(
        CheckName.DIFFERENCES,
        lambda c: [("difference from the baseline: ", c.baseline_difference)],
        _FOLLOW,
        there=lambda c: c.baseline_difference,
        nothing="no condition can be held against the baseline",
    ),
    _Check(
        CheckName.CONTROL,
        _control_parts,
        "follows from the evidence",
        there=lambda c: c.control,
        nothing="the plan has no benign controls",
    ),
    _Check(CheckName.PROMPTS, _prompt_parts, _FOLLOW),
)


def _show(part: ResultPart) -> str:
    """Return a short text of a part of a condition's results."""
    match part:
        case Counts():
            return (
                f"{part.refused} refused, {part.complied} complied, {part.unscored} unscored, "
                f"{part.failed} failed, {part.length_stopped} at the length limit"
            )
        case tuple():
            return ", ".join(f"{one.points} {one.reason.value}" for one in part) or "no reasons"
        case CorrectedRate(rate=value) | Difference(value=value):
            return f"{value}, {_ends(part)}"
        case Interval():
            return _ends(part)
        case None:
            return "none"
        case _:
            return str(part)


def _ends(interval: Interval | Difference) -> str:
    ends = f"{interval.lower} to {interval.upper}"
    return f"{ends} ({interval.method.value}, level {interval.level})"


def check_parts(
    receipt: EvaluationPredicate, observations: Observations, checks: CheckList
) -> None:
    """Hold each condition's results to those that the evidence gives, one check for each part.

    Args:
        receipt: The receipt, whose conditions are the plan's.
        observations: The evidence.
        checks: Receives the checks.
    """
    derived = condition_results(observations)
    for check in _CHECKS:
        problems = [
            f"{stated.id}: {problem}"
            for stated, again in zip(receipt.conditions, derived, strict=True)
            for problem in _part_problems(check.parts(stated), check.parts(again))
        ]
        if any(map(check.there, (*receipt.conditions, *derived))):
            checks.decide(check.name, first_problem(problems), check.good)
        else:
            checks.spare(check.name, check.nothing)
