"""Fitted numbers as they are sealed."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from safety_receipts.receipts.findings.fits.wire import p_string, score, signed_interval
from safety_receipts.receipts.model.base import Probability, Score


@pytest.mark.parametrize(
    ("p", "sealed"),
    [
        (1.0, "1"),
        (0.5, "0.500000"),
        (0.0123456, "0.0123456"),
        (6.9e-123, "0.00000000000000000001"),
        (0.0, "0.00000000000000000001"),
        (1.234567e-9, "0.00000000123457"),
    ],
)
def test_a_p_value_keeps_six_digits_and_is_never_rounded_down(p: float, sealed: str) -> None:
    assert p_string(p) == sealed


@given(st.floats(0, 1))
def test_every_p_value_can_be_sealed(p: float) -> None:
    sealed = p_string(p)
    TypeAdapter(Probability).validate_python(sealed)
    assert Decimal(p) <= Decimal(sealed)
    if p > 1e-14:
        # Six digits rounded up are off by 1e-5 of 0.1 (whose float lies above it), and no more.
        assert float(sealed) == pytest.approx(p, rel=1.00001e-5)


@given(st.floats(-1e6, 1e6))
def test_every_number_can_be_sealed(value: float) -> None:
    TypeAdapter(Score).validate_python(score(value))
    assert abs(float(score(value)) - value) <= 5.0001e-7


def test_an_interval_states_its_level() -> None:
    interval = signed_interval(0.9, -0.25, 1e-9)
    assert (interval.level, interval.lower, interval.upper) == ("0.900000", "-0.250000", "0.000000")
