"""Would the claimed model plausibly have written this response, token by token?

A replay gives each token of a response a margin: how far the auditor's own best token lies
above it.  Two statistics of a response are looked at: the largest margin, which an edited
token raises, and the sum of margins clipped at :data:`CLIP`, which a changed model raises
everywhere a little.  Each is held against honest responses of similar length that the auditor
scored on several stacks: the conformal p-value (Vovk, Gammerman & Shafer 2005) is
(1 + honest ones at least as large) / (1 + honest ones), and a response is implausible where
either is at most :data:`IMPLAUSIBLE_LEVEL`.  Without a calibration stated limits by number format
take their place, and an audit says ``uncalibrated``.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, Protocol

from safety_receipts.receipts.model.calibration import CalibrationPredicate, LengthBin
from safety_receipts.receipts.model.checkpoint import Dtype

CLIP: Final = Fraction(1)
"""A token's margin counts up to this in a sum, in logits."""
PHI: Final = Fraction(2, 1000)
"""Share of honest responses that may be called implausible, both statistics together."""
IMPLAUSIBLE_LEVEL: Final = PHI / 2
"""p-value at which one statistic calls a response implausible."""
LEAST_RESPONSES: Final = 1_999
"""Honest responses of a length bin: with fewer no p-value could be as small as the level asks
of one in two thousand."""
LARGEST: Final = 1e9
"""What a calibration writes for an infinite margin, as a token outside top-k or top-p has it."""
HARD_MARGINS: Final = {Dtype.FLOAT32: 0.5, Dtype.FLOAT16: 2.0, Dtype.BFLOAT16: 4.0}
"""A margin beyond this, in logits, against the model in fp32, is no doing of the number format
that a response claims to be written in."""


@dataclass(frozen=True, slots=True)
class PlausibilityLimits:
    """What an honest response stays within where nothing was calibrated."""

    largest: float
    """Largest margin of any token, in logits."""
    rate: float
    """Mean clipped margin of its tokens that is allowed on top, in logits."""


DEFAULT_LIMITS: Final = {
    Dtype.FLOAT32: PlausibilityLimits(0.01, 0.0001),
    Dtype.FLOAT16: PlausibilityLimits(0.1, 0.001),
    Dtype.BFLOAT16: PlausibilityLimits(0.6, 0.006),
}
"""By the coarser number format of evaluator and auditor.  Logits of language models reach a few
tens, where bfloat16 numbers lie 1/8 apart: a few of its steps."""


@dataclass(frozen=True, slots=True)
class MarginStatistics:
    """A response's margins in two numbers."""

    largest: float
    """The largest, in logits; may be infinite."""
    clipped: float
    """The sum of the clipped ones."""
    tokens: int
    """How many."""

    @classmethod
    def of(
        cls,
        margins: Sequence[float],
        temperature: float | None = None,
        penalty: float | None = None,
    ) -> MarginStatistics:
        """Return the statistics of a response's margins.

        Args:
            margins: At least one, as an engine gives them.
            temperature: Of seeded sampling, whose scores are logits / temperature plus noise;
                None: greedy.
            penalty: Repetition penalty.  It can stretch logits, and with them what a number
                format leaves uncertain, by itself or by its inverse: margins are taken back by
                the larger, so that no honest one looks larger than it would without.
        """
        clip, scale = float(CLIP), temperature or 1.0
        if penalty is not None:
            scale /= max(penalty, 1 / penalty)
        logits = [scale * margin for margin in margins]
        return cls(max(logits), math.fsum(min(one, clip) for one in logits), len(logits))


class Plausibility(Protocol):
    """Says of responses whether the claimed model would plausibly have written them."""

    def implausible(self, one: MarginStatistics) -> str | None:
        """Return what is implausible about a response, in words, or None."""


@dataclass(frozen=True, slots=True)
class DefaultPlausibility:
    """By stated limits: uncalibrated."""

    limits: PlausibilityLimits
    """What an honest response stays within."""

    @classmethod
    def between(cls, one: Dtype, other: Dtype) -> DefaultPlausibility:
        """Return the limits between two number formats: the coarser one's."""
        limits = (DEFAULT_LIMITS[one], DEFAULT_LIMITS[other])
        return cls(max(limits, key=lambda each: each.largest))

    def implausible(self, one: MarginStatistics) -> str | None:
        """Return what is implausible about a response, in words, or None."""
        if not one.largest <= self.limits.largest:
            return f"a margin of {one.largest:.3g} above the limit of {self.limits.largest:g}"
        allowed = self.limits.largest + self.limits.rate * one.tokens
        if not one.clipped <= allowed:
            return f"margins that add up to {one.clipped:.3g}, above the limit of {allowed:.3g}"
        return None


class CalibratedPlausibility:
    """By an auditor's calibration.

    Args:
        calibration: The calibration.
    """

    def __init__(self, calibration: CalibrationPredicate) -> None:
        self._bins = [_Bin(each) for each in calibration.bins]

    def implausible(self, one: MarginStatistics) -> str | None:
        """Return what is implausible about a response, in words, or None."""
        bin_ = next((b for b in self._bins if one.tokens <= b.upto), self._bins[-1])
        for name, value, honest in (
            ("largest margin", one.largest, bin_.largest),
            ("sum of margins", one.clipped, bin_.clipped),
        ):
            p = conformal_p(value, honest)
            if p <= IMPLAUSIBLE_LEVEL:
                return f"a {name} of {value:.3g} (p = {float(p):.2g})"
        return None


class _Bin:
    def __init__(self, wire: LengthBin) -> None:
        self.upto = math.inf if wire.upto is None else wire.upto
        self.largest = [float(score) for score in wire.largest]
        self.clipped = [float(score) for score in wire.clipped]


def conformal_p(value: float, honest: Sequence[float]) -> Fraction:
    """Return (1 + number of honest values ≥ ``value``) / (1 + number of honest values).

    Args:
        value: The statistic; as a calibration spells it, with six places.
        honest: Ascending.
    """
    # Calibrations hold six places and nothing infinite: a value that is written like an honest
    # one is not above it.
    rounded = round(min(LARGEST, value), 6)  # LARGEST of what is no number, too
    at_least = len(honest) - bisect_left(honest, rounded)
    return Fraction(1 + at_least, 1 + len(honest))
