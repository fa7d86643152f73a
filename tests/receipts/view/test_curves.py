"""Which conditions lines of charts join: where some are left out, never the most harmful."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from safety_receipts.receipts.view.curves import harmful_levels


def conditions(*mixtures: tuple[int, int]) -> Any:
    return [SimpleNamespace(n_harmful=n, n_benign=b) for n, b in mixtures]


def test_levels_with_one_number_of_benign_ones_have_no_line() -> None:
    assert harmful_levels(conditions((0, 0), (0, 4), (8, 4)), 7) == [0]
    assert harmful_levels([], 7) == []


def test_the_highest_level_is_always_drawn() -> None:
    many = [(level, benign) for level in range(1, 21) for benign in (0, 4, 8)]
    few = [(64, 0), (64, 4)]
    assert harmful_levels(conditions(*many, *few), 7) == [1, 2, 3, 4, 5, 6, 64]
    assert harmful_levels(conditions(*many), 30) == list(range(1, 21))
