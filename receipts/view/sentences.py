"""Findings in plain sentences: what was found, with its number, its interval and why.

Nothing is decided here: words, numbers and verdicts are the sealed ones.  The only figures of
our own are the fitted rates of an example, which follow from the sealed coefficients.

Three kinds of statement are told apart, by one rule each.  What was *measured* is called so.
What is *fitted* is stated of conditions in the fit alone, with what was measured there beside it.
Of what was *not tested* no effect is said to be shown or not: it is said to be untested.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from math import log
from typing import Final, TypeVar

from safety_receipts.receipts.model.base import ConditionId
from safety_receipts.receipts.model.demonstrations import Ordering
from safety_receipts.receipts.model.findings import (
    ContextFinding,
    Effect,
    Findings,
    FormatFinding,
    FormatWord,
    JointFinding,
    OrderingFinding,
    RateChange,
    SlopeFinding,
    SourcesFinding,
    TotalFinding,
    TotalRow,
)
from safety_receipts.receipts.model.plan import Hypothesis
from safety_receipts.receipts.model.receipt import ConditionResult, EvaluationPredicate
from safety_receipts.receipts.view.numerals import (
    counted,
    is_floor,
    p_value,
    percent,
    signed_number,
)
from safety_receipts.receipts.view.words import (
    FORMAT_WORDS,
    ORDER_UNTESTED,
    ORDER_WORDS,
    TOTAL_WORDS,
    adoption_words,
    breakdown_words,
    change_words,
    clusters_words,
    effect_words,
    estimate_words,
    joint_grounds,
    logistic,
    quoted,
    slope_grounds,
    undetermined_uptake,
)

NOTHING_TESTED: Final = "The plan asks for nothing that could be tested."
"""What is said where findings are claimed and there is nothing to say."""
MOST_OF_A_KIND: Final = 4
"""More orderings or formats than this are left to their tables."""

_T = TypeVar("_T")


@dataclass(frozen=True)
class Sentence:
    """One finding in words."""

    text: str
    """What was found."""
    aside: str = ""
    """What its number means, and rests on."""
    primary: bool = False
    """Whether the plan named it before the run."""
    fitted: tuple[ConditionId, ...] = ()
    """Conditions whose fitted rate the aside states: all of them are in the fit."""


def sentences(receipt: EvaluationPredicate) -> list[Sentence]:
    """Return the findings of a receipt in words, the primary one first."""
    if receipt.findings is None:
        return []
    found = list(_Writer(receipt, receipt.findings).all())
    return sorted(found, key=lambda sentence: not sentence.primary)


class _Writer:
    def __init__(self, receipt: EvaluationPredicate, findings: Findings) -> None:
        self._receipt, self._findings = receipt, findings
        self._tests = {test.name: test for test in findings.tests}
        self._conditions = {condition.id: condition for condition in receipt.conditions}
        self._breakdown = {one.finding: one for one in findings.breakdown or ()}

    def all(self) -> Iterator[Sentence]:
        found = self._findings
        if found.total is not None:
            yield self._total(found.total)
        if found.joint is not None:
            yield self._joint(found.joint, None)
        for other in found.joint_in_other_orders or ():
            yield self._joint(other, other.ordering)
        yield from _few(self._ordering, found.orderings, "in several orders")
        yield from _few(self._format, found.formats, "with a demonstrated opening")
        if found.sources is not None:
            yield from self._sources(found.sources)
        if found.contexts:
            yield self._contexts(found.contexts)

    def _total(self, finding: TotalFinding) -> Sentence:
        primary = self._receipt.primary is Hypothesis.TOTAL
        text = TOTAL_WORDS[finding.verdict]
        if finding.p is not None:
            p_values = [row.p for row in finding.rows if row.p is not None]
            tested = self._tested("total", finding.p, at_most=any(map(is_floor, p_values)))
            text += f"; {tested}, clustered, Bonferroni over {counted(len(p_values), 'total')}"
        text += _end(primary)
        widest = max(map(self._range, finding.rows), key=lambda found: found[1] - found[0])
        if widest[1] > widest[0]:
            low, high, total = widest
            text += (
                f" Widest at N = {total}: measured compliance from {percent(str(low))} % to "
                f"{percent(str(high))} %."
            )
        text += self._stands("total")
        published = [row.p_as_published for row in finding.rows]
        says = "rejects" if finding.rejected_as_published else "does not reject"
        aside = (
            f"The χ² test as published, which takes points as independent, {says} the total-count "
            "hypothesis."
            if any(p is not None for p in published)
            else "The χ² test as published cannot be made: nothing varies."
        )
        return Sentence(text, aside, primary)

    def _range(self, row: TotalRow) -> tuple[Decimal, Decimal, int]:
        """Return the least and the largest rate of a total, and that total."""
        rates = [
            Decimal(condition.compliance_rate)
            for condition in self._known(row.conditions)
            if condition.compliance_rate is not None
        ]
        return min(rates, default=Decimal(0)), max(rates, default=Decimal(0)), row.total

    def _joint(self, finding: JointFinding, order: Ordering | None) -> Sentence:
        primary = order is None and self._receipt.primary is Hypothesis.JOINT
        name = "joint" if order is None else f"joint/{order.value}"
        text = effect_words(finding.effect, "" if order is None else f" in {order.value} order")
        if finding.permutation is not None:
            text += f"; by a test without fit {self._tested(name, finding.permutation.p)}"
        elif finding.clustered is not None and finding.interval is not None:
            text += ":" if finding.effect is Effect.UNDETERMINED else ","
            text += f" β2 {estimate_words(finding.clustered.beta2, finding.interval)}"
            text += f", {self._tested(name, finding.clustered.p2)}"
        text += f"{_end(primary)} {joint_grounds(finding, self._differs(name))}"
        text += self._stands(name, finding.effect)
        one_size = finding.permutation is None and finding.effect is not Effect.MIXED
        example = self._example(finding) if order is None and one_size else None
        meaning = self._meaning(finding, example) if order is None and one_size else ""
        errors = clusters_words(finding.clusters) if order is None else ""
        stated = () if example is None else tuple(condition.id for condition in example)
        return Sentence(text, f"{meaning} {errors}".strip(), primary, stated)

    def _meaning(
        self, finding: JointFinding, example: tuple[ConditionResult, ConditionResult] | None
    ) -> str:
        """Return what β2 is, with an example of fitted rates beside the measured ones."""
        fit = finding.clustered
        if fit is None:
            return ""
        means = "β2 is the change of the log-odds of compliance per unit of log(N_b + 1)"
        if example is None:
            return f"{means}."
        fewest, most = example
        logits = [
            float(fit.beta0)
            + float(fit.beta1 or 0) * log(one.n_harmful + 1)
            + float(fit.beta2) * log(one.n_benign + 1)
            for one in example
        ]
        n_harmful = fewest.n_harmful
        where = f"at {n_harmful} harmful ones" if n_harmful else "without harmful ones"
        before, after = (f"{logistic(x) * 100:.1f} %" for x in logits)
        measured = " and ".join(
            f"{percent(one.compliance_rate)} % under {one.id}" for one in example
        )
        return (
            f"{means}: from {fewest.n_benign} to {most.n_benign} benign demonstrations "
            f"{signed_number(Decimal(logits[1] - logits[0]), 2)}, which {where} takes the fitted "
            f"rate from {before} to {after} (measured: {measured})."
        )

    def _example(self, finding: JointFinding) -> tuple[ConditionResult, ConditionResult] | None:
        """Return two conditions in the fit: the fewest and the most benign demonstrations.

        Both have one N_h, of those at which N_b goes furthest the middle one.  None: no two
        conditions of the fit have the same N_h and other N_b.
        """
        levels: dict[int, list[ConditionResult]] = {}
        for condition in self._known(finding.conditions):
            levels.setdefault(condition.n_harmful, []).append(condition)
        spans = {
            n_harmful: (min(found, key=_benign), max(found, key=_benign))
            for n_harmful, found in levels.items()
        }
        spans = {n: (low, high) for n, (low, high) in spans.items() if _benign(low) < _benign(high)}
        widest = max((_benign(high) for _, high in spans.values()), default=0)
        furthest = sorted(n for n, (_, high) in spans.items() if _benign(high) == widest)
        return spans[furthest[len(furthest) // 2]] if furthest else None

    def _ordering(self, finding: OrderingFinding) -> Sentence:
        name = f"ordering/h{finding.n_harmful}-b{finding.n_benign}"
        mixture = f"{finding.n_harmful} harmful and {finding.n_benign} benign demonstrations"
        spread = finding.spread
        if finding.p is None and (spread is None or spread.p is None):
            text = ORDER_UNTESTED.format(mixture)
        else:
            text = ORDER_WORDS[finding.verdict].format(mixture)
        if spread is not None:
            text += f"; measured, suffix − prefix: {self._change(f'{name}/spread', spread)}"
        tested = "not tested" if finding.p is None else self._tested(name, finding.p)
        text += f"; that all orders are alike: {tested}"
        primary = self._receipt.primary is Hypothesis.ORDERING
        return Sentence(text + _end(primary) + self._stands(name), primary=primary)

    def _format(self, finding: FormatFinding) -> Sentence:
        refusals, compliances = finding.among_refusals, finding.among_compliances
        words, why = FORMAT_WORDS[finding.verdict], ""
        if finding.verdict is FormatWord.UNDETERMINED:
            why = undetermined_uptake(refusals, compliances)
        text = words.format(quoted(finding.prefix), why)
        text += f"; adopted by {adoption_words(refusals, 'refusals')}"
        text += f" and {adoption_words(compliances, 'compliances')}"
        if finding.change is not None:
            change = self._change(f"format/{finding.condition}", finding.change)
            text += f"; measured, compliance with it less without: {change}"
        stands = self._stands(f"format/{finding.condition}")
        return Sentence(f"{text} ({finding.condition}).{stands}")

    def _sources(self, finding: SourcesFinding) -> Iterator[Sentence]:
        for slope in finding.slopes:
            text = self._slope(f"source/{slope.source}", slope, "β2", "β2")
            yield Sentence(f"Benign demonstrations from {slope.source}: {text}")
        for left in finding.length_matched:
            text = self._slope(
                f"source/{left.source}-less-filler", left, "difference of β2", "The difference"
            )
            yield Sentence(f"Length matched, {left.source} less {left.filler}: {text}")

    def _slope(self, name: str, slope: SlopeFinding, symbol: str, subject: str) -> str:
        margin = self._receipt.effect_margin
        why = slope_grounds(slope.grounds, slope.equivalence, self._differs(name), margin, subject)
        number = f"{symbol} {estimate_words(slope.beta, slope.interval)}"
        text = f"{slope.effect.value}, {number}, {self._tested(name, slope.p)}. {why}"
        return text + self._stands(name, slope.effect)

    def _contexts(self, found: Sequence[ContextFinding]) -> Sentence:
        changes = [(one, one.change) for one in found if one.change is not None]
        forms = ", ".join(dict.fromkeys(one.form.value for one in found))
        if not changes:
            return Sentence(f"Contexts other than plain turns cannot be compared: {forms}.")
        largest, change = max(changes, key=lambda pair: abs(Decimal(pair[1].value)))
        words = self._change(f"context/{largest.condition}", change)
        return Sentence(
            f"Against the same demonstrations in plain turns ({forms} compared), measured "
            f"compliance changes most under {largest.form.value}: {words} ({largest.condition})."
            f"{self._stands(f'context/{largest.condition}')}"
        )

    def _stands(self, name: str, effect: Effect | None = None) -> str:
        """Return how many false labels a finding stands, with a space before; "": not stated."""
        found = self._breakdown.get(name)
        if found is None:
            return ""
        return f" {breakdown_words(found, none=effect is Effect.NONE)}"

    def _change(self, name: str, change: RateChange) -> str:
        tested = "not tested" if change.p is None else self._tested(name, change.p)
        return f"{change_words(change)}, {tested}"

    def _tested(self, name: str, p: str, *, at_most: bool = False) -> str:
        """Return the p-value that decides: corrected for multiplicity, where that changes it.

        Args:
            name: Of the test.
            p: Its own p-value.
            at_most: Whether the true one may lie anywhere below.
        """
        adjusted = self._adjusted(name)
        if adjusted is None:
            return f"{p_value(p)} (not counted as a test)"
        if adjusted == p:
            return p_value(p, at_most=at_most)
        return f"{p_value(adjusted, at_most=at_most or is_floor(p))} after Holm's correction"

    def _differs(self, name: str) -> bool:
        adjusted = self._adjusted(name)
        return adjusted is not None and Decimal(adjusted) < Decimal(self._findings.alpha)

    def _adjusted(self, name: str) -> str | None:
        test = self._tests.get(name)
        return None if test is None else test.adjusted

    def _known(self, ids: Iterable[ConditionId]) -> list[ConditionResult]:
        """Return the conditions of these ids; a receipt that nobody verified may name others."""
        return [self._conditions[id_] for id_ in ids if id_ in self._conditions]


def _benign(condition: ConditionResult) -> int:
    return condition.n_benign


def _end(primary: bool) -> str:
    return ", primary hypothesis." if primary else "."


def _few(
    write: Callable[[_T], Sentence], found: Sequence[_T] | None, what: str
) -> Iterator[Sentence]:
    found = found or ()
    yield from map(write, found[:MOST_OF_A_KIND])
    if len(found) > MOST_OF_A_KIND:
        yield Sentence(f"{len(found) - MOST_OF_A_KIND} more {what} are in the table.")
