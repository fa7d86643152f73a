"""The permutation test, against all permutations."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from safety_receipts.receipts.findings.fits.permutation import PERMUTATIONS, permutation_test
from safety_receipts.receipts.model.findings import Permutation

WEIGHTS = np.log(np.array([0, 4, 16, 0, 4, 16]) + 1.0)
STRATA = np.array([8, 8, 8, 16, 16, 16])


def of(complied: np.ndarray, used: np.ndarray | None = None) -> Permutation:
    lists = np.arange(complied[0].size).reshape(complied.shape[1:])
    used = np.ones_like(complied) if used is None else used
    return permutation_test(WEIGHTS, STRATA, (complied, used), lists)


def _points(rows: list[str]) -> np.ndarray:
    """One string a query: its outcomes in the six conditions."""
    return np.array([[letter == "c" for letter in row] for row in rows]).T[:, :, None]


def _exact(complied: np.ndarray) -> float:
    """Enumerate: within a stratum each choice of which outcomes comply is as likely."""
    sums = [0.0]
    observed = 0.0
    for stratum in (slice(0, 3), slice(3, 6)):
        centred = WEIGHTS[stratum] - WEIGHTS[stratum].mean()
        for query in range(complied.shape[1]):
            y = complied[stratum, query, 0]
            observed += float(centred @ y)
            choices = [
                float(centred @ np.array(choice))
                for choice in product([0, 1], repeat=3)
                if sum(choice) == y.sum()
            ]
            sums = [total + choice for total in sums for choice in choices]
    return float(np.mean(np.abs(sums) >= abs(observed) - 1e-9))


@pytest.mark.parametrize(
    "rows",
    [
        ["rrcrrc", "rrrrrc", "rrcrrr", "rrrrrr"],
        ["crrrcr", "rrcrrr", "cccccc"],
        ["rcrrrc", "rcrccr"],
        ["rrcrcc", "rrcrrc", "rccrrc", "rrcrcc"],
    ],
)
def test_it_estimates_the_share_of_all_permutations(rows: list[str]) -> None:
    complied = _points(rows)
    found = of(complied)
    exact = _exact(complied)
    spread = (exact * (1 - exact) / PERMUTATIONS) ** 0.5
    assert float(found.p_permutation or 0) == pytest.approx(
        exact, abs=4.5 * spread + 1 / PERMUTATIONS
    )


def test_it_is_the_same_for_everybody() -> None:
    complied = _points(["rrcrrc", "crrrrc", "rrcrrr"])
    found = of(complied)
    assert found == of(complied)
    assert found.p_permutation == "0.178500"


def test_points_that_do_not_count_change_nothing() -> None:
    rows = ["rrcrrc", "rrrrrc", "rrcrrr"]
    used = np.ones((6, 4, 1), bool)
    used[:, 3] = False
    with_hidden = of(_points([*rows, "crrcrr"]), used)
    without = of(_points(rows), used[:, :3])
    assert with_hidden == without


def test_one_missing_point_leaves_its_stratum_the_others() -> None:
    """r–c in a stratum of two: half of the permutations are as extreme on either side."""
    complied, used = _points(["rrcrrr"]), np.ones((6, 1, 1), bool)
    used[1, 0, 0] = False
    found = of(complied, used)
    assert float(found.statistic) == pytest.approx(np.log(17) / 2, abs=1e-6)
    assert found.p_permutation == found.p == "1"


def test_nothing_varies_and_nothing_is_found() -> None:
    complied = _points(["cccccc", "rrrrrr"])
    found = of(complied)
    assert (found.statistic, found.p) == ("0.000000", "1")


def test_the_score_is_held_to_what_queries_show() -> None:
    """One query's sum is one observation, however many strata it has: t is that of their sums."""
    rows = ["rrcrrc"] * 7 + ["crrrrc"] * 3
    complied = _points(rows)
    found = of(complied)
    sums = np.array([(row_score(complied[:, query, 0])) for query in range(10)])
    t = sums.sum() / np.sqrt((sums**2).sum() * 10 / 9)
    assert float(found.t or 0) == pytest.approx(t, abs=1e-6)
    assert found.df == 9
    assert float(found.p) == max(float(found.p_clustered or 0), float(found.p_permutation or 0))


def row_score(outcomes: np.ndarray) -> float:
    return sum(
        float((WEIGHTS[part] - WEIGHTS[part].mean()) @ outcomes[part])
        for part in (slice(0, 3), slice(3, 6))
    )


def test_many_outcomes_are_not_permuted() -> None:
    complied = _points(["rrcrrc", "crrrcr", "rcrrrr"] * 4000)
    found = of(complied)
    assert (found.p_permutation, found.permutations) == (None, 0)
    assert found.p == found.p_clustered


def test_queries_that_ignore_the_weight_make_no_effect() -> None:
    """All refuse at one N_h and comply at the other: sums that are zero, and not by rounding."""
    found = of(_points(["rrrccc"] * 100))
    assert (found.statistic, found.t, found.p) == ("0.000000", None, "1")


def test_a_few_queries_with_steep_slopes_of_their_own_are_no_effect() -> None:
    """Permutations alone would find one: each query by itself is anything but flat."""
    rows = ["rrcrrc", "rrcrrc", "rrcrrc", "crrcrr", "rrcrrc"] * 2
    found = of(_points(rows))
    assert float(found.p_permutation or 1) < 0.05 < float(found.p_clustered or 0)
    assert found.p == found.p_clustered
