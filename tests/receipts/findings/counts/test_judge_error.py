"""Rates corrected for what the judge gets wrong."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from safety_receipts.receipts.canonical import sha256_hex
from safety_receipts.receipts.findings.counts.judge_error import (
    FEWEST_GOLD,
    ExactCorrectedRate,
    corrected_rate,
)
from safety_receipts.receipts.findings.counts.rates import wilson_interval
from safety_receipts.receipts.model.judge import GoldKind, JudgeCalibration


def calibration(
    true_positives: int, positives: int, true_negatives: int, negatives: int
) -> JudgeCalibration:
    """Return a calibration of these counts; the strings beside them play no part."""
    return JudgeCalibration(
        judge=sha256_hex(b"judge"),
        gold=sha256_hex(b"gold"),
        gold_kind=GoldKind.GENERAL,
        positives=positives,
        true_positives=true_positives,
        negatives=negatives,
        true_negatives=true_negatives,
        sensitivity=None,
        sensitivity_interval=None,
        specificity=None,
        specificity_interval=None,
        unscored=0,
        strata=(),
    )


def corrected(part: int, whole: int, *counts: int) -> ExactCorrectedRate | None:
    return corrected_rate(Fraction(part, whole), Fraction(whole), calibration(*counts))


def of(rate: ExactCorrectedRate | None) -> ExactCorrectedRate:
    assert rate is not None
    return rate


# From another implementation of the paper's equations (notation of the R package asht, function
# prevSeSp), in decimal arithmetic of 50 digits: compliances, points, and the judge's counts
# (true positives, positives, true negatives, negatives) → rate, lower, upper.
KNOWN = {
    (60, 100, 190, 200, 95, 100): ("0.6111111111", "0.4952542761", "0.7161150390"),
    (40, 50, 18, 20, 27, 30): ("0.8750000000", "0.6893829961", "1.0000000000"),
    (3, 10, 10, 10, 10, 10): ("0.3000000000", "0.0000000000", "0.6432519195"),
    (3, 263, 88, 89, 133, 134): ("0.0040193132", "0.0000000000", "0.0298723942"),
}


@pytest.mark.parametrize("case", KNOWN)
def test_known_rates_and_limits(case: tuple[int, ...]) -> None:
    found = of(corrected(*case))
    rounded = tuple(f"{float(value):.10f}" for value in (found.rate, found.lower, found.upper))
    assert rounded == KNOWN[case]


NOT_DEFINED = {
    "no gold response is labelled complied": (1, 2, 0, 0, 9, 10),
    "none is labelled refused": (1, 2, 9, 10, 0, 0),
    "a coin for a judge": (1, 2, 5, 10, 5, 10),
    "worse than a coin": (1, 2, 4, 10, 5, 10),
    "fewer compliances than false ones make": (4, 100, 90, 100, 95, 100),
    "more compliances than there are true ones": (91, 100, 90, 100, 95, 100),
    "nine gold refusals": (500, 1000, 1000, 1000, 9, 9),
    "nine gold compliances": (14, 100, 9, 9, 1000, 1000),
}


@pytest.mark.parametrize("case", NOT_DEFINED.values(), ids=NOT_DEFINED)
def test_there_is_no_rate_outside_the_valid_range(case: tuple[int, ...]) -> None:
    assert corrected(*case) is None


def test_the_ends_of_the_valid_range_belong_to_it() -> None:
    assert of(corrected(5, 100, 90, 100, 95, 100)).rate == 0
    assert of(corrected(90, 100, 90, 100, 95, 100)).rate == 1


COUNTS = st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
SHARES = st.fractions(0, 1, max_denominator=500)
SIZES = st.fractions(1, 10_000, max_denominator=50)


@given(
    share=SHARES,
    size=SIZES,
    positives=st.integers(FEWEST_GOLD, 500),
    negatives=st.integers(FEWEST_GOLD, 500),
)
def test_a_judge_without_errors_changes_no_rate(
    share: Fraction, size: Fraction, positives: int, negatives: int
) -> None:
    """Whatever the calibration's size, which only the interval knows."""
    perfect = calibration(positives, positives, negatives, negatives)
    assert of(corrected_rate(share, size, perfect)).rate == share


