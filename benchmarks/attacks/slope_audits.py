"""Audits of a slope as a whole, simulated; some of them through the product's own test, too."""

from __future__ import annotations

from fractions import Fraction
from typing import Final

import numpy as np
from numpy.typing import NDArray

from attacks.bent_labels import COVARIATES, Audited, Floats, box_of
from safety_receipts.receipts.findings.breakdown.shares import slope_limits
from safety_receipts.receipts.findings.breakdown.urns import FittedSlope, SlopeUrn
from safety_receipts.receipts.model.findings import Effect
from safety_receipts.verify.audit.statistics.risk_limit import DEFAULT_FLIP_RATE, ConfirmingTest

MARGIN: Final = "0.05"
"""The plan's effect margin."""
_MOST_DRAWS: Final = 3000
"""Draws after which a simulated audit is taken not to confirm, far beyond where any would."""
CHECKED: Final = 5
"""Audits of each kind that are made through the product's own test, too."""


def urn_of(recorded: Floats, effect: Effect) -> SlopeUrn:
    """Return the urn of a record's slope.

    Args:
        recorded: Compliances as recorded, shape (conditions,).
        effect: What the slope is called.
    """
    fitted = FittedSlope(COVARIATES, box_of(recorded), slope_limits(effect, MARGIN))
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
    contradicted = np.zeros((repeats, min(_MOST_DRAWS, urn.recorded)), bool)
    for row in contradicted:
        flipped = coin.random(len(of_point), dtype=np.float32) < float(DEFAULT_FLIP_RATE)
        row[:] = (false | flipped)[point[_in_random_order(len(point), len(row), coin)]]
    draws = _confirming_draws(contradicted, urn, alpha)
    _hold_to_product(contradicted[:CHECKED], draws, urn, alpha)
    made = np.where(draws > 0, draws, contradicted.shape[1])
    return Audited(float((draws > 0).mean()), float(made.mean()), draws > 0)


def _confirming_draws(
    contradicted: NDArray[np.bool_], urn: SlopeUrn, alpha: Fraction
) -> NDArray[np.int64]:
    """Return after how many draws each audit confirms; 0: after none of these."""
    q, number = float(DEFAULT_FLIP_RATE), len(contradicted)
    evidence, flips = np.zeros(number), np.zeros(number)
    confirmed = np.zeros(number, np.int64)
    for draw, flip in enumerate(contradicted.T):
        left = urn.recorded - draw
        room = urn.recorded - urn.hidden - draw + flips
        mean = room / left
        with np.errstate(divide="ignore", invalid="ignore"):
            stake = (1 - (flips + 0.5) / (draw + 0.5 / q) / (1 - mean)).clip(0.0, 0.99)
            stake = np.where((room > 0) & (room < left), stake, 0.0)
            gained = np.where(flip, np.log(1 - stake), np.log(1 - stake + stake / mean))
        evidence += np.where(stake > 0, gained, 0.0)
        flips += flip
        new = (confirmed == 0) & ((evidence >= -np.log(float(alpha))) | (room < 0))
        confirmed[new] = draw + 1
    return confirmed


def _hold_to_product(
    contradicted: NDArray[np.bool_], draws: NDArray[np.int64], urn: SlopeUrn, alpha: Fraction
) -> None:
    """End the benchmark where the simulation and the real test disagree."""
    for number, outcomes in enumerate(contradicted):
        test = ConfirmingTest(urn.recorded, urn.hidden, DEFAULT_FLIP_RATE)
        for outcome in outcomes:
            if test.confirmed(alpha):
                break
            test.add(bool(outcome))
        real = test.draws if test.confirmed(alpha) else 0
        if real != draws[number]:
            raise SystemExit(f"simulated {draws[number]} draws, risk_limit.py {real}")


def _in_random_order(size: int, most: int, coin: np.random.Generator) -> NDArray[np.int64]:
    """Return some numbers below another in random order, each at most once."""
    found = np.zeros(0, np.int64)
    while len(found) < most:
        drawn = np.concatenate([found, coin.integers(0, size, 2 * most)])
        _, at = np.unique(drawn, return_index=True)
        found = drawn[np.sort(at)]
    return found[:most]
