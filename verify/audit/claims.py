"""What an audit tests: a claim for each audited rate or slope, and where it stands."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from fractions import Fraction

from safety_receipts.receipts.model.audit import (
    AuditedRate,
    AuditTerms,
    AuditVerdict,
    RateVerdict,
    SlopeTest,
    SlopeTestVerdict,
    audit_traits,
)
from safety_receipts.receipts.model.receipt import EvaluationPredicate
from safety_receipts.verify.audit.statistics.draws import DrawablePoint, DrawKind
from safety_receipts.verify.audit.statistics.hypotheses import hypothesis_of
from safety_receipts.verify.audit.statistics.replayed import ReplayedPoint
from safety_receipts.verify.audit.statistics.risk_limit import (
    ConfirmingTest,
    RefutingTest,
    p_rounded_up,
)
from safety_receipts.verify.audit.statistics.scope import RecordedRate, name_of, recorded_of
from safety_receipts.verify.audit.statistics.slopes import confirming_test, urn_kind
from safety_receipts.verify.audit.statistics.verdicts import rate_verdict

MOST_TICKETS_DRAWN = 10_000
"""Most draws of one slope: what those do not confirm, more hardly would."""
_LOOK_AHEAD = 4096
"""Most draws of one claim that are looked ahead."""


@dataclass
class Claim:
    """One audited rate while it is tested.

    Args:
        rate: Which rate, and which error of it.
        recorded: What the receipt says of it.
        terms: The audit's.
    """

    rate: AuditedRate
    recorded: RecordedRate
    terms: AuditTerms
    order: Sequence[DrawablePoint] = ()
    """Its points that can be drawn, in the order of the challenge."""
    replayed: list[ReplayedPoint] = field(default_factory=list)
    """Those that were replayed, in that order."""

    def __post_init__(self) -> None:
        tested = hypothesis_of(self.recorded.counts, self.rate.direction, self.terms)
        self.hypothesis = tested
        """What is tested."""
        self.confirming = ConfirmingTest(tested.recorded, tested.hidden, tested.expected)
        self.refuting = RefutingTest(tested.recorded, tested.hidden)

    def take(self, one: ReplayedPoint) -> None:
        """Count one more replayed point."""
        self.replayed.append(one)
        self.confirming.add(one.contradicts(self.rate.direction))
        self.refuting.add(one.hard is not None)

    def confirmed(self, alpha: Fraction) -> bool:
        """Say whether it is confirmed at risk ``alpha``."""
        tested = self.hypothesis
        return tested.trivial or (tested.testable and self.confirming.confirmed(alpha))

    def refuted(self, level: Fraction) -> bool:
        """Say whether hard contradictions refute it at ``level``.

        A label that the judge's rule does not give to the recorded text refutes it by itself:
        there is no noise in a rule, and no room for an error below ε that nobody made.  Where
        nothing ties what scored to the named weights nothing refutes.
        """
        if not audit_traits(self.terms.method).by_weights:
            return False
        return bool(self.ruled_out) or (self.hypothesis.testable and self.refuting.p_value <= level)

    @property
    def ruled_out(self) -> int:
        """Draws with a label that the judge's rule does not give."""
        return sum(one.ruled_out for one in self.replayed)

    @property
    def name(self) -> str:
        """What it is called."""
        return str(name_of(self.rate))

    @property
    def recorded_points(self) -> int:
        """How many points there are to draw."""
        return self.hypothesis.recorded

    @property
    def kind(self) -> DrawKind:
        """Which points are drawn for it."""
        name = name_of(self.rate)
        return DrawKind(name.condition, self.hypothesis.outcome, name.source, name.control)

    def wanted(self, alpha: Fraction, level: Fraction) -> int:
        """Return how many draws would confirm it if none of them contradicted it; 0: no more."""
        left = len(self.order) - len(self.replayed)
        may_refute = audit_traits(self.terms.method).by_weights and self.refuting.contradictions
        if self.confirming.hopeless and not may_refute:
            return 0  # nothing can confirm it any more, and nothing speaks of refuting it
        if not self.hypothesis.testable or self.confirmed(alpha) or self.refuted(level):
            return 0
        return _draws_ahead(self.confirming, alpha, left)

    def verdict(self, alpha: Fraction, level: Fraction) -> RateVerdict:
        """Return what the audit found about the rate."""
        wrong = [one.contradicts(self.rate.direction) for one in self.replayed]
        hard = [one.hard is not None for one in self.replayed]
        verdict = rate_verdict(
            self.terms.method, refuted=self.refuted(level), confirmed=self.confirmed(alpha)
        )
        return RateVerdict(
            id=self.rate.condition,
            direction=self.rate.direction,
            recorded_rate=self.recorded.rate,
            recorded=self.hypothesis.recorded,
            hidden=self.hypothesis.hidden,
            draws=len(self.replayed),
            contradictions=sum(wrong),
            implausible=sum(one.implausible is not None for one in self.replayed),
            ambiguous=sum(one.ambiguous for one in self.replayed),
            missing=sum(one.missing is not None for one in self.replayed),
            hard_contradictions=sum(hard),
            p_value=p_rounded_up(self.confirming.p_value),
            refuting_p_value=p_rounded_up(self.refuting.p_value),
            verdict=verdict,
            reason=self._reason() if verdict is AuditVerdict.INCONCLUSIVE else None,
            contradicted=numbers_of(wrong),
            hard=numbers_of(hard),
            source=self.rate.source,
            control=self.rate.control,
            ruled_out=self.ruled_out,
        )

    def _reason(self) -> str:
        counts = self.recorded.counts
        if not self.hypothesis.judged:
            return "no point of it was judged: there is no rate to audit"
        if self.hypothesis.hidden <= 0:
            missing = counts.unscored + counts.failed
            return (
                f"{missing:,} of {counts.planned:,} points are unscored or failed: counted against "
                f"the record they alone put the rate off by ε or more"
            )
        return _draws_reason(self.confirming, len(self.order), "points were replayed")


