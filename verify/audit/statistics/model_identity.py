"""Do the replayed responses come from the named model, all of them together?

A changed model need not make any one response implausible: rounding weights to eight bits
moves every logit a little.  The mean clipped margin over all replayed tokens adds that up
(compare DiFR, arXiv:2511.20621).  It is held against the calibration's honest responses by a
permutation test over whole responses, as tokens of one response are not independent; weights
are tokens, so that long responses count as what they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import numpy as np
from numpy.typing import NDArray

from safety_receipts.receipts.canonical import decimal_string
from safety_receipts.receipts.model.audit import IdentityTest, PowerAgainst
from safety_receipts.receipts.model.calibration import CalibrationPredicate
from safety_receipts.verify.audit.statistics.hypotheses import IDENTITY_LEVEL
from safety_receipts.verify.audit.statistics.plausibility import (
    DefaultPlausibility,
    MarginStatistics,
)

IDENTITY_TEST_LEVEL: Final = IDENTITY_LEVEL
"""Level of the test: an honest model fails it that often."""
IDENTITY_PERMUTATIONS: Final = 9_999
"""Permutations of the test; its smallest p-value is one in ten thousand."""
REPEATS: Final = 200
"""Samples by which the power is estimated."""
_POWER_PERMUTATIONS: Final = 499


@dataclass(frozen=True)
class ResponseMargins:
    """Clipped margins of some responses."""

    sums: NDArray[np.float64]
    """Sum of each, [n]."""
    tokens: NDArray[np.float64]
    """Tokens of each, [n]."""

    def mean(self) -> float:
        """Return the mean over all tokens."""
        return float(self.sums.sum() / self.tokens.sum())

    def chosen(self, index: NDArray[np.int64]) -> ResponseMargins:
        """Return some of them."""
        return ResponseMargins(self.sums[index], self.tokens[index])


def responses_of(statistics: Sequence[MarginStatistics]) -> ResponseMargins:
    """Return replayed responses as the test takes them."""
    return ResponseMargins(
        np.array([one.clipped for one in statistics]),
        np.array([one.tokens for one in statistics], np.float64),
    )


def permutation_p(
    drawn: ResponseMargins,
    honest: ResponseMargins,
    seed: int,
    permutations: int = IDENTITY_PERMUTATIONS,
) -> Fraction:
    """Return the p-value of drawn responses' mean being no larger than honest ones'.

    The drawn and the honest responses are thrown together; the share of random samples of
    the drawn ones' number with a mean at least theirs (Fisher's randomisation test, with the
    observed one counted in: Phipson & Smyth 2010).

    Args:
        drawn: The replayed responses, at least one.
        honest: The calibration's.
        seed: Decides the permutations.
        permutations: How many.
    """
    sums = np.concatenate([drawn.sums, honest.sums])
    tokens = np.concatenate([drawn.tokens, honest.tokens])
    random, size = np.random.default_rng(seed), len(drawn.sums)
    observed = drawn.mean()
    reached = 0
    for _ in range(permutations):
        # A sample without replacement, as the first places of a permutation.
        index = random.choice(len(sums), size, replace=False, shuffle=False)
        reached += sums[index].sum() >= (observed - 1e-12) * tokens[index].sum()
    return Fraction(1 + int(reached), 1 + permutations)


def identity_test(
    replayed: Sequence[MarginStatistics], calibration: CalibrationPredicate, seed: int
) -> IdentityTest:
    """Return the test of an audit's responses.

    Args:
        replayed: Statistics of each replayed response, at least one.
        calibration: The auditor's.
        seed: Decides the permutations.
    """
    drawn = responses_of(replayed)
    honest = _of_wire(calibration.clipped, calibration.tokens)
    p = permutation_p(drawn, honest, seed)
    powers = tuple(
        PowerAgainst(
            alternative=each.name,
            power=decimal_string(
                power(_of_wire(each.clipped, each.tokens), honest, len(replayed), seed), 3
            ),
        )
        for each in calibration.alternatives
    )
    return IdentityTest(
        statistic="mean clipped margin, permutation test over responses",
        responses=len(replayed),
        p_value=decimal_string(p, 6),
        level=decimal_string(IDENTITY_TEST_LEVEL, 2),
        power=min((each.power for each in powers), default=None),
        passed=p > IDENTITY_TEST_LEVEL,
        mean=decimal_string(Fraction(drawn.mean()), 6),
        powers=powers,
    )


def default_identity_test(
    replayed: Sequence[MarginStatistics], limits: DefaultPlausibility
) -> IdentityTest:
    """Return the test by the stated limit of a number format: uncalibrated, power unknown."""
    mean = responses_of(replayed).mean()
    return IdentityTest(
        statistic=f"mean clipped margin, at most {limits.limits.rate:g} (uncalibrated)",
        responses=len(replayed),
        p_value=None,
        level=decimal_string(IDENTITY_TEST_LEVEL, 2),
        power=None,
        passed=mean <= limits.limits.rate,
        mean=decimal_string(Fraction(mean), 6),
        powers=(),
    )


def power(alternative: ResponseMargins, honest: ResponseMargins, size: int, seed: int) -> Fraction:
    """Return how often the test fails samples of another model's responses.

    Args:
        alternative: The other model's responses.
        honest: The calibration's.
        size: Responses of an audit.
        seed: Decides the samples.
    """
    random = np.random.default_rng(seed)
    size = min(size, len(alternative.sums))
    # The honest mean of samples of this size, once: a test of its own in every repeat would
    # say the same to within the estimate's error.
    means = []
    for _ in range(_POWER_PERMUTATIONS):
        sample = honest.chosen(
            random.choice(len(honest.sums), size, replace=size > len(honest.sums))
        )
        means.append(sample.mean())
    critical = float(np.quantile(means, 1 - float(IDENTITY_TEST_LEVEL), method="higher"))
    seen = 0
    for _ in range(REPEATS):
        sample = alternative.chosen(random.choice(len(alternative.sums), size))
        seen += sample.mean() > critical
    return Fraction(seen, REPEATS)


def _of_wire(sums: Sequence[str], tokens: Sequence[int]) -> ResponseMargins:
    return ResponseMargins(np.array([float(one) for one in sums]), np.array(tokens, np.float64))
