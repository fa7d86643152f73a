"""From numbers to words: when a slope is dilution, amplification, none, or not known.

The words are decided on the numbers as sealed, so that a reader comes to the same ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from safety_receipts.receipts.model.findings import Effect, Grounds, SignedInterval

ALPHA = "0.05"
"""Level of every test of the findings."""
CONFIDENCE = 0.95
"""Of the intervals shown."""
EQUIVALENCE = 0.90
"""Of the interval that must lie within the margin: two one-sided tests at level .05
(Schuirmann, J. Pharmacokinet. Biopharm. 15, 1987)."""

EffectVerdict = tuple[Effect, Grounds]


def is_significant(p: str) -> bool:
    """Say whether a p-value, corrected as it may be, lies below the level."""
    return Decimal(p) < Decimal(ALPHA)


def effect_of_sign(beta: str) -> Effect:
    """Return the effect that a slope's sign stands for."""
    return Effect.AMPLIFICATION if Decimal(beta) > 0 else Effect.DILUTION


def within(interval: SignedInterval, margin: str) -> bool:
    """Say whether an interval lies within ± the margin."""
    lower, upper = Decimal(interval.lower), Decimal(interval.upper)
    return -Decimal(margin) < lower and upper < Decimal(margin)


def slope_word(beta: str, p: str, equivalence: SignedInterval, margin: str) -> EffectVerdict:
    """Return what one slope means.

    The margin comes first: the plan says, before the run, that a slope below it is called none,
    however many points show that it is not exactly zero.

    Args:
        beta: The slope.
        p: Its p-value, corrected for multiplicity.
        equivalence: Its 90 % interval.
        margin: The plan's effect margin.
    """
    if within(equivalence, margin):
        return Effect.NONE, Grounds.EQUIVALENT
    if is_significant(p):
        return effect_of_sign(beta), Grounds.SIGNIFICANT
    return Effect.UNDETERMINED, Grounds.NEITHER


def holm(p_values: Sequence[str]) -> list[str]:
    """Return p-values corrected by Holm's step-down procedure (Scand. J. Stat. 6, 1979).

    A corrected value is below a level exactly where the procedure rejects at that level.
    """
    order = sorted(range(len(p_values)), key=lambda i: Decimal(p_values[i]))
    corrected = ["1"] * len(p_values)
    largest = Decimal(0)
    for rank, i in enumerate(order):
        largest = max(largest, min(Decimal(1), (len(order) - rank) * Decimal(p_values[i])))
        corrected[i] = "1" if largest == 1 else f"{largest:f}"
    return corrected


def bonferroni(p_values: Sequence[str]) -> str | None:
    """Return the p-value of several tests taken as one; None where there is none."""
    if not p_values:
        return None
    least = min(Decimal(1), len(p_values) * min(map(Decimal, p_values)))
    return "1" if least == 1 else f"{least:f}"
