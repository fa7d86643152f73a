"""Rounds of drand's quicknet, against published ones."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safety_receipts.receipts.beacon.chains import (
    CHAINS,
    QUICKNET,
    refuse_settled_round,
    stated_moment,
)
from safety_receipts.receipts.beacon.rounds import (
    check_round,
    has_pairing,
    is_round_signature,
    signs_round,
    value_of,
)
from safety_receipts.receipts.errors import UsageError
from safety_receipts.receipts.model.check import CheckStatus

NAME, ROUND = "drand-quicknet", 657413
# The example of quicknet in the README of the package drand-verify 0.2.1
# (github.com/mcdcam/python-drand-verify), which has round, signature and randomness.
SIGNATURE = (
    "b713718a38ae728dfd477991af2822e08d2f305e47718cef9f7848ce4050e7be"
    "41076862b98fad56e91a6b85b89cd97b"
)
VALUE = "fc1873a13f3545aeade8401532ef5519920652eee6b0d2b19ca12643b87b3587"

REQUIRED = "RECEIPTS_REQUIRE_PAIRING"
pairing = pytest.mark.skipif(
    not has_pairing() and not os.environ.get(REQUIRED),
    reason="py-arkworks-bls12381 (extra log) is not installed",
)


def test_the_chain_s_hash_follows_from_its_parameters() -> None:
    """The hash that the League of Entropy publishes and its interface serves the chain under."""
    assert QUICKNET.computed_hash() == QUICKNET.hash
    assert all(chain.computed_hash() == chain.hash for chain in CHAINS.values())
    for changed in (
        replace(QUICKNET, period=4),
        replace(QUICKNET, genesis=QUICKNET.genesis + 1),
        replace(QUICKNET, public_key=bytes(96)),
        replace(QUICKNET, group=bytes(32)),
        replace(QUICKNET, beacon="default"),
    ):
        assert changed.computed_hash() != QUICKNET.hash


def test_times_of_rounds() -> None:
    assert QUICKNET.time_of(1) == QUICKNET.genesis == 1692803367
    assert QUICKNET.said_at(1) == "2023-08-23 15:09:27 UTC"
    assert QUICKNET.said_at(2**53 - 1) == "long after the year 9999"
    assert QUICKNET.round_at(QUICKNET.genesis - 1) == 0
    assert QUICKNET.round_at(0) == 0


@given(st.integers(1, 10**10))
def test_a_round_is_out_from_its_time_on(number: int) -> None:
    at = QUICKNET.time_of(number)
    assert [QUICKNET.round_at(at + s) for s in (-1, 0, 1, 2, 3)] == [
        *(number - 1, number, number, number, number + 1)
    ]


def test_the_value_is_the_digest_of_the_signature() -> None:
    assert value_of(SIGNATURE) == VALUE
    assert is_round_signature(SIGNATURE)
    for text in (VALUE, SIGNATURE.upper(), SIGNATURE[:-1], SIGNATURE + "00", ""):
        assert not is_round_signature(text)


@pairing
def test_a_published_round_passes() -> None:
    found = check_round(NAME, ROUND, VALUE, SIGNATURE)
    assert found.status is CheckStatus.PASSED
    assert found.detail == "round 657,413 of drand-quicknet, published 2023-09-15 11:00:03 UTC"


@pairing
@pytest.mark.parametrize("number", [1, ROUND - 1, ROUND + 1, 2**53 - 1])
def test_its_signature_is_of_no_other_round(number: int) -> None:
    found = check_round(NAME, number, VALUE, SIGNATURE)
    assert found.status is CheckStatus.FAILED
    assert "is not that of round" in found.detail


@pairing
@given(st.integers(0, 383))
@settings(deadline=None, max_examples=50)
def test_no_flipped_bit_is_a_signature(bit: int) -> None:
    flipped = bytearray(bytes.fromhex(SIGNATURE))
    flipped[bit // 8] ^= 1 << bit % 8
    assert not signs_round(QUICKNET, ROUND, bytes(flipped))


@pairing
@pytest.mark.parametrize(
    "junk",
    [b"", bytes(48), b"\xc0" + bytes(47), b"\xff" * 48, bytes.fromhex(SIGNATURE) + b"\0"],
    ids=["empty", "zeros", "the neutral point", "ones", "too long"],
)
def test_what_is_no_point_is_no_signature(junk: bytes) -> None:
    assert not signs_round(QUICKNET, ROUND, junk)


def test_a_value_that_does_not_follow_fails_without_any_package() -> None:
    found = check_round(NAME, ROUND, "ab" * 32, SIGNATURE)
    assert found.status is CheckStatus.FAILED
    assert "SHA-256" in found.detail


def test_what_cannot_be_checked_says_why() -> None:
    without = check_round(NAME, ROUND, VALUE, None)
    assert (without.status, "signature is not there" in without.detail) == (
        *(CheckStatus.NOT_CHECKED, True),
    )
    other = check_round("drand-default", ROUND, VALUE, SIGNATURE)
    assert (other.status, "none that this version knows" in other.detail) == (
        *(CheckStatus.NOT_CHECKED, True),
    )


@pytest.mark.skipif(has_pairing(), reason="py-arkworks-bls12381 is installed")
def test_without_the_package_it_is_named() -> None:
    found = check_round(NAME, ROUND, VALUE, SIGNATURE)
    assert found.status is CheckStatus.NOT_CHECKED
    assert "py-arkworks-bls12381" in found.detail


def test_a_round_must_lie_ahead() -> None:
    now = datetime.fromtimestamp(QUICKNET.time_of(ROUND), UTC)
    refuse_settled_round(NAME, ROUND + 1, now)
    refuse_settled_round(NAME, ROUND, now - timedelta(seconds=1))
    with pytest.raises(UsageError, match="round 657,413 of drand-quicknet is out since 2023-09"):
        refuse_settled_round(NAME, ROUND, now)
    with pytest.raises(UsageError, match="is out since") as caught:
        refuse_settled_round(NAME, 1, now)
    assert caught.value.hint is not None
    assert str(ROUND) in caught.value.hint
    with pytest.raises(UsageError, match="the beacon drand-default is not known"):
        refuse_settled_round("drand-default", ROUND + 1, now)


def test_times_of_documents() -> None:
    assert stated_moment("2026-02-28T23:59:59Z") == datetime(2026, 2, 28, 23, 59, 59, tzinfo=UTC)
    assert stated_moment("2026-02-30T00:00:00Z") is None