@dataclass
class SlopeClaim:
    """The direction of one slope while it is tested.

    Args:
        test: The announced test.
        terms: The audit's.
    """

    test: SlopeTest
    terms: AuditTerms
    order: Sequence[DrawablePoint] = ()
    """The points whose tickets can be drawn, in the order of the challenge; some several times."""
    replayed: list[ReplayedPoint] = field(default_factory=list)
    """Those that were replayed, in that order."""

    def __post_init__(self) -> None:
        self.confirming = confirming_test(self.test, self.terms)

    def take(self, one: ReplayedPoint) -> None:
        """Count one more draw."""
        self.replayed.append(one)
        self.confirming.add(one.contradicts_record)

    def confirmed(self, alpha: Fraction) -> bool:
        """Say whether it is confirmed at risk ``alpha``."""
        return self.confirming.confirmed(alpha)

    def refuted(self, level: Fraction) -> bool:
        """Say whether a label that the judge's rule does not give refutes the record.

        No number of contradictions does: labels that could turn the slope need not turn it.
        """
        return audit_traits(self.terms.method).by_weights and bool(self.ruled_out)

    @property
    def ruled_out(self) -> int:
        """Draws with a label that the judge's rule does not give."""
        return sum(one.ruled_out for one in self.replayed)

    @property
    def kind(self) -> DrawKind:
        """What is drawn for it."""
        return urn_kind(self.test)

    @property
    def name(self) -> str:
        """What it is called."""
        return f"the finding {self.test.finding}"

    @property
    def recorded_points(self) -> int:
        """How many tickets there are to draw."""
        return self.test.recorded

    def wanted(self, alpha: Fraction, level: Fraction) -> int:
        """Return how many draws would confirm it if none of them contradicted it; 0: no more."""
        if self.confirming.hopeless or self.confirmed(alpha) or self.refuted(level):
            return 0
        most = min(len(self.order), MOST_TICKETS_DRAWN)
        return _draws_ahead(self.confirming, alpha, most - len(self.replayed))

    def verdict(self, alpha: Fraction, level: Fraction) -> SlopeTestVerdict:
        """Return what the audit found about the slope."""
        wrong = [one.contradicts_record for one in self.replayed]
        verdict = rate_verdict(
            self.terms.method, refuted=self.refuted(level), confirmed=self.confirmed(alpha)
        )
        return SlopeTestVerdict(
            finding=self.test.finding,
            draws=len(self.replayed),
            contradictions=sum(wrong),
            hard_contradictions=sum(one.hard is not None for one in self.replayed),
            false_labels=self.ruled_out,
            p_value=p_rounded_up(self.confirming.p_value),
            verdict=verdict,
            reason=self._reason() if verdict is AuditVerdict.INCONCLUSIVE else None,
            drawn=tuple(one.id for one in self.replayed),
            contradicted=numbers_of(wrong),
        )

    def _reason(self) -> str:
        return _draws_reason(self.confirming, len(self.order), "tickets were drawn")


def _draws_ahead(test: ConfirmingTest, alpha: Fraction, left: int) -> int:
    """Return how many draws would confirm if none contradicted; what is left, if that is less."""
    ahead = deepcopy(test)
    for number in range(1, min(left, _LOOK_AHEAD) + 1):
        ahead.add(contradicted=False)
        if ahead.confirmed(alpha):
            return number
    return min(left, _LOOK_AHEAD)


def _draws_reason(test: ConfirmingTest, most: int, all_done: str) -> str:
    """Return why draws did not confirm."""
    draws, wrong = test.draws, test.contradictions
    if draws == most:
        return f"all {draws:,} {all_done}, and {wrong:,} contradict the record"
    if test.hopeless:
        return f"{wrong:,} of {draws:,} draws contradict the record: no more could confirm it"
    if not draws:
        return "the audit ended before any of its points was drawn"
    return f"{wrong:,} of {draws:,} draws contradict the record, and the audit ended there"


def claims_of(
    receipt: EvaluationPredicate, rates: Sequence[AuditedRate], terms: AuditTerms
) -> list[Claim]:
    """Return the claims of an audit, in the order of the rates.

    Raises:
        ValueError: The receipt records no such rate.
    """
    by_id = {each.id: each for each in receipt.conditions}
    claims = []
    for rate in rates:
        recorded = recorded_of(name_of(rate), by_id[rate.condition])
        if recorded is None:
            raise ValueError(f"{name_of(rate)}: the receipt records no such rate")
        claims.append(Claim(rate, recorded, terms))
    return claims


def numbers_of(flags: Sequence[bool]) -> tuple[int, ...]:
    """Return the numbers, from 1, of what is set."""
    return tuple(number for number, flag in enumerate(flags, start=1) if flag)
