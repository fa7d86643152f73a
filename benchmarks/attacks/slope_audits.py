"""Audits of a slope as a whole, simulated ticket by ticket through the product's own test."""

from __future__ import annotations

from fractions import Fraction
from typing import Final

import numpy as np

from attacks.bent_labels import COVARIATES, Audited, Floats, box_of
from safety_receipts.receipts.findings.breakdown.urns import FittedSlope, SlopeUrn
from safety_receipts.receipts.model.findings import Effect
from safety_receipts.verify.audit.statistics.risk_limit import DEFAULT_FLIP_RATE, ConfirmingTest

MARGIN: Final = 0.05
"""The plan's effect margin."""
_MOST_DRAWS: Final = 6000
"""Draws after which a simulated audit is taken not to confirm, far beyond where any would."""


def urn_of(recorded: Floats, effect: Effect) -> SlopeUrn:
    """Return the urn of a record's slope.

    Args:
        recorded: Compliances as recorded, shape (conditions,).
        effect: What the slope is called.
    """
    fitted = FittedSlope(COVARIATES, box_of(recorded), effect, MARGIN)
    return fitted.urn(fitted.tickets())


def whole_audit(  # noqa: PLR0917 (one audit has so many terms)
    recorded: Floats,
    true: Floats,
    effect: Effect,
    alpha: Fraction,
    repeats: int,
    coin: np.random.Generator,
) -> Audited:
    """Simulate audits of a record's slope as a whole.

    Honest points look contradicted by noise at the default rate, with all of their tickets.

    Args:
        recorded: Compliances as recorded, shape (conditions,).
        true: Compliances as they are.
        effect: What the slope is called.
        alpha: Risk of confirming a slope that points another way.
        repeats: How many audits.
        coin: Where chance comes from.
    """
    urn, planned = urn_of(recorded, effect), box_of(recorded).planned.astype(int)
    of_point = np.repeat(urn.tickets, planned)
    first = np.concatenate([[0], planned.cumsum()[:-1]])
    point = np.repeat(np.arange(len(of_point)), of_point)
    """Of each ticket."""
    false = np.zeros(len(of_point), bool)
    for start, number in zip(first, np.abs(np.rint(true - recorded)).astype(int), strict=True):
        false[start : start + number] = True
    each, draws = np.zeros(repeats, bool), np.zeros(repeats)
    for number in range(repeats):
        flipped = coin.random(len(of_point), dtype=np.float32) < float(DEFAULT_FLIP_RATE)
        contradicted = false | flipped
        test = ConfirmingTest(urn.recorded, urn.hidden, DEFAULT_FLIP_RATE)
        for ticket in _in_random_order(len(point), coin):
            if test.confirmed(alpha) or test.hopeless:
                break
            test.add(bool(contradicted[point[ticket]]))
        each[number], draws[number] = test.confirmed(alpha), test.draws
    return Audited(float(each.mean()), float(draws.mean()), each)


def _in_random_order(size: int, coin: np.random.Generator) -> Floats:
    """Return the first of some numbers in random order, each at most once."""
    drawn = coin.integers(0, size, min(2 * _MOST_DRAWS, 2 * size))
    _, at = np.unique(drawn, return_index=True)
    order: Floats = drawn[np.sort(at)][:_MOST_DRAWS]
    return order
