"""Tail probabilities, against published tables and scipy."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safety_receipts.receipts.findings.fits.distributions import (
    chi_square_upper,
    f_upper,
    normal_two_sided,
    student_quantile,
    t_two_sided,
)

DF = st.sampled_from([1, 2, 3, 5, 19, 29, 100, 1403])


@pytest.mark.parametrize(
    ("value", "df", "upper"),
    [(3.841459, 1, 0.05), (9.487729, 4, 0.05), (13.276704, 4, 0.01), (124.342113, 100, 0.05)],
)
def test_the_chi_square_table(value: float, df: int, upper: float) -> None:
    assert chi_square_upper(value, df) == pytest.approx(upper, rel=1e-6)


@pytest.mark.parametrize(
    ("df", "p", "t"),
    [(1, 0.975, 12.706205), (4, 0.975, 2.776445), (19, 0.95, 1.729133), (1000, 0.975, 1.962339)],
)
def test_the_table_of_student(df: int, p: float, t: float) -> None:
    assert student_quantile(p, df) == pytest.approx(t, abs=1e-6)
    assert t_two_sided(t, df) == pytest.approx(2 * (1 - p), rel=1e-6)


@given(st.floats(0.01, 30), DF)
def test_t_squared_is_f_with_one_degree(t: float, df: int) -> None:
    assert f_upper(t * t, 1, df) == pytest.approx(t_two_sided(t, df), rel=1e-9)


@given(st.floats(0.01, 30))
def test_a_chi_square_with_one_degree_is_a_squared_normal(z: float) -> None:
    assert chi_square_upper(z * z, 1) == pytest.approx(normal_two_sided(z), rel=1e-9)


@given(st.floats(0, 500), st.sampled_from([2, 4, 6]))
def test_an_even_chi_square_has_a_closed_form(value: float, df: int) -> None:
    half = value / 2
    exact = math.exp(-half) * sum(half**k / math.factorial(k) for k in range(df // 2))
    assert chi_square_upper(value, df) == pytest.approx(exact, rel=1e-9, abs=1e-300)


def test_nothing_is_certain_at_zero() -> None:
    assert f_upper(0.0, 3, 20) == chi_square_upper(0.0, 3) == t_two_sided(0.0, 7) == 1.0


@pytest.mark.parametrize("df", [10**9, 10**9 + 1, 10**12, 2**53 - 1])
def test_t_with_more_degrees_than_anything_has_is_normal(df: int) -> None:
    """What a hostile document states: the gamma functions' logarithms are rounding by then."""
    for t in (0.0, 0.5, 1.9, 6.0):
        assert t_two_sided(t, df) == pytest.approx(normal_two_sided(t), rel=1e-5)
    assert student_quantile(0.975, df) == pytest.approx(1.959964, abs=1e-5)


@settings(deadline=None)
@given(st.floats(0.001, 60), DF, st.sampled_from([1, 2, 4, 15, 40]))
def test_scipy_agrees(value: float, df: int, df1: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    assert t_two_sided(value, df) == pytest.approx(2 * stats.t.sf(value, df), rel=1e-9)
    assert f_upper(value, df1, df) == pytest.approx(stats.f.sf(value, df1, df), rel=1e-9)
    assert chi_square_upper(value, df1) == pytest.approx(
        stats.chi2.sf(value, df1), rel=1e-9, abs=1e-15
    )
