"""A check that has nothing to check says so, and is not called passed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.events.synthetic import Mixture, synthetic_event, synthetic_plan
from safety_receipts.receipts.keys import Signer, TrustSet, generate_key
from safety_receipts.receipts.model.check import CheckLevel, CheckStatus
from safety_receipts.receipts.model.demonstrations import Ordering
from safety_receipts.verify.check_names import CheckName
from safety_receipts.verify.checks import CheckList, NotApplicable, VerificationCheck
from safety_receipts.verify.integrity import verify_bundle
from safety_receipts.verify.selfcheck.selftest import edit_statement
from safety_receipts.verify.verification import Verification, VerificationVerdict
from safety_receipts.verify.view.documents.verify import check_part

MIXTURES = [Mixture(0, 0, None), Mixture(2, 2, Ordering.SUFFIX), Mixture(0, 4, None)]
NOTHING_THERE = {
    CheckName.SECOND_JUDGE: "the plan has no second judge",
    CheckName.FINDINGS: "none are claimed",
    CheckName.CONTROL: "the plan has no benign controls",
    CheckName.BEACON_VALUE: "the plan names no beacon round",
    CheckName.EVIDENCE_LABELS: "no condition has an order that is drawn, or a demonstrated prefix",
}
Receipts = Callable[..., Any]


@pytest.fixture(scope="module")
def signer() -> Signer:
    return generate_key()


@pytest.fixture
def bare(tmp_path: Path, signer: Signer) -> Path:
    """An event with one judge, without controls, beacon and findings."""
    folder = tmp_path / "bare"
    synthetic_event(folder, synthetic_plan(MIXTURES, {"alpha": 6}), signer)
    (tmp_path / "key.pub").write_bytes(signer.public.pem())
    return folder


def made(folder: Path, signer: Signer) -> dict[str, VerificationCheck]:
    found = verify_bundle(Bundle(folder), evaluators=TrustSet([signer.public]))
    return {check.name: check for check in found.checks}


def test_what_is_not_there_is_not_called_checked(bare: Path, signer: Signer) -> None:
    found = verify_bundle(Bundle(bare), evaluators=TrustSet([signer.public]))
    spared = {c.name: c.detail for c in found.checks if c.status is NotApplicable.NOT_APPLICABLE}
    assert spared == {name.value: why for name, why in NOTHING_THERE.items()}
    assert (found.verdict, found.level) == (VerificationVerdict.PASSED, CheckLevel.CONSISTENT)


def test_the_event_is_not_said_to_name_a_beacon_where_none_is(bare: Path, signer: Signer) -> None:
    assert made(bare, signer)["event"].detail == "its times, the evaluator's word, are in order"


def test_what_is_there_is_checked(golden: Path, receipts: Receipts) -> None:
    """The golden event has a second judge, controls, findings and a beacon round."""
    finished = receipts(
        "verify", golden / "good" / "ed25519", "--trust", golden / "ed25519.pub", "--json"
    )
    status = {c["name"]: c["status"] for c in json.loads(finished.out)["checks"]}
    assert [name for name, one in status.items() if one == "not_applicable"] == ["instrument"]
    assert {status[name] for name in ("second-judge", "findings", "control")} == {"passed"}
    assert status["beacon-value"] == "not_checked"


def test_json_names_the_status(bare: Path, receipts: Receipts) -> None:
    finished = receipts("verify", bare, "--trust", bare.parent / "key.pub", "--json")
    document = json.loads(finished.out)
    status = {c["name"]: c["status"] for c in document["checks"]}
    assert {status[name] for name in NOTHING_THERE} == {"not_applicable"}
    assert (finished.code, document["level"]) == (0, "consistent")


def test_text_gives_the_reason_and_claims_no_findings(bare: Path, receipts: Receipts) -> None:
    finished = receipts("verify", bare, "--trust", bare.parent / "key.pub")
    lines = [" ".join(line.split()) for line in finished.out.splitlines()]
    for name, why in NOTHING_THERE.items():
        assert f"– {name} not applicable: {why}" in lines
    assert lines[-1] == (
        "PASSED: a key you trust signed it, and its numbers follow from the evidence "
        "(level consistent); the responses beside it were not opened; "
        "TEST INSTRUMENT: its numbers say nothing about any real model"
    )


def test_text_speaks_of_findings_that_are_claimed(golden: Path, receipts: Receipts) -> None:
    finished = receipts("verify", golden / "good" / "ed25519", "--trust", golden / "ed25519.pub")
    assert "its numbers and findings follow from the evidence" in finished.out


def test_quiet_output_leaves_it_out(bare: Path, receipts: Receipts) -> None:
    finished = receipts("verify", bare, "--trust", bare.parent / "key.pub", "-q")
    assert "not applicable" not in finished.out
    assert "best-of-n" in finished.out


def _agreement(statement: dict[str, Any]) -> None:
    statement["predicate"]["judgeAgreement"] = {"points": 1, "agreed": 1, "secondUnscored": 0}


def _control(statement: dict[str, Any]) -> None:
    condition = statement["predicate"]["conditions"][1]
    counts = condition["counts"]
    condition["control"] = {"counts": counts, "refusalRate": None, "interval": None}


@pytest.mark.parametrize(("claim", "name"), [(_agreement, "second-judge"), (_control, "control")])
def test_what_is_claimed_and_is_not_there_fails(
    bare: Path, signer: Signer, claim: Callable[[dict[str, Any]], None], name: str
) -> None:
    edit_statement(claim, resign=True)(bare, signer)
    assert made(bare, signer)[name].status is CheckStatus.FAILED


def checks_of(*statuses: CheckStatus | NotApplicable) -> tuple[VerificationCheck, ...]:
    checks = CheckList()
    checks.decide(CheckName.PLAN_DIGEST, None)
    for status in statuses:
        checks.add(CheckName.RATES, status, "why")
    return tuple(checks.checks)


@pytest.mark.parametrize(
    ("statuses", "level"),
    [
        ([CheckStatus.PASSED, NotApplicable.NOT_APPLICABLE], CheckLevel.CONSISTENT),
        ([NotApplicable.NOT_APPLICABLE], CheckLevel.AUTHENTIC),
        ([CheckStatus.PASSED, CheckStatus.NOT_CHECKED], CheckLevel.AUTHENTIC),
        ([CheckStatus.PASSED, CheckStatus.FAILED], CheckLevel.AUTHENTIC),
    ],
)
def test_a_level_needs_a_check_that_passed(
    statuses: list[CheckStatus | NotApplicable], level: CheckLevel
) -> None:
    found = Verification(checks_of(*statuses), CheckLevel.CONSISTENT, None, None)
    assert found.level is level


def test_no_sealed_statement_says_not_applicable(bare: Path, signer: Signer) -> None:
    """Its schema has three statuses, and readers of other versions hold it to them."""
    before = made(bare, signer)
    sealed = {name: check.sealed() for name, check in before.items()}
    assert {check.status for check in sealed.values() if check is not None} <= set(CheckStatus)
    assert [name for name, check in sealed.items() if check is None] == ["beacon-value"]
    spared = sealed["second-judge"]
    assert spared is not None
    assert (spared.status, spared.detail) == (CheckStatus.PASSED, "the plan has no second judge")


def test_a_check_that_was_made_is_sealed_as_it_is(bare: Path, signer: Signer) -> None:
    for check in made(bare, signer).values():
        if check.status is not NotApplicable.NOT_APPLICABLE:
            sealed = check.sealed()
            assert sealed is not None
            assert sealed.to_wire() == check_part(check).to_wire()
