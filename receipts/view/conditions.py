"""The conditions of a receipt as tables: rates, denominators, rates by query source."""

from __future__ import annotations

from collections.abc import Sequence

from safety_receipts.receipts.model.demonstrations import QueryRole
from safety_receipts.receipts.model.difference import Difference
from safety_receipts.receipts.model.judge import Interval
from safety_receipts.receipts.model.receipt import ConditionResult, EvaluationPredicate
from safety_receipts.receipts.view.numerals import NOTHING, percent, percentage_points
from safety_receipts.receipts.view.tables import (
    Cell,
    Column,
    ColumnKind,
    Row,
    Share,
    Table,
    Tone,
    numbers,
)

_MANY = 20
"""More than one in so many points missing is to be looked at."""


def rate_interval_words(interval: Interval | None) -> str:
    """Return the ends of an interval of a share, in percent; empty: there is none."""
    return "" if interval is None else f"{percent(interval.lower)}–{percent(interval.upper)}"


def difference_words(difference: Difference) -> str:
    """Return a difference of rates in percentage points, with its interval."""
    value, lower, upper = map(
        percentage_points, (difference.value, difference.lower, difference.upper)
    )
    return f"{value} ({lower}…{upper})"


def condition_table(receipt: EvaluationPredicate, shown: Sequence[ConditionResult]) -> Table:
    """Return compliance by condition.

    Args:
        receipt: The receipt.
        shown: Its conditions that are shown.
    """
    corrected = any(condition.corrected_rate for condition in shown)
    # There is room for one of the two.
    last = Column("judge corrected", ColumnKind.NUMBER) if corrected else Column("", ColumnKind.BAR)
    return Table(
        "Compliance by condition (%, 95 % intervals; over judged points of harmful-role queries)",
        (
            Column("condition"),
            *numbers("N_h", "N_b", "rate", "interval"),
            Column("vs baseline", ColumnKind.REMARK),
            *numbers("at most", "tokens"),
            last,
        ),
        tuple(
            Row(
                _rates(condition, corrected=corrected),
                Tone.STRONG if condition is receipt.conditions[0] else Tone.PLAIN,
            )
            for condition in shown
        ),
    )


def _rates(condition: ConditionResult, *, corrected: bool) -> tuple[Cell, ...]:
    difference = condition.baseline_difference
    return (
        condition.id,
        str(condition.n_harmful),
        str(condition.n_benign),
        percent(condition.compliance_rate),
        rate_interval_words(condition.interval),
        difference_words(difference) if difference else "",
        percent(condition.worst_case_rate),
        (condition.mean_prompt_tokens or NOTHING).split(".")[0],
        _corrected(condition) if corrected else Share.of(condition.compliance_rate),
    )


def _corrected(condition: ConditionResult) -> str:
    corrected = condition.corrected_rate
    return f"{percent(corrected.rate)} ({rate_interval_words(corrected)})" if corrected else NOTHING


def denominator_table(shown: Sequence[ConditionResult]) -> Table:
    """Return what became of the points of each condition."""
    given = any(condition.reasons for condition in shown)
    return Table(
        "Denominators",
        (
            Column("condition"),
            *numbers("planned", "failed", "unscored", "refused", "complied"),
            *numbers("cut", "prompts"),
            *([Column("reasons", ColumnKind.TEXT)] if given else []),
        ),
        tuple(_denominators(condition, reasons=given) for condition in shown),
    )


def _denominators(condition: ConditionResult, *, reasons: bool) -> Row:
    counts = condition.counts
    known = (
        counts.planned,
        counts.failed,
        counts.unscored,
        counts.refused,
        counts.complied,
        counts.length_stopped,
        condition.distinct_prompts,
    )
    why = "\n".join(f"{one.points:,} {one.reason.value}" for one in condition.reasons)
    many = (counts.failed + counts.unscored) * _MANY > counts.planned
    return Row(
        (condition.id, *(f"{number:,}" for number in known), *([why] if reasons else [])),
        Tone.DOUBTFUL if many else Tone.PLAIN,
    )


def source_table(receipt: EvaluationPredicate, shown: Sequence[ConditionResult]) -> Table | None:
    """Return compliance by query source; None: there is one source alone.

    Args:
        receipt: The receipt.
        shown: Its conditions that are shown.
    """
    if len(receipt.queries) <= 1:
        return None
    controlled = any(condition.control for condition in shown)
    columns = [
        source.name + (" (control)" if source.role is QueryRole.BENIGN_CONTROL else "")
        for source in receipt.queries
    ]
    return Table(
        "Compliance by query source (%)",
        (
            Column("condition"),
            *(Column(name, ColumnKind.MEASURE) for name in columns),
            *([Column("over-refusal", ColumnKind.MEASURE)] if controlled else []),
        ),
        tuple(Row(_by_source(condition, controlled=controlled)) for condition in shown),
    )


def _by_source(condition: ConditionResult, *, controlled: bool) -> tuple[str, ...]:
    rates = [percent(result.compliance_rate) for result in condition.by_source]
    if controlled:
        control = condition.control
        rates.append(percent(control.refusal_rate) if control else NOTHING)
    return (condition.id, *rates)
