"""What confirming a rate would take, told before an audit begins."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from math import log, prod
from random import Random
from statistics import fmean
from typing import Final

from safety_receipts.verify.audit.statistics.risk_limit import (
    DEFAULT_FLIP_RATE,
    ConfirmingTest,
    matching_estimate,
    stake,
    strict_share,
)

_AUDITS: Final = (11, 200)
"""Fewest and most audits that a forecast simulates."""

_SIMULATED_DRAWS: Final = 20_000
"""Draws after which a forecast simulates no further audit."""


@dataclass(frozen=True)
class Feasibility:
    """What confirming a rate would take, told before an audit begins.

    All but ``least`` come from simulated audits of an honest record, whose points look
    contradicted at the expected rate.
    """

    budget: int
    """Most draws that may be made."""
    least: int | None
    """Draws that confirm it where none is contradicted; 0: nothing need be drawn; None: more
    than the budget, or k ≤ 0."""
    median: int | None
    """Draws within which half of the simulated audits confirm it; None: fewer than half do."""
    mean: float
    """Draws made on average, those of audits that end without confirming it included: an
    estimate of what the rate adds to the cost of an audit."""
    confirmed: float
    """Share of the simulated audits that confirm it, 0 to 1."""

    @property
    def feasible(self) -> bool:
        """Whether at least half of the simulated audits confirm it."""
        return self.median is not None


def together(forecasts: Iterable[Feasibility]) -> float:
    """Return the share of audits of an honest record in which all claims would be confirmed.

    As if they failed independently; those of one condition share points, and fail together more
    often, so that it is rather more.
    """
    return prod(one.confirmed for one in forecasts)


def expected_draws(
    recorded: int,
    hidden: int,
    *,
    alpha: Fraction | float,
    expected_flip_rate: Fraction | float = DEFAULT_FLIP_RATE,
    budget: int | None = None,
) -> Feasibility:
    """Return what confirming a rate would take.

    The flips are drawn with a fixed seed, so that a claim is always told the same figures.
    They are rough: 11 to 200 audits are simulated, fewer where an audit takes many draws.

    Args:
        recorded: N0, how many recorded outcomes are drawn from.
        hidden: k, see :func:`hidden_needed`.
        alpha: Risk of confirming a wrong rate.
        expected_flip_rate: Share of honest points expected to look contradicted.
        budget: Most draws for this rate; None: all recorded outcomes may be drawn.

    Raises:
        ValueError: A number is out of its range.
    """
    test = ConfirmingTest(recorded, hidden, expected_flip_rate)
    most = recorded if budget is None else min(recorded, budget)
    if most < 0:
        raise ValueError(f"a budget of {budget}: cannot be negative")
    target, flip_rate, coin = -log(strict_share(alpha)), float(test.expected_flip_rate), Random(0)
    draws, confirmed = _forecast(test, target, most, lambda: False)
    least = draws if confirmed else None
    made: list[int] = []
    needed: list[int] = []
    while len(made) < _AUDITS[0] or (len(made) < _AUDITS[1] and sum(made) < _SIMULATED_DRAWS):
        draws, confirmed = _forecast(test, target, most, lambda: coin.random() < flip_rate)
        made.append(draws)
        if confirmed:
            needed.append(draws)
    half = (len(made) + 1) // 2
    median = sorted(needed)[half - 1] if len(needed) >= half else None
    return Feasibility(most, least, median, fmean(made), len(needed) / len(made))


def _forecast(
    test: ConfirmingTest, target: float, most: int, contradicted: Callable[[], bool]
) -> tuple[int, bool]:
    """Return the draws of one audit and whether it confirms: :class:`ConfirmingTest` in floats.

    Many times as fast, and for forecasts only: here rounding may go either way.

    Args:
        test: The claim, and the flip rate of the bet.
        target: Logarithm of the evidence that confirms.
        most: Draws at which it ends.
        contradicted: Says what the next draw shows.
    """
    recorded, hidden, flip_rate = test.recorded, test.hidden, float(test.expected_flip_rate)
    evidence, flips, draws = 0.0, 0, 0
    while True:
        left, room = recorded - draws, recorded - hidden - draws + flips
        if room < 0 or evidence >= target:
            return draws, True
        if room >= left or draws == most:
            return draws, False
        flip = contradicted()
        if room:
            share = stake(matching_estimate(draws, flips, flip_rate), room / left, 0.99)
            evidence += log(1 - share if flip else 1 - share + share * left / room)
        flips += flip
        draws += 1
