"""Breakdown points and extremes of many slopes at once, foreseen and then proven.

What cannot be foreseen, or not be proven, is left to a search
(:mod:`receipts.findings.breakdown.extremes`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor
from typing import Final

import numpy as np

from safety_receipts.receipts.findings.breakdown.extremes import SlopeStatistic
from safety_receipts.receipts.findings.breakdown.proofs import proven_extremes
from safety_receipts.receipts.findings.breakdown.solving import Boxes

SlopeLimit = tuple[int, float]
"""1 and what a slope stays below, or −1 and what it stays above."""

_CERTAIN: Final = 1e-4
"""Nearer to a unit, a search decides to which side of it a share belongs."""


@dataclass(frozen=True, eq=False)
class SlopeQuestion:
    """A slope, or a weighted sum of some, and what it has to stay within."""

    statistic: SlopeStatistic
    """The slope."""
    limits: tuple[SlopeLimit, ...]
    """What it stays below, or above: at least one."""


def foresee(
    questions: Sequence[SlopeQuestion], units: int, told: Sequence[float] = ()
) -> list[int | None]:
    """Return up to which shares slopes stay within their limits, and teach them their extremes.

    Args:
        questions: The slopes.
        units: Shares are asked for in one part of so many.
        told: Other shares at which extremes will be asked for.

    Returns:
        The largest share of each, in units: −1 where it is below 0, None where it could not be
        foreseen.  Each is a guess, to be held to what its statistic has learnt.
    """
    found: list[int | None] = [None] * len(questions)
    groups: dict[tuple[object, ...], list[int]] = {}
    for number, question in enumerate(questions):
        groups.setdefault(_shape(question.statistic), []).append(number)
    for members in groups.values():
        guesses = _foresee([questions[number] for number in members], units, told)
        for number, guess in zip(members, guesses, strict=True):
            found[number] = guess
    return found


def _shape(statistic: SlopeStatistic) -> tuple[object, ...]:
    """Return what the slopes have in common that are fitted at once."""
    return tuple(
        (term.covariates.shape, term.covariates.tobytes(), term.places.tobytes(), term.weight)
        for term in statistic.terms
    )


def _foresee(
    questions: Sequence[SlopeQuestion], units: int, told: Sequence[float]
) -> list[int | None]:
    """Do so for slopes of one shape."""
    asked = [(one, sign, limit) for one in questions for sign, limit in one.limits]
    roots = Boxes([(one.statistic, sign) for one, sign, _ in asked])
    met = roots.solved(np.zeros(len(asked)), np.array([limit for *_, limit in asked]))
    guesses: list[int | None] = []
    wanted: list[tuple[SlopeStatistic, int, float, bool]] = []
    for question in questions:
        places = [place for place, (one, *_) in enumerate(asked) if one is question]
        share, sign = min((met.share[place], asked[place][1]) for place in places)
        guess = _guess(share, units) if met.held[places].all() else None
        guesses.append(guess)
        statistic = question.statistic
        wanted += [(statistic, side, share, True) for share in told for side in (-1, 1)]
        if guess is not None:
            wanted.append((statistic, sign, (guess + 1) / units, False))
            if guess >= 0:
                wanted += [(statistic, side, guess / units, True) for side, _ in question.limits]
    if wanted:
        _teach(wanted)
    return guesses


def _guess(share: float, units: int) -> int | None:
    """Return the unit below a share; None where it is too near to one, or beyond all."""
    exact = share * units
    if exact >= units or abs(exact - round(exact)) < _CERTAIN:
        return None
    return max(floor(exact), -1)


def _teach(wanted: Sequence[tuple[SlopeStatistic, int, float, bool]]) -> None:
    """Find extremes, and tell them to their statistics.

    Args:
        wanted: Statistic, sign, share, and whether to prove that it is the extreme.
    """
    boxes = Boxes([(statistic, sign) for statistic, sign, *_ in wanted])
    found = boxes.solved(np.array([share for *_, share, _ in wanted]))
    proofs = found.held & np.array([prove for *_, prove in wanted])
    proven = proven_extremes(boxes, found, np.flatnonzero(proofs))
    for place in np.flatnonzero(found.held).tolist():
        statistic, sign, share, _ = wanted[place]
        extreme = float(found.value[place]), found.corner[place]
        statistic.learn(share, sign, extreme, proven=bool(proven[place]))
