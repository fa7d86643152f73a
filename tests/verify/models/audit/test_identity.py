"""The model-identity test: honest responses pass it, another model's do not."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from auditing import calibration, scores
from numpy.typing import NDArray

from safety_receipts.receipts.canonical import decimal_string
from safety_receipts.receipts.model.calibration import Alternative, LengthBin
from safety_receipts.receipts.model.checkpoint import Dtype
from safety_receipts.verify.audit.statistics.model_identity import (
    ResponseMargins,
    default_identity_test,
    identity_test,
    permutation_p,
    power,
)
from safety_receipts.verify.audit.statistics.plausibility import (
    DefaultPlausibility,
    MarginStatistics,
)


def responses(number: int, seed: int, scale: float = 1.0) -> ResponseMargins:
    """Return responses of 5 to 40 tokens, most margins 0, as greedy replays have them."""
    random = np.random.default_rng(seed)
    tokens = random.integers(5, 40, number)
    sums = np.array([_margins(random, length, scale) for length in tokens])
    return ResponseMargins(sums, tokens.astype(np.float64))


def _margins(random: np.random.Generator, length: int, scale: float) -> float:
    some = random.random(length) < 0.1
    margins: NDArray[np.float64] = np.where(some, random.exponential(0.05 * scale, length), 0)
    return float(np.minimum(margins, 1).sum())


def test_the_p_value_of_three_against_one_is_known() -> None:
    """Drawn: 1 of the four; it is the largest, so one sample in four reaches it."""
    drawn = ResponseMargins(np.array([3.0]), np.array([1.0]))
    honest = ResponseMargins(np.array([0.0, 1.0, 2.0]), np.ones(3))
    p = permutation_p(drawn, honest, seed=1, permutations=3999)
    assert abs(p - Fraction(1, 4)) < Fraction(3, 100)  # 4 standard errors: .027
    lowest = ResponseMargins(np.array([0.0]), np.array([1.0]))
    assert permutation_p(lowest, ResponseMargins(np.array([1.0, 2.0]), np.ones(2)), 1, 99) == 1


def test_tokens_are_weights() -> None:
    """The mean is over tokens: a long clean response outweighs a short one."""
    drawn = ResponseMargins(np.array([1.0, 0.0]), np.array([1.0, 99.0]))
    assert drawn.mean() == pytest.approx(0.01)


def test_honest_halves_have_a_roughly_uniform_p_value() -> None:
    """400 repeats: each fifth of them within 4 standard errors (.08) of a fifth."""
    found = np.array(
        [
            float(permutation_p(responses(20, 2 * i), responses(60, 2 * i + 1), i, 99))
            for i in range(400)
        ]
    )
    shares, _ = np.histogram(found, bins=5, range=(0, 1))
    assert np.abs(shares / len(found) - 0.2).max() < 0.08
    # Valid at small levels: at most the level, and 4 standard errors of it.
    assert (found <= 0.05).mean() < 0.05 + 4 * (0.05 * 0.95 / 400) ** 0.5


def test_larger_margins_fail_it() -> None:
    drawn, honest = responses(60, 1, scale=4), responses(300, 2)
    assert permutation_p(drawn, honest, seed=3, permutations=999) == Fraction(1, 1000)


def test_the_same_seed_gives_the_same_p_value() -> None:
    drawn, honest = responses(20, 1), responses(60, 2)
    found = {permutation_p(drawn, honest, seed, 199) for seed in (5, 5, 5)}
    assert len(found) == 1
    assert len({permutation_p(drawn, honest, seed, 199) for seed in range(5, 15)}) > 1


def test_power_rises_with_the_size_and_reaches_one() -> None:
    honest, other = responses(400, 1), responses(400, 2, scale=1.6)
    powers = [power(other, honest, size, seed=7) for size in (2, 8, 32, 128)]
    # Each is of 200 samples: half a standard error may go the other way, .03.
    assert all(later >= before - Fraction(3, 100) for before, later in pairwise(powers))
    assert powers[0] < Fraction(1, 2)
    assert power(responses(400, 3, scale=6), honest, 64, seed=7) == 1


def test_the_honest_model_is_no_alternative() -> None:
    """Of another honest sample, about one in a hundred fails: less than one in twelve here."""
    assert power(responses(400, 9), responses(400, 1), 32, seed=7) < Fraction(1, 12)


def test_an_audit_s_test_names_the_power_against_each_alternative() -> None:
    honest, strong = responses(300, 1), responses(200, 2, scale=8)
    bin_ = LengthBin(upto=None, largest=scores([0.0]), clipped=scores([0.0]))
    says = calibration([bin_]).model_copy(
        update={
            "clipped": _wire(honest.sums),
            "tokens": tuple(int(one) for one in honest.tokens),
            "alternatives": (
                Alternative(
                    name="another model",
                    clipped=_wire(strong.sums),
                    tokens=tuple(int(one) for one in strong.tokens),
                ),
                Alternative(
                    name="the model itself",
                    clipped=_wire(honest.sums),
                    tokens=tuple(int(one) for one in honest.tokens),
                ),
            ),
        }
    )
    good = identity_test(_statistics(responses(40, 3)), says, seed=11)
    assert good.passed
    assert good == identity_test(_statistics(responses(40, 3)), says, seed=11)
    assert good.powers is not None
    first, second = good.powers
    assert (first.alternative, float(first.power)) == ("another model", 1.0)
    assert good.power == second.power
    assert float(second.power) < 0.1
    bad = identity_test(_statistics(responses(40, 3, scale=8)), says, seed=11)
    assert (bad.passed, bad.p_value) == (False, "0.000100")


def _wire(sums: NDArray[np.float64]) -> tuple[str, ...]:
    return tuple(decimal_string(Fraction(float(one)), 6) for one in sums)


def _statistics(found: ResponseMargins) -> list[MarginStatistics]:
    return [
        MarginStatistics(float(clipped), float(clipped), int(tokens))
        for clipped, tokens in zip(found.sums, found.tokens, strict=True)
    ]


def test_without_a_calibration_the_mean_is_held_to_the_stated_limit() -> None:
    limits = DefaultPlausibility.between(Dtype.FLOAT32, Dtype.FLOAT32)  # .0001 a token
    at = default_identity_test(
        [MarginStatistics(0.0, 0.0, 90), MarginStatistics(0.001, 0.001, 10)], limits
    )
    assert (at.passed, at.p_value, at.power, at.mean) == (True, None, None, "0.000010")
    above = default_identity_test(
        [MarginStatistics(0.0, 0.0, 90), MarginStatistics(0.02, 0.02, 10)], limits
    )
    assert (above.passed, above.mean) == (False, "0.000200")
