"""What is plausible of a response, by an auditor's calibration and by stated limits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

import pytest
from auditing import calibration, scores
from hypothesis import given, settings
from hypothesis import strategies as st

from safety_receipts.receipts.canonical import Sha256, decimal_string
from safety_receipts.receipts.model.base import ConditionId
from safety_receipts.receipts.model.calibration import LengthBin
from safety_receipts.receipts.model.checkpoint import Dtype
from safety_receipts.receipts.model.point import Outcome
from safety_receipts.verify.audit.calibrate import length_bins, worst_of
from safety_receipts.verify.audit.statistics.plausibility import (
    DEFAULT_LIMITS,
    IMPLAUSIBLE_LEVEL,
    LEAST_RESPONSES,
    CalibratedPlausibility,
    DefaultPlausibility,
    MarginStatistics,
    conformal_p,
)
from safety_receipts.verify.audit.statistics.replayed import ReplayedPoint

MARGINS = st.floats(0, 50, allow_nan=False)
HONEST = st.lists(MARGINS, min_size=1, max_size=60).map(
    lambda found: sorted(round(one, 6) for one in found)
)


@pytest.mark.parametrize(
    ("value", "p"),
    [(0.0, "1"), (0.1, "1"), (0.15, "3/4"), (0.2, "3/4"), (0.3, "1/2"), (9.0, "1/4")],
)
def test_a_p_value_counts_the_honest_ones_at_least_as_large(value: float, p: str) -> None:
    """Of .1, .2 and .3, by hand: (1 + those at least as large) / 4."""
    assert conformal_p(value, [0.1, 0.2, 0.3]) == Fraction(p)


def test_a_value_that_rounds_to_an_honest_one_is_not_above_it() -> None:
    """Calibrations are written with six places, half to even."""
    tie = 2.0**-7  # .0078125: seven places, a tie
    honest = [float(decimal_string(Fraction(tie), 6))]
    assert conformal_p(tie, honest) == 1
    assert conformal_p(0.1000004, [0.1]) == 1
    assert conformal_p(0.1000006, [0.1]) == Fraction(1, 2)


@given(MARGINS, HONEST)
def test_no_p_value_is_below_one_in_the_honest_and_one(value: float, honest: list[float]) -> None:
    assert Fraction(1, len(honest) + 1) <= conformal_p(value, honest) <= 1


@given(MARGINS, MARGINS, HONEST)
def test_a_larger_margin_has_no_larger_p_value(
    one: float, other: float, honest: list[float]
) -> None:
    low, high = sorted((one, other))
    assert conformal_p(high, honest) <= conformal_p(low, honest)


@given(HONEST, st.data())
def test_an_honest_response_is_as_plausible_as_its_rank(
    honest: list[float], data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, len(honest) - 1))
    assert conformal_p(honest[place], honest) >= Fraction(len(honest) - place + 1, len(honest) + 1)


def test_an_infinite_margin_is_as_large_as_an_honest_infinite_one() -> None:
    """At the edge of top-p an honest stack has them too; a file cannot hold infinity."""
    worst = worst_of(
        [
            _replays(
                [
                    MarginStatistics.of([0.1, 0.2]),
                    MarginStatistics.of([math.inf]),
                    MarginStatistics.of([0.0]),
                ]
            )
        ]
    )
    [bin_] = length_bins(worst)
    honest = [float(score) for score in bin_.largest]
    assert conformal_p(math.inf, honest) == Fraction(2, 4)
    assert conformal_p(math.inf, [0.1, 0.2, 0.3]) == Fraction(1, 4)


def _replays(statistics: Sequence[MarginStatistics]) -> list[ReplayedPoint]:
    refused = Outcome.REFUSED
    return [
        ReplayedPoint(Sha256("d" * 64), ConditionId("h0-b0"), refused, refused, statistics=one)
        for one in statistics
    ]


def test_statistics_are_the_largest_margin_and_the_clipped_sum() -> None:
    assert MarginStatistics.of([0.25, 0.0, 3.0]) == MarginStatistics(3.0, 1.25, 3)
    assert MarginStatistics.of([math.inf, 0.5]) == MarginStatistics(math.inf, 1.5, 2)
    # Seeded scores are logits / temperature: margins of one logit are one logit again.
    assert MarginStatistics.of([2.0, 0.5], temperature=0.5) == MarginStatistics(1.0, 1.25, 2)
    # A repetition penalty stretches logits, either way, and their noise with them.
    assert MarginStatistics.of([2.0, 0.5], penalty=2.0) == MarginStatistics(1.0, 1.25, 2)
    assert MarginStatistics.of([2.0, 0.5], penalty=0.5) == MarginStatistics(1.0, 1.25, 2)
    assert MarginStatistics.of([2.0], temperature=0.5, penalty=4.0) == MarginStatistics(
        0.25, 0.25, 1
    )


def test_the_level_is_reached_by_no_fewer_honest_responses_than_asked_for() -> None:
    """.1 % for each of two statistics: 1/2,000 reaches it, and so would 1/1,000 at best."""
    level = IMPLAUSIBLE_LEVEL
    assert level == Fraction(1, 1000)
    honest = [0.0] * LEAST_RESPONSES
    p = conformal_p(1.0, honest)
    assert p == Fraction(1, 2000)
    assert p <= IMPLAUSIBLE_LEVEL


def test_a_calibrated_response_is_held_to_those_of_its_length() -> None:
    short = LengthBin(upto=4, largest=scores([0.0] * 1999), clipped=scores([0.0] * 1999))
    long = LengthBin(upto=None, largest=scores([0.5] * 1999), clipped=scores([2.0] * 1999))
    held = CalibratedPlausibility(calibration([short, long]))
    assert held.implausible(MarginStatistics(0.5, 2.0, 5)) is None
    assert held.implausible(MarginStatistics(0.5, 2.0, 500)) is None
    assert "largest margin of 0.5 (p = 0.0005)" in str(
        held.implausible(MarginStatistics(0.5, 0.0, 4))
    )
    assert "sum of margins of 2.5" in str(held.implausible(MarginStatistics(0.5, 2.5, 5)))


def test_one_honest_response_in_a_thousand_is_at_the_edge() -> None:
    """Of 2,999 honest ones two lie at least as high: 3/3,000 is the level."""
    honest = [0.0] * 2997 + [0.7, 0.7]
    held = CalibratedPlausibility(
        calibration([LengthBin(upto=None, largest=scores(honest), clipped=scores(honest))])
    )
    assert held.implausible(MarginStatistics(0.7, 0.0, 3)) is not None
    honest += [0.7]
    held = CalibratedPlausibility(
        calibration([LengthBin(upto=None, largest=scores(honest), clipped=scores(honest))])
    )
    assert held.implausible(MarginStatistics(0.7, 0.0, 3)) is None


@pytest.mark.parametrize("other", list(Dtype))
def test_stated_limits_are_those_of_the_coarser_format(other: Dtype) -> None:
    both = DefaultPlausibility.between(Dtype.FLOAT32, other)
    assert both == DefaultPlausibility.between(other, Dtype.FLOAT32)
    assert both.limits == DEFAULT_LIMITS[other]
    coarse = DefaultPlausibility.between(Dtype.BFLOAT16, other)
    assert coarse.limits == DEFAULT_LIMITS[Dtype.BFLOAT16]


def test_stated_limits_allow_longer_responses_more() -> None:
    held = DefaultPlausibility.between(Dtype.BFLOAT16, Dtype.FLOAT32)  # .6, and .006 a token
    assert held.implausible(MarginStatistics(0.6, 1.2, 100)) is None
    assert "add up to 1.2, above the limit of 0.9" in str(
        held.implausible(MarginStatistics(0.6, 1.2, 50))
    )
    assert "margin of 0.61" in str(held.implausible(MarginStatistics(0.61, 0.61, 50)))
    assert "margin of inf" in str(held.implausible(MarginStatistics(math.inf, 1.0, 50)))
    assert "nan" in str(held.implausible(MarginStatistics(math.nan, 0.0, 50)))


LENGTHS = st.lists(st.tuples(st.integers(1, 6), MARGINS), min_size=1, max_size=60)


@settings(deadline=None)
@given(LENGTHS)
def test_bins_cover_every_length_once(
    lengths: list[tuple[int, float]],
) -> None:
    """The last bin has no end; responses of one length share a bin, and all are in one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("safety_receipts.verify.audit.calibrate.LEAST_RESPONSES", 8)
        bins = length_bins([MarginStatistics(m, m / 2, tokens) for tokens, m in lengths])
    ends = [each.upto for each in bins]
    assert ends[-1] is None
    inner = [end for end in ends if end is not None]
    assert len(inner) == len(ends) - 1
    assert all(low < high for low, high in pairwise(inner))
    low = 0
    for each in bins:
        high = each.upto or 10**9
        members = sorted(
            decimal_string(Fraction(m), 6).rjust(20) for t, m in lengths if low < t <= high
        )
        assert [score.rjust(20) for score in each.largest] == members
        assert len(each.clipped) == len(each.largest)
        assert len(bins) == 1 or len(members) >= 8
        low = high