@given(share=SHARES, size=SIZES, complied=COUNTS, refused=COUNTS)
def test_the_interval_holds_the_rate_and_lies_within_the_unit_interval(
    share: Fraction, size: Fraction, complied: tuple[int, int], refused: tuple[int, int]
) -> None:
    assume(Fraction(*complied) + Fraction(*refused) > 1)
    found = corrected_rate(share, size, calibration(*complied, *refused))
    if found is not None:
        assert 0 <= found.lower <= found.rate <= found.upper <= 1
        assert found.lower < found.upper


@given(share=SHARES, size=SIZES, other=SIZES, complied=COUNTS, refused=COUNTS)
def test_whether_there_is_a_rate_does_not_depend_on_the_sample_size(
    share: Fraction,
    size: Fraction,
    other: Fraction,
    complied: tuple[int, int],
    refused: tuple[int, int],
) -> None:
    judge = calibration(*complied, *refused)
    one, another = (corrected_rate(share, n, judge) for n in (size, other))
    assert (one and one.rate) == (another and another.rate)


@given(first=SHARES, second=SHARES, size=SIZES, complied=COUNTS, refused=COUNTS)
def test_more_compliance_is_more_compliance_corrected(
    first: Fraction,
    second: Fraction,
    size: Fraction,
    complied: tuple[int, int],
    refused: tuple[int, int],
) -> None:
    judge = calibration(*complied, *refused)
    less, more = (corrected_rate(share, size, judge) for share in sorted((first, second)))
    if less is not None and more is not None:
        assert (less.rate < more.rate) == (first != second)


@given(share=SHARES, complied=COUNTS, refused=COUNTS)
def test_a_rate_and_its_complement_are_corrected_alike(
    share: Fraction, complied: tuple[int, int], refused: tuple[int, int]
) -> None:
    """Refusals are corrected as compliances are, with the judge's two errors exchanged."""
    size = Fraction(100)
    one = corrected_rate(share, size, calibration(*complied, *refused))
    other = corrected_rate(1 - share, size, calibration(*refused, *complied))
    assert (one is None) == (other is None)
    if one is not None and other is not None:
        assert one.rate == 1 - other.rate
        assert abs(one.lower - (1 - other.upper)) < Fraction(1, 10**30)
        assert abs(one.upper - (1 - other.lower)) < Fraction(1, 10**30)


@given(share=SHARES, size=st.integers(5, 500))
def test_errors_known_to_be_none_leave_the_interval_of_agresti_and_coull(
    share: Fraction, size: int
) -> None:
    """Which has the centre of Wilson's interval, and is no narrower."""
    many = 10**13
    found = of(corrected_rate(share, Fraction(size), calibration(many, many, many, many)))
    lower, upper = wilson_interval(share, Fraction(size))
    tolerance = Fraction(1, 10**9)
    assert found.lower <= lower + tolerance
    assert upper <= found.upper + tolerance
    if found.lower > 0 and found.upper < 1:
        assert abs((found.lower + found.upper) - (lower + upper)) < tolerance


def test_less_gold_is_a_wider_interval() -> None:
    widths = []
    for scale in (1, 4, 16, 64):
        counts = tuple(scale * count for count in (9, 10, 19, 20))
        found = of(corrected(250, 500, *counts))
        widths.append(found.upper - found.lower)
    assert sorted(widths, reverse=True) == widths
    lower, upper = wilson_interval(Fraction(1, 2), Fraction(500))
    assert widths[-1] > upper - lower


@pytest.mark.parametrize(
    ("truth", "sensitivity", "specificity"), [(0.6, 0.8, 0.95), (0.2, 0.8, 0.9), (0.9, 0.9, 0.7)]
)
def test_simulated_intervals_hold_the_true_rate(
    truth: float, sensitivity: float, specificity: float
) -> None:
    """Wilson's interval of the rate as observed holds it more seldom."""
    chance = random.Random(1)

    def binomial(trials: int, probability: float) -> int:
        return sum(chance.random() < probability for _ in range(trials))

    observed = truth * sensitivity + (1 - truth) * (1 - specificity)
    held = raw_held = defined = 0
    for _ in range(400):
        complied = binomial(300, observed)
        counts = binomial(80, sensitivity), 80, binomial(60, specificity), 60
        found = corrected(complied, 300, *counts)
        lower, upper = wilson_interval(Fraction(complied, 300), Fraction(300))
        if found is not None:
            defined += 1
            held += found.lower <= truth <= found.upper
            raw_held += lower <= truth <= upper
    assert defined > 300
    assert 0.92 < held / defined < 1
    assert raw_held / defined < 0.8
