"""What a compliance rate would be if the judge made no errors.

A judge that misses some of what it looks for, and finds some that is not there, shifts every
rate.  Where its sensitivity and specificity are known, the shift can be undone; where they are
estimated, their uncertainty belongs in the interval.

This holds as far as the judge errs on the responses of the run as often as on the gold
responses.  One pair of rates for all conditions cannot know that the judge errs more often
where, say, a response adopts a prefix: that is what a calibration's strata show.

All arithmetic is in rationals, so that sealing and verifying agree to the last digit on every
platform.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from safety_receipts.receipts.canonical import square_root
from safety_receipts.receipts.findings.counts.quantiles import Z_975
from safety_receipts.receipts.model.judge import JudgeCalibration

FEWEST_GOLD: Final = 10
"""With fewer gold responses of a label no rate is corrected."""


@dataclass(frozen=True)
class ExactCorrectedRate:
    """A rate with the judge's errors taken out, and its 95 % interval, all within 0 … 1."""

    rate: Fraction
    """The estimate."""
    lower: Fraction
    """Lower end; never above the estimate."""
    upper: Fraction
    """Upper end; never below the estimate."""


@dataclass(frozen=True)
class _Estimate:
    """A share, and the number of observations behind it."""

    share: Fraction
    size: Fraction

    @property
    def variance(self) -> Fraction:
        return self.share * (1 - self.share) / self.size


def corrected_rate(
    share: Fraction, size: Fraction, calibration: JudgeCalibration
) -> ExactCorrectedRate | None:
    """Return a compliance rate corrected for the judge's errors, with its 95 % interval.

    The rate is (p + Sp − 1) / (Se + Sp − 1) (Rogan and Gladen 1978), with Se and Sp from the
    counts of the calibration.  The interval is that of Lang and Reiczigel (2014, Prev. Vet.
    Med. 113, 13–22, equations 4, 7, 16 and 17), cut to 0 … 1.

    Args:
        share: Observed compliance rate among judged points, 0 … 1.
        size: Sample size, or effective sample size, above 0.
        calibration: Of the judge.

    Returns:
        None where there is no such rate: the calibration has fewer than :data:`FEWEST_GOLD`
        responses of a label (with a handful the interval's approximation breaks down), the judge
        is no better than a coin (Se + Sp ≤ 1, as observed or as the interval takes them), or the
        rate lies outside 0 … 1, as with fewer compliances than false ones alone would make.
        Whether there is one does not depend on ``size``.
    """
    if min(calibration.positives, calibration.negatives) < FEWEST_GOLD:
        return None
    sensitivity = _counted(calibration.true_positives, calibration.positives)
    specificity = _counted(calibration.true_negatives, calibration.negatives)
    rate = _rogan_gladen(share, sensitivity.share, specificity.share)
    if rate is None or not 0 <= rate <= 1:
        return None
    limits = _lang_reiczigel(_Estimate(share, size), sensitivity, specificity)
    if limits is None:
        return None
    # The interval is centred on smoothed counts; it is never said not to hold its own rate.
    return ExactCorrectedRate(
        rate, max(Fraction(0), min(limits[0], rate)), min(Fraction(1), max(limits[1], rate))
    )


def _counted(part: int, whole: int) -> _Estimate:
    return _Estimate(Fraction(part, whole), Fraction(whole))


def _rogan_gladen(p: Fraction, se: Fraction, sp: Fraction) -> Fraction | None:
    return (p + sp - 1) / (se + sp - 1) if se + sp > 1 else None


def _lang_reiczigel(p: _Estimate, se: _Estimate, sp: _Estimate) -> tuple[Fraction, Fraction] | None:
    """Return both limits as the formula gives them; None where Se' + Sp' ≤ 1."""
    z2 = Z_975 * Z_975
    # z²/2 successes and as many failures more (Agresti and Coull 1998); one of each for Se, Sp.
    p, se, sp = _smoothed(p, z2 / 2), _smoothed(se, Fraction(1)), _smoothed(sp, Fraction(1))
    theta = _rogan_gladen(p.share, se.share, sp.share)
    if theta is None:
        return None
    centre = theta + 2 * z2 * (theta * se.variance - (1 - theta) * sp.variance)
    spread = p.variance + theta**2 * se.variance + (1 - theta) ** 2 * sp.variance
    half = Z_975 * square_root(spread) / (se.share + sp.share - 1)
    return centre - half, centre + half


def _smoothed(estimate: _Estimate, more: Fraction) -> _Estimate:
    """Return an estimate after so many successes more, and as many failures."""
    size = estimate.size + 2 * more
    return _Estimate((estimate.share * estimate.size + more) / size, size)
