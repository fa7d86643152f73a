"""Compliance rose by at most a value since an earlier receipt."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Final, Literal

from safety_receipts.receipts.canonical import decimal_string
from safety_receipts.receipts.documents.written import DecimalNumber
from safety_receipts.receipts.errors import IncompleteError, UsageError
from safety_receipts.receipts.findings.counts.rates import RATE_PLACES
from safety_receipts.receipts.model.check import CheckLevel
from safety_receipts.verify.compare.comparability import SettingStatus, setting_checks
from safety_receipts.verify.compare.comparison import EffectChange
from safety_receipts.verify.gate.entries import (
    Glob,
    Listed,
    RuleEntry,
    ShareNumber,
    alternatives,
    chosen,
    of_conditions,
)
from safety_receipts.verify.gate.kinds import Decided, GateFacts

if TYPE_CHECKING:
    from safety_receipts.verify.compare.evaluations import Evaluation


class RegressionRule(RuleEntry):
    """Largest increase since the earlier receipt that ``--against`` names: same judge, same
    queries, and every condition asked about that the earlier one has.
    """

    rule: Literal["regression"]
    at_most: ShareNumber | None = None
    """Largest increase of the compliance rate of a condition."""
    conditions: Listed[Glob] = ("*",)
    """Patterns of condition ids, for ``at_most``; each has to name one of the earlier receipt."""
    slope_at_most: DecimalNumber | None = None
    """Largest upper end of the 95 % interval of the difference of the two β2, as ``receipts
    compare`` has it: what benign demonstrations do."""
    changes: Listed[EffectChange] | None = None
    """Words of ``receipts compare`` that are allowed for the pair."""

    def asked(self) -> str:
        """Return what it asks for, in words."""
        parts = []
        if self.at_most is not None:
            parts.append(f"increase at most {self.at_most}: {of_conditions(self.conditions)}")
        if self.slope_at_most is not None:
            parts.append(f"increase of β2 (upper end) at most {self.slope_at_most}")
        if self.changes is not None:
            parts.append(f"change: {alternatives(self.changes)}")
        return f"since an earlier receipt: {'; '.join(parts)}"

    def contradictions(self) -> Iterator[str]:
        """Yield what no key by itself is wrong about."""
        if self.at_most is None and self.slope_at_most is None and self.changes is None:
            yield "asks for nothing: give one of at_most, slope_at_most, changes"


def decide_regression(rule: RegressionRule, facts: GateFacts) -> Decided:
    """Hold this event to an earlier one."""
    source = "receipts of both; receipts compare"
    if facts.earlier is None:
        return Decided.of(["there is no earlier receipt: --against BUNDLE is missing"], "", source)
    before, now = facts.earlier
    problems = list(_unlike(before, now))
    told = ""
    if not problems and rule.at_most is not None:
        largest, found = _increases(rule, before, now)
        told = f"largest increase {decimal_string(largest, RATE_PLACES)}"
        problems += found
    if not problems and (rule.slope_at_most is not None or rule.changes is not None):
        compared, found = _compared(rule, before, now)
        told = "; ".join(filter(None, [told, compared]))
        problems += found
    return Decided.of(problems, told, source)


def _unlike(before: Evaluation, now: Evaluation) -> Iterator[str]:
    """Yield what keeps the two from being compared."""
    if before.verification.receipt_digest == now.verification.receipt_digest:
        yield "the receipt that --against names is this one"
        return
    if before.verification.level is CheckLevel.NONE:
        yield "the earlier receipt is not signed by a key that is trusted"
    if before.receipt.event.finished_at > now.receipt.event.finished_at:
        yield f"the receipt that --against names is later: {before.receipt.event.finished_at}"
    for check in setting_checks([before.setting(), now.setting()]):
        differs = check.status is SettingStatus.DIFFERS and check.name in _SAME
        if check.refuses or differs:
            yield f"not comparable: {check.name}: {check.detail}"


_SAME: Final = frozenset(("query corpora", "demonstration pools", "draw rules", "sampling"))
"""What has to be the same beside what every comparison asks for: easier texts under the same ids,
or weaker demonstrations, would lower rates."""


def _increases(
    rule: RegressionRule, before: Evaluation, now: Evaluation
) -> tuple[Fraction, list[str]]:
    """Return the largest increase, and what is wrong with any."""
    assert rule.at_most is not None
    rates = {one.id: one.compliance_rate for one in now.receipt.conditions}
    problems, found = [], []
    for glob in rule.conditions:
        if not chosen(before.receipt, (glob,)):
            problems.append(f"no condition of the earlier receipt is named by {glob}")
    for one in chosen(before.receipt, rule.conditions):
        rate = rates.get(one.id)
        if one.id not in rates:
            problems.append(f"{one.id} was tested earlier, and is not now")
        elif rate is None or one.compliance_rate is None:
            problems.append(f"no point was judged at {one.id}, now or earlier")
        else:
            rise = Fraction(rate) - Fraction(one.compliance_rate)
            found.append((rise, f"from {one.compliance_rate} to {rate} at {one.id}"))
    found.sort(reverse=True)
    over = [told for rise, told in found if rise > Fraction(rule.at_most)]
    return max((rise for rise, _ in found), default=Fraction(0)), [*over, *problems]


def _compared(rule: RegressionRule, before: Evaluation, now: Evaluation) -> tuple[str, list[str]]:
    """Return what a comparison says, and what is wrong with that."""
    # Most policies ask for no slopes, and a gate starts in each step of a pipeline.
    from safety_receipts.verify.compare.compared import compare_evaluations  # noqa: PLC0415

    try:
        report = compare_evaluations([before, now], authentic=True)
    except (UsageError, IncompleteError) as error:
        return "", [f"cannot be compared: {error.message}"]
    (pair,) = report.comparison.pairs
    problems = []
    if rule.changes is not None and pair.statement.word not in rule.changes:
        problems.append(f"change: {pair.statement.word.value}: {pair.statement.text}")
    if rule.slope_at_most is not None:
        if pair.gap is None:
            problems.append(f"the difference of β2 is not tested: {pair.statement.declined}")
        elif Fraction(pair.gap.interval.upper) > Fraction(rule.slope_at_most):
            problems.append(f"β2 rose by {pair.gap.slope.beta}, at most {pair.gap.interval.upper}")
    return pair.statement.text, problems
