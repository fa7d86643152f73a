"""Labels bent a little in every condition, and audits of what is recorded then.

At the paper's shape: 1,404 queries × 2 draws in each of 18 conditions.  Nothing is replayed:
audits are simulated by ``audit_cost``, and some of them draw by draw through ``risk_limit.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import numpy as np
from audit_cost import confirming
from numpy.typing import NDArray

from safety_receipts.receipts.findings.breakdown.boxes import CountBox
from safety_receipts.receipts.findings.breakdown.extremes import SlopeStatistic, SlopeTerm
from safety_receipts.receipts.findings.breakdown.many_fits import fit_many
from safety_receipts.receipts.findings.fits.covariates import joint_covariates
from safety_receipts.receipts.model.audit import Direction
from safety_receipts.receipts.model.receipt import Counts
from safety_receipts.verify.audit.statistics.risk_limit import (
    DEFAULT_FLIP_RATE,
    hidden_needed,
    recorded_outcomes,
    recorded_rate,
)

HARMFUL, BENIGN = (8, 16, 32), (0, 4, 8, 16, 32, 64)
PLANNED: Final = 1404 * 2
LEVEL, BY_HARMFUL = -1.6, 0.3
RATES_EPSILON: Final = "0.05"
"""What an audit of rates tolerates by default."""
_HOPELESS: Final = 1e-9
Floats = NDArray[np.float64]

_N_HARMFUL, _N_BENIGN = (
    side.ravel().astype(float) for side in np.meshgrid(HARMFUL, BENIGN, indexing="ij")
)
COVARIATES: Final = joint_covariates(_N_HARMFUL, _N_BENIGN)
PLANNED_EACH: Final = np.full(len(COVARIATES), float(PLANNED))
"""Planned points of each condition."""


@dataclass(frozen=True)
class Audited:
    """What simulated audits of some rates came to."""

    confirmed: float
    """Share of them that confirm all rates: the product over rates, which are drawn apart."""
    draws: float
    """Draws of one, in the mean; too few where hardly any confirms."""
    each: NDArray[np.bool_]
    """Which of them confirm all rates, shape (audits,)."""


def box_of(complied: Floats) -> CountBox:
    """Return the sealed counts of a record all of whose points are judged."""
    return CountBox(complied, np.zeros(len(complied)), np.full(len(complied), float(PLANNED)))


def statistic(complied: Floats) -> SlopeStatistic:
    """Return the slope of a record."""
    return SlopeStatistic([SlopeTerm(COVARIATES, np.arange(len(complied)))], box_of(complied))


def slope(complied: Floats) -> float:
    """Return the fitted slope."""
    return float(fit_many(COVARIATES, complied[None], PLANNED_EACH)[0, -1])


def rates_of(planted: float) -> Floats:
    """Return the rate of each condition under a planted slope."""
    return 1 / (1 + np.exp(-(COVARIATES @ [LEVEL, BY_HARMFUL, planted])))


def truth(planted: float, coin: np.random.Generator) -> Floats:
    """Return compliances of each condition."""
    return coin.binomial(PLANNED, rates_of(planted)).astype(float)


def counts_of(complied: float) -> Counts:
    """Return the counts of a condition."""
    whole = int(complied)
    return Counts(
        planned=PLANNED,
        generated=PLANNED,
        failed=0,
        refused=PLANNED - whole,
        complied=whole,
        unscored=0,
        length_stopped=0,
    )


def audit(  # noqa: PLR0917 (one audit has so many terms)
    recorded: Floats,
    true: Floats,
    epsilon: str,
    directions: Sequence[Direction],
    repeats: int,
    coin: np.random.Generator,
) -> Audited:
    """Simulate audits of all rates of a record.

    Args:
        recorded: Compliances as recorded, shape (conditions,).
        true: Compliances as they are.
        epsilon: Tolerated error.
        directions: Which errors are looked for.
        repeats: How many audits.
        coin: Where chance comes from.
    """
    confirmed, draws, each = 1.0, 0.0, np.ones(repeats, dtype=bool)
    for said, is_ in zip(recorded, true, strict=True):
        counts = counts_of(said)
        rate = recorded_rate(counts)
        assert rate is not None
        for direction in directions:
            if confirmed < _HOPELESS and not each.any():
                return Audited(confirmed, draws, each)
            k = hidden_needed(counts, rate, Fraction(epsilon), direction)
            size = recorded_outcomes(counts, direction)
            if k > size:
                continue
            up = direction is Direction.NOT_UNDERSTATED
            false = max(0, round(is_ - said) if up else round(said - is_))
            chance = np.full(size, float(DEFAULT_FLIP_RATE))
            chance[:false] = 1.0
            outcomes = coin.random((repeats, size)) < chance
            shuffled = coin.permuted(outcomes, axis=1)
            found = confirming(shuffled, k, float(DEFAULT_FLIP_RATE))
            confirmed *= float(found.ended.mean())
            draws += float(found.draws.mean())
            each &= found.ended
    return Audited(confirmed, draws, each)


def bent(true: Floats, by: float, sign: int) -> Floats:
    """Return a record whose labels are bent along the number of benign demonstrations.

    Args:
        true: Compliances as they are.
        by: Share of each condition's points whose label is false.
        sign: 1: towards amplification; −1: towards dilution.
    """
    influence = statistic(true)._influence(true)
    return moved(true, by * sign * np.sign(influence))


def moved(true: Floats, by: Floats) -> Floats:
    """Return a record in which some labels are false.

    Args:
        true: Compliances as they are, shape (conditions,).
        by: Share of each condition's points whose label is false: above 0 refusals that are called
            compliances, below 0 compliances that are called refusals.
    """
    return np.round((true + by * PLANNED).clip(0, PLANNED))
