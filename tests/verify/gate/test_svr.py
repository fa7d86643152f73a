"""A Simple Verification Result: what passed a gate, about the checkpoint, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from gating import GOLDEN, keys
from in_toto_attestation.v1.statement import Statement
from releases import AT, AUDITOR, OTHER_AUDITOR, SMALL, Audit, seal_release, write_audits
from sigstore import dsse

from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.canonical import canonical_bytes, sha256_hex
from safety_receipts.receipts.documents.moments import moment
from safety_receipts.receipts.errors import IncompleteError, IntegrityError, PolicyError
from safety_receipts.receipts.keys import TrustSet
from safety_receipts.receipts.model.audit import AuditVerdict
from safety_receipts.verify.gate.gating import GateResult, gate_receipt
from safety_receipts.verify.gate.policy import GatePolicy
from safety_receipts.verify.gate.svr import svr_refusal, svr_statement
from safety_receipts.verify.integrity import verify_bundle

POLICY = sha256_hex(b"policy")


def gated(folder: Path, *rules: dict[str, Any], trusted: bool = True, **policy: Any) -> GateResult:
    """Return what becomes of a bundle under some rules."""
    bundle = Bundle(folder)
    verification = verify_bundle(
        bundle,
        evaluators=TrustSet(keys() if trusted else ()),
        auditors=TrustSet((AUDITOR.public, OTHER_AUDITOR.public)),
    )
    asked = GatePolicy.model_validate({"version": 1, "rules": list(rules), **policy})
    return gate_receipt(bundle, verification, asked, moment(AT))


def statement(*results: GateResult) -> Any:
    return svr_statement(results, POLICY, moment(AT))


def test_the_checkpoint_is_its_subject_and_every_property_passed(small: Path) -> None:
    write_audits(small, Audit())
    found = statement(gated(small, {"rule": "audit", "epsilon": "0.05"}))
    receipt = Bundle(small).receipt
    checkpoint = receipt.statement.predicate.checkpoint
    assert found["subject"] == [{"name": checkpoint.name, "digest": {"sha256": checkpoint.root}}]
    assert found["predicateType"] == "https://in-toto.io/attestation/svr/v0.2"
    predicate = found["predicate"]
    assert predicate["verifier"]["id"].startswith("urn:safety-receipts:gate:")
    (policy,) = predicate["verifier"]["policies"]
    assert policy["digest"] == {"sha256": POLICY}
    assert predicate["timeCreated"] == AT
    (evidence,) = predicate["inputAttestations"]
    assert evidence["digest"] == {"sha256": receipt.envelope.digest}
    assert predicate["properties"] == [
        "SAFETY_RECEIPTS_AUTHENTIC",
        "SAFETY_RECEIPTS_CONSISTENT",
        "SAFETY_RECEIPTS_ALL_RULES_HOLD",
        "SAFETY_RECEIPTS_RULE_VERIFIED",
        "SAFETY_RECEIPTS_RULE_AUDIT",
        "SAFETY_RECEIPTS_AUDIT_CONFIRMED",
        "SAFETY_RECEIPTS_NO_TEST_INSTRUMENT",
    ]


def test_other_tools_read_it(small: Path) -> None:
    payload = canonical_bytes(statement(gated(small, {"rule": "verified"})))
    dsse.Statement(payload)
    from google.protobuf.json_format import Parse
    from in_toto_attestation.v1.statement_pb2 import Statement as Message

    Statement.copy_from_pb(Parse(payload, Message())).validate()


def test_an_audit_that_says_less_than_confirmed_is_not_called_so(small: Path) -> None:
    """A policy may accept it; the property names what is known, not what was accepted."""
    write_audits(small, Audit())
    result = gated(small, {"rule": "audit", "epsilon": "0.05"})
    (audit,) = result.verification.audits
    verdict = {"verdict": AuditVerdict.CONSISTENT_WITH}
    weaker = replace(audit, result=audit.result.model_copy(update=verdict))
    for audits in ((weaker,), (audit, weaker), ()):
        verification = replace(result.verification, audits=audits)
        found = statement(replace(result, verification=verification))["predicate"]["properties"]
        assert "SAFETY_RECEIPTS_RULE_AUDIT" in found
        assert "SAFETY_RECEIPTS_AUDIT_CONFIRMED" not in found


def test_a_test_instrument_is_called_one_whatever_the_policy_allows() -> None:
    golden = GOLDEN / "known-answer" / "diluting"
    found = statement(gated(golden, {"rule": "instrument", "allow": True}))["predicate"]
    assert "SAFETY_RECEIPTS_TEST_INSTRUMENT" in found["properties"]
    assert not any("NO_TEST" in one or "RULE_INST" in one for one in found["properties"])


def test_of_several_receipts_it_says_what_every_one_of_them_is(small: Path) -> None:
    golden = GOLDEN / "known-answer" / "diluting"
    results = [gated(one, {"rule": "instrument", "allow": True}) for one in (small, golden, small)]
    found = statement(*results)
    assert len(found["subject"]) == len(found["predicate"]["inputAttestations"]) == 2
    assert not any("INSTRUMENT" in one for one in found["predicate"]["properties"])


def test_one_checkpoint_has_one_name(small: Path, tmp_path: Path) -> None:
    """Its name is the evaluator's choice: the last receipt does not choose for all of them."""
    other = seal_release(tmp_path / "other", replace(SMALL, checkpoint="a better name"))
    results = [gated(one, {"rule": "verified"}) for one in (small, other)]
    with pytest.raises(PolicyError, match="it calls the checkpoint a better name") as raised:
        statement(*results)
    assert "\n" not in raised.value.message
    assert len(statement(results[1], results[1])["subject"]) == 1


def test_withheld_evidence_is_not_called_consistent() -> None:
    golden = GOLDEN / "0.1" / "good" / "published"
    rules = ({"rule": "verified", "level": "authentic"}, {"rule": "instrument", "allow": True})
    found = statement(gated(golden, *rules))["predicate"]["properties"]
    assert "SAFETY_RECEIPTS_AUTHENTIC" in found
    assert "SAFETY_RECEIPTS_CONSISTENT" not in found


@pytest.mark.parametrize("waived", [False, True])
def test_there_is_none_where_a_rule_does_not_hold(small: Path, *, waived: bool) -> None:
    waiver = {"rule": "logged", "reason": "known", "who": "manager", "until": "2030-01-01"}
    result = gated(small, {"rule": "logged"}, waivers=[waiver] if waived else [])
    assert result.exit_code == (0 if waived else 1)
    refusal = svr_refusal(result)
    assert isinstance(refusal, PolicyError)
    assert ("waiver" in refusal.message) is waived
    with pytest.raises(PolicyError, match="rule logged does not hold"):
        statement(gated(small, {"rule": "verified"}), result)


def test_there_is_none_of_what_does_not_verify(small: Path) -> None:
    bad = GOLDEN / "0.1" / "bad" / "a-rate-is-edited"
    with pytest.raises(IntegrityError):
        statement(gated(bad, {"rule": "verified"}))
    with pytest.raises(IncompleteError):
        statement(gated(small, {"rule": "verified"}, trusted=False))
    with pytest.raises(ValueError, match="one receipt or more"):
        statement()
