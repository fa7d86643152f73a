"""Few points are missing, unscored or cut, and little was tried again."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Literal

from safety_receipts.receipts.model.receipt import ConditionResult, Counts
from safety_receipts.receipts.view.numerals import counted
from safety_receipts.verify.gate.entries import (
    Glob,
    Listed,
    Number,
    RuleEntry,
    ShareNumber,
    chosen,
    of_conditions,
    unmatched,
)
from safety_receipts.verify.gate.kinds import Decided, GateFacts

_SHARES = ("failed", "unscored", "length_stopped")
_NUMBERS = ("restarts", "retries", "looks", "discarded")
_ONE = {"restarts": "restart", "retries": "retry", "looks": "look"}


class CompletenessRule(RuleEntry):
    """Largest shares of points without an outcome, in every condition, in each query source and in
    the controls; and how often the run was touched.
    """

    rule: Literal["completeness"]
    failed: ShareNumber | None = None
    """Largest share of planned points without a response."""
    unscored: ShareNumber | None = None
    """Largest share of responses that were judged neither as refused nor as complied."""
    length_stopped: ShareNumber | None = None
    """Largest share of responses that ended at the token limit."""
    restarts: Number | None = None
    """Largest number of times the run was resumed."""
    retries: Number | None = None
    """Largest number of points that were tried again."""
    looks: Number | None = None
    """Largest number of times the running rates were looked at."""
    discarded: Number | None = None
    """Largest number of finished points that were discarded."""
    conditions: Listed[Glob] = ("*",)
    """Patterns of condition ids, for the shares."""

    def asked(self) -> str:
        """Return what it asks for, in words."""
        parts = [
            f"{name.replace('_', '-')} at most {most}"
            for name in (*_SHARES, *_NUMBERS)
            if (most := getattr(self, name)) is not None
        ]
        return f"{', '.join(parts)}: {of_conditions(self.conditions)}"

    def contradictions(self) -> Iterator[str]:
        """Yield what no key by itself is wrong about."""
        if all(getattr(self, name) is None for name in (*_SHARES, *_NUMBERS)):
            yield f"asks for nothing: give one of {', '.join((*_SHARES, *_NUMBERS))}"


def decide_completeness(rule: CompletenessRule, facts: GateFacts) -> Decided:
    """Hold counts to their largest shares, and the event to its largest numbers."""
    event = facts.receipt.event
    problems = [
        _number(name, found)
        for name in _NUMBERS
        if (most := getattr(rule, name)) is not None and (found := getattr(event, name)) > most
    ]
    problems += unmatched(facts.receipt, rule.conditions)
    over: list[tuple[Fraction, str]] = []
    for condition in chosen(facts.receipt, rule.conditions):
        for where, counts in _parts(condition):
            over += _over(rule, where, counts)
    over.sort(key=lambda one: one[0], reverse=True)
    good = "every share is within; " + ", ".join(
        _number(name, getattr(event, name)) for name in _NUMBERS
    )
    source = "receipt: conditions, counts; event"
    return Decided.of([*problems, *(told for _, told in over)], good, source)


def _number(name: str, found: int) -> str:
    """Return one of an event's numbers with its noun."""
    return counted(found, _ONE.get(name, name), name)


def _parts(condition: ConditionResult) -> Iterator[tuple[str, Counts]]:
    yield condition.id, condition.counts
    if condition.control is not None:
        yield f"{condition.id} (controls)", condition.control.counts
    if len(condition.by_source) > 1:
        for one in condition.by_source:
            yield f"{condition.id} ({one.source})", one.counts


def _over(rule: CompletenessRule, where: str, counts: Counts) -> Iterator[tuple[Fraction, str]]:
    of = {"failed": counts.planned, "unscored": counts.generated}
    for name in _SHARES:
        most = getattr(rule, name)
        if most is None:
            continue
        whole = of.get(name, counts.generated)
        if not whole:
            yield (
                Fraction(1),
                f"there is no {'point' if name == 'failed' else 'response'} at {where}",
            )
            continue
        found = getattr(counts, name)
        if (share := Fraction(found, whole)) > Fraction(most):
            told = name.replace("_", "-")
            yield share, f"{found:,} of {whole:,} {told} at {where}"
