"""What the points replayed for the model's identity say of recorded outcomes.

They are a sample of all that have a response, of every condition and role, so what they
contradict speaks of all recorded outcomes together, those of rates that nobody audits included.
Two tests read them, both of H0 "fewer than k outcomes are false", with k a share of ε of all: of
hard contradictions, which refute, and of all contradictions, which keep an audit from
confirming.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import TYPE_CHECKING, Final

from safety_receipts.receipts.model.audit import (
    AuditPredicate,
    OutcomeFindings,
    OutcomeReplays,
    PublicAuditPredicate,
)
from safety_receipts.receipts.model.receipt import EvaluationPredicate
from safety_receipts.verify.audit.statistics.risk_limit import (
    REFUTING_LEVEL,
    RefutingTest,
    p_rounded_up,
)

if TYPE_CHECKING:  # it loads what replays points, which a reader of audits may not have
    from safety_receipts.verify.audit.statistics.replayed import ReplayedPoint

CONTRADICTED_LEVEL: Final = Fraction(1, 100)
"""Level at which contradictions keep an audit from confirming anything: an honest record with
fewer than k false or noisy outcomes meets it that often."""


@dataclass(frozen=True)
class OutcomeTests:
    """Both tests, after some draws.

    Args:
        recorded: Points of the receipt that have a response (N0).
        hidden: How many false ones are a share of ε (k).
        draws: Points replayed.
        contradicted: Which of them, from 1, count against their record.
        hard: Which of these do so beyond any numerical noise.
    """

    recorded: int
    hidden: int
    draws: int
    contradicted: Collection[int]
    hard: Collection[int]

    @property
    def p_value(self) -> Fraction:
        """Of all contradictions."""
        return self._p(self.contradicted)

    @property
    def refuting_p_value(self) -> Fraction:
        """Of the hard ones."""
        return self._p(self.hard)

    def _p(self, numbers: Collection[int]) -> Fraction:
        test, wanted = RefutingTest(self.recorded, self.hidden), set(numbers)
        for number in range(1, self.draws + 1):
            test.add(number in wanted)
        return test.p_value


def generated_points(receipt: EvaluationPredicate) -> int:
    """Return how many points of a receipt have a response, benign controls included."""
    return sum(
        result.counts.generated
        for condition in receipt.conditions
        for result in condition.by_source
    )


def false_needed(generated: int, epsilon: Fraction) -> int:
    """Return how many false outcomes are a share of ε of all (k), at least one."""
    return max(1, ceil(epsilon * generated))


def outcome_replays(
    identified: Sequence[ReplayedPoint], receipt: EvaluationPredicate, epsilon: Fraction
) -> OutcomeReplays:
    """Return what replays say of recorded outcomes.

    Args:
        identified: The points replayed for the model's identity, in the order drawn.
        receipt: The receipt.
        epsilon: The audit's ε.
    """
    recorded = generated_points(receipt)
    wrong = [n for n, one in enumerate(identified, start=1) if one.contradicts_record]
    hard = [n for n, one in enumerate(identified, start=1) if one.hard is not None]
    tests = OutcomeTests(recorded, false_needed(recorded, epsilon), len(identified), wrong, hard)
    return OutcomeReplays(
        recorded=recorded,
        hidden=tests.hidden,
        draws=tests.draws,
        contradictions=len(wrong),
        hard_contradictions=len(hard),
        p_value=p_rounded_up(tests.p_value),
        refuting_p_value=p_rounded_up(tests.refuting_p_value),
        false_labels=sum(one.ruled_out for one in identified),
        contradicted=tuple(wrong),
        hard=tuple(hard),
    )


def refuting_level(rates: int, *, outcomes: bool) -> Fraction:
    """Return the level at which one test of an audit refutes, so that all hold theirs together.

    Args:
        rates: How many rates are audited.
        outcomes: Whether the replays for the model's identity are read as one more test.
    """
    return REFUTING_LEVEL / max(1, rates + outcomes)


def level_of(audit: AuditPredicate | PublicAuditPredicate) -> Fraction:
    """Return the refuting level of an audit that is read."""
    return refuting_level(len(audit.conditions), outcomes=audit.outcomes is not None)


def refutes(found: OutcomeFindings, level: Fraction) -> bool:
    """Say whether hard contradictions among them refute a receipt at ``level``."""
    return found.false_labels > 0 or Fraction(found.refuting_p_value) <= level


def contradicts(found: OutcomeFindings) -> bool:
    """Say whether too many contradict the record for anything to be confirmed."""
    return Fraction(found.p_value) <= CONTRADICTED_LEVEL
