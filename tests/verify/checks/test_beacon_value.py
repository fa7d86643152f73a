"""The check ``beacon-value``: whether the round's signature shows what the beacon said."""

from __future__ import annotations

from pathlib import Path

import pytest

from safety_receipts.receipts.beacon.chains import QUICKNET
from safety_receipts.receipts.beacon.rounds import has_pairing
from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.events.synthetic import (
    ENVIRONMENT,
    EVENT,
    Mixture,
    synthetic_plan,
    synthetic_points,
)
from safety_receipts.receipts.keys import TrustSet, generate_key
from safety_receipts.receipts.model.check import CheckStatus
from safety_receipts.receipts.model.demonstrations import Ordering
from safety_receipts.receipts.model.plan import BeaconRound
from safety_receipts.receipts.model.receipt import BeaconValue
from safety_receipts.receipts.seal import seal_event, seal_plan
from safety_receipts.verify.checks import VerificationCheck
from safety_receipts.verify.integrity import verify_bundle

# As in tests/receipts/beacon: the README of the package drand-verify 0.2.1.
SIGNATURE = (
    "b713718a38ae728dfd477991af2822e08d2f305e47718cef9f7848ce4050e7be"
    "41076862b98fad56e91a6b85b89cd97b"
)
SAID = BeaconValue(
    chain="drand-quicknet",
    round=657413,
    value=Sha256("fc1873a13f3545aeade8401532ef5519920652eee6b0d2b19ca12643b87b3587"),
    signature=SIGNATURE,
)


def checked(folder: Path, said: BeaconValue, started: str = EVENT.started_at) -> VerificationCheck:
    """Seal an event whose beacon said this, and return the check of it."""
    signer = generate_key()
    plan = synthetic_plan(
        [Mixture(0, 0, None), Mixture(1, 1, Ordering.SUFFIX)], {"alpha": 2}
    ).model_copy(update={"beacon": BeaconRound(chain=said.chain, round=said.round)})
    envelope = seal_plan(plan, signer)
    seal_event(
        folder,
        plan_envelope=envelope,
        points=synthetic_points(plan, envelope.digest, said.value),
        event=EVENT.model_copy(update={"beacon": said, "started_at": started}),
        environment=ENVIRONMENT,
        signer=signer,
    )
    found = verify_bundle(Bundle(folder), evaluators=TrustSet([signer.public]))
    failed = [c.name for c in found.checks if c.status is CheckStatus.FAILED]
    (check,) = [c for c in found.checks if c.name == "beacon-value"]
    assert set(failed) <= {"beacon-value"}
    return check


def test_with_its_signature_a_round_is_checked(tmp_path: Path) -> None:
    check = checked(tmp_path / "b", SAID)
    if has_pairing():
        assert check.status is CheckStatus.PASSED
        assert "published 2023-09-15 11:00:03 UTC" in check.detail
    else:
        assert check.status is CheckStatus.NOT_CHECKED
        assert "py-arkworks-bls12381" in check.detail


def test_without_it_nothing_shows_what_the_beacon_said(tmp_path: Path) -> None:
    said = SAID.model_copy(update={"signature": None})
    check = checked(tmp_path / "b", said)
    assert check.status is CheckStatus.NOT_CHECKED
    assert "signature is not there" in check.detail
    receipt = Bundle(tmp_path / "b").receipt_envelope
    assert b'"signature"' not in receipt.payload, "written as before there was such a field"


def test_a_value_that_was_chosen_fails(tmp_path: Path) -> None:
    check = checked(tmp_path / "b", SAID.model_copy(update={"value": Sha256("ab" * 32)}))
    assert check.status is CheckStatus.FAILED


@pytest.mark.skipif(not has_pairing(), reason="py-arkworks-bls12381 is not installed")
def test_another_rounds_signature_fails(tmp_path: Path) -> None:
    check = checked(tmp_path / "b", SAID.model_copy(update={"round": 657414}))
    assert check.status is CheckStatus.FAILED
    assert "not that of round 657,414" in check.detail


@pytest.mark.skipif(not has_pairing(), reason="py-arkworks-bls12381 is not installed")
def test_a_run_does_not_begin_before_its_round_is_out(tmp_path: Path) -> None:
    assert QUICKNET.said_at(657413) == "2023-09-15 11:00:03 UTC"
    early = checked(tmp_path / "early", SAID, started="2023-09-15T11:00:02Z")
    assert early.status is CheckStatus.FAILED
    assert "began before the round was published" in early.detail
    assert checked(tmp_path / "b", SAID, "2023-09-15T11:00:03Z").status is CheckStatus.PASSED


def test_a_beacon_that_nobody_here_knows_is_not_checked(tmp_path: Path) -> None:
    check = checked(tmp_path / "b", SAID.model_copy(update={"chain": "another"}))
    assert check.status is CheckStatus.NOT_CHECKED
    assert "none that this version knows" in check.detail
