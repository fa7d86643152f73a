"""Which points an audit draws, and in which order."""

from __future__ import annotations

import hashlib
import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_receipts.receipts.canonical import Sha256, point_id
from safety_receipts.verify.challenge import draw_order

RECEIPT, NONCE = Sha256("0f" * 32), "a5" * 32
POINTS = [point_id("h16-b16-suffix", f"alpha/{number}", 0) for number in range(40)]
DIGESTS = st.binary(min_size=32, max_size=32).map(lambda digest: Sha256(digest.hex()))


def challenge(point: str) -> str:
    """Return the hash that a point is drawn by, from JSON and SHA-256 alone."""
    items = ["safety-receipts/challenge/1", RECEIPT, NONCE, point]
    return hashlib.sha256(json.dumps(items, separators=(",", ":")).encode()).hexdigest()


def test_points_are_drawn_by_ascending_hash_of_receipt_nonce_and_id() -> None:
    assert draw_order(RECEIPT, NONCE, POINTS) == sorted(POINTS, key=challenge)


def test_the_order_of_three_points_is_known() -> None:
    """The hashes are those of ``printf '["safety-receipts/challenge/1",…]' | sha256sum``."""
    first, second, third = (Sha256(digit * 64) for digit in "abc")
    assert challenge(first).startswith("aff9cb5aa3700c60")
    assert challenge(second).startswith("75b77c3f1508c987")
    assert challenge(third).startswith("2a2596ffffca7f2c")
    assert draw_order(RECEIPT, NONCE, [first, second, third]) == [third, second, first]


@given(st.randoms(use_true_random=False))
def test_the_order_does_not_depend_on_how_the_points_are_listed(coin: random.Random) -> None:
    shuffled = coin.sample(POINTS, len(POINTS))
    assert draw_order(RECEIPT, NONCE, iter(shuffled)) == draw_order(RECEIPT, NONCE, POINTS)


def test_the_order_of_some_points_does_not_depend_on_the_others() -> None:
    everything = draw_order(RECEIPT, NONCE, POINTS)
    some = set(POINTS[::3])
    assert draw_order(RECEIPT, NONCE, some) == [point for point in everything if point in some]


@given(DIGESTS, DIGESTS)
def test_another_receipt_or_nonce_draws_another_order(receipt: Sha256, nonce: Sha256) -> None:
    order = draw_order(RECEIPT, NONCE, POINTS)
    assert receipt == RECEIPT or draw_order(receipt, NONCE, POINTS) != order
    assert nonce == NONCE or draw_order(RECEIPT, nonce, POINTS) != order


def test_a_point_named_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="named twice"):
        draw_order(RECEIPT, NONCE, [*POINTS, POINTS[3]])
