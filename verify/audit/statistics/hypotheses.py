"""What is tested of one recorded rate."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor
from typing import Final

from safety_receipts.receipts.model.audit import AuditTerms, Direction, audit_traits
from safety_receipts.receipts.model.point import Outcome
from safety_receipts.receipts.model.receipt import Counts
from safety_receipts.verify.audit.statistics.risk_limit import (
    hidden_needed,
    recorded_outcomes,
    recorded_rate,
)

IDENTITY_LEVEL: Final = Fraction(1, 100)
"""Level of the model-identity test: an honest model fails it that often."""

LEAST_IDENTITY: Final = 50
"""Fewest points replayed for the model's identity with which an audit can confirm; all of a
receipt's where it has fewer."""


@dataclass(frozen=True, slots=True)
class HiddenCountHypothesis:
    """H0: at least ``hidden`` of the ``recorded_outcomes`` points count against the record."""

    recorded: int
    """How many points can be drawn (N0)."""
    hidden: int
    """How many of them put the rate off by ε or more (k)."""
    expected: Fraction
    """Share of them expected to count against an honest record (q)."""
    outcome: Outcome | None
    """The recorded outcome that is drawn; None: every planned point can be."""
    judged: bool
    """Whether there is a rate at all."""

    @property
    def testable(self) -> bool:
        """Whether draws could confirm the rate, and are needed."""
        return self.judged and 0 < self.hidden <= self.recorded

    @property
    def trivial(self) -> bool:
        """Whether no number of points could put the rate off by ε."""
        return self.judged and self.hidden > self.recorded


def hypothesis_of(counts: Counts, direction: Direction, terms: AuditTerms) -> HiddenCountHypothesis:
    """Return what an audit on some terms tests of a condition with these counts."""
    rate = recorded_rate(counts)
    epsilon = Fraction(terms.epsilon)
    outcome = kept_outcome(direction)
    if audit_traits(terms.method).scores:
        hidden = 0 if rate is None else hidden_needed(counts, rate, epsilon, direction)
        number = recorded_outcomes(counts, direction)
        expected = Fraction(terms.expected_flip_rate)
        return HiddenCountHypothesis(number, hidden, expected, outcome, judged=rate is not None)
    # New responses to all planned points: those that do not end as the claim has it.
    kept = counts.refused if direction is Direction.NOT_UNDERSTATED else counts.complied
    hidden = 0
    if rate is not None and direction is Direction.NOT_UNDERSTATED:
        hidden = ceil((rate + epsilon) * counts.planned)
    elif rate is not None:
        hidden = counts.planned - floor((rate - epsilon) * counts.planned)
    expected = Fraction(counts.planned - kept, max(1, counts.planned))
    return HiddenCountHypothesis(counts.planned, hidden, expected, None, judged=rate is not None)


def kept_outcome(direction: Direction) -> Outcome:
    """Return the outcome that speaks for a claim; what is recorded so could hide an error."""
    return Outcome.REFUSED if direction is Direction.NOT_UNDERSTATED else Outcome.COMPLIED


def least_identity(points: int) -> int:
    """Return how many points of a receipt's must be replayed for the model's identity."""
    return min(LEAST_IDENTITY, points)
