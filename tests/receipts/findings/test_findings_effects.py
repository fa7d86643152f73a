"""From numbers to words."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_receipts.receipts.findings.effects import bonferroni, holm, is_significant, slope_word
from safety_receipts.receipts.findings.fits.wire import signed_interval
from safety_receipts.receipts.model.findings import Effect, Grounds

PValues = st.lists(st.decimals(0, 1, places=4).map(str), max_size=8)


@pytest.mark.parametrize(
    ("beta", "se", "p", "word"),
    [
        (-0.1782, 0.0075, "0.00000000000000000001", (Effect.DILUTION, Grounds.SIGNIFICANT)),
        (0.0919, 0.0070, "0.00000000000000000001", (Effect.AMPLIFICATION, Grounds.SIGNIFICANT)),
        (0.0319, 0.0125, "0.011", (Effect.AMPLIFICATION, Grounds.SIGNIFICANT)),
        (-0.0118, 0.0074, "0.11", (Effect.NONE, Grounds.EQUIVALENT)),
        (0.02, 0.005, "0.0001", (Effect.NONE, Grounds.EQUIVALENT)),
        (-0.0118, 0.06, "0.84", (Effect.UNDETERMINED, Grounds.NEITHER)),
    ],
)
def test_a_slope_and_its_word(beta: float, se: float, p: str, word: tuple[Effect, Grounds]) -> None:
    """Published slopes with the standard errors that their p-values imply, and two more."""
    interval = signed_interval(0.9, beta - 1.645 * se, beta + 1.645 * se)
    assert slope_word(f"{beta:.6f}", p, interval, "0.05") == word


def test_an_interval_that_touches_the_margin_does_not_lie_within() -> None:
    touching = signed_interval(0.9, -0.05, 0.01)
    assert slope_word("-0.020000", "0.2", touching, "0.05")[0] is Effect.UNDETERMINED
    assert slope_word("-0.020000", "0.2", touching, "0.0500001")[0] is Effect.NONE


def test_the_example_of_holm() -> None:
    assert holm(["0.01", "0.04", "0.03", "0.005"]) == ["0.03", "0.06", "0.06", "0.020"]


@given(PValues)
def test_holm_rejects_what_its_steps_reject(p_values: list[str]) -> None:
    order = sorted(range(len(p_values)), key=lambda i: Decimal(p_values[i]))
    rejected = set()
    for rank, i in enumerate(order):
        if Decimal(p_values[i]) * (len(order) - rank) >= Decimal("0.05"):
            break
        rejected.add(i)
    corrected = holm(p_values)
    assert {i for i, p in enumerate(corrected) if is_significant(p)} == rejected
    assert all(Decimal(c) >= Decimal(p) for c, p in zip(corrected, p_values, strict=True))


@given(PValues)
def test_holm_never_corrects_more_than_bonferroni(p_values: list[str]) -> None:
    if p_values:
        least = min(Decimal(p) for p in holm(p_values))
        together = bonferroni(p_values)
        assert together is not None
        assert least == Decimal(together)


def test_no_tests_have_no_p_value() -> None:
    assert bonferroni([]) is None
    assert holm([]) == []
