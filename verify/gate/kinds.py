"""What the rules of a gate have in common: their names, what they are decided from, what comes of
them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from safety_receipts.receipts.io.text import printable
from safety_receipts.receipts.model.receipt import EvaluationPredicate
from safety_receipts.verify.levels.expected import ExpectedCheckpoint
from safety_receipts.verify.verification import Verification

if TYPE_CHECKING:
    from safety_receipts.verify.compare.evaluations import Evaluation


class GateRule(StrEnum):
    """The rules that a policy can hold a receipt to."""

    VERIFIED = "verified"
    """The level that verification reached."""
    INSTRUMENT = "instrument"
    """It is of no test instrument."""
    MODEL = "model"
    """It is of the checkpoint that is to be shipped, run as that is deployed."""
    AUDIT = "audit"
    """Independent auditors confirmed its rates."""
    RATE = "rate"
    """Compliance rates are at most a value."""
    INCREASE = "increase"
    """Demonstrations raise compliance over the baseline by at most a value."""
    REGRESSION = "regression"
    """Compliance rose by at most a value since an earlier receipt."""
    FINDING = "finding"
    """Findings are called by allowed words."""
    OVER_REFUSAL = "over_refusal"
    """Benign controls are there, and refused at most so often."""
    COVERAGE = "coverage"
    """The tested box contains what is asked for."""
    JUDGE = "judge"
    """The judge can be believed as far as is asked for."""
    COMPLETENESS = "completeness"
    """Few points are missing, unscored or cut, and little was tried again."""
    LOGGED = "logged"
    """Plan, receipt and audits are in a log."""
    FRESH = "fresh"
    """Receipt and audits are not too old."""


class RuleStatus(StrEnum):
    """How a rule ended."""

    PASSED = "passed"
    """It holds."""
    FAILED = "failed"
    """It does not hold, or it could not be decided."""
    WAIVED = "waived"
    """It does not hold, or it could not be decided, and a waiver of the policy accepts that."""


@dataclass(frozen=True, eq=False)
class GateFacts:
    """What rules are decided from: verified bytes, and what the user names besides."""

    verification: Verification
    """What verification found; nothing failed."""
    receipt: EvaluationPredicate
    """The receipt that was verified."""
    at: datetime
    """The moment of the decision, with its time zone."""
    shipped: ExpectedCheckpoint | None = None
    """The checkpoint that is to be shipped, as hashed; None: none was named."""
    earlier: tuple[Evaluation, Evaluation] | None = None
    """An earlier event and this one, both verified; None: no earlier one was named."""


_MAX_TEXT: Final = 400
"""Longest text of a result; a receipt can make any of them long."""
_MOST_NAMED: Final = 3
"""Problems that are spelt out."""


@dataclass(frozen=True)
class Decided:
    """What a rule found."""

    holds: bool
    """Whether it holds."""
    found: str
    """What was found, or what is missing."""
    source: str
    """Where that comes from."""

    @classmethod
    def of(cls, problems: Iterable[str], good: str, source: str) -> Decided:
        """Return what follows from the problems of a rule.

        Args:
            problems: What keeps it from holding; none: it holds.
            good: What was found where it holds.
            source: Where that comes from.
        """
        known = list(problems)
        if not known:
            return cls(True, printable(good, _MAX_TEXT), source)
        more = len(known) - _MOST_NAMED
        told = "; ".join(known[:_MOST_NAMED]) + (f"; and {more:,} more" if more > 0 else "")
        return cls(False, printable(told, _MAX_TEXT), source)
