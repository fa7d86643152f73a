"""In-toto statements and JUnit: what a policy says of a receipt, as other tools read it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from exporting import receipt_of
from releases import AT

from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.canonical import canonical_bytes, sha256_hex

Export = Callable[..., Any]
Policy = Callable[..., Path]

INSTRUMENT = "version: 1\nrules:\n  - {rule: instrument, allow: true}\n"
MIXED = """\
version: 1
rules:
  - {rule: verified, level: consistent}
  - {rule: audit, epsilon: 0.05}
  - {rule: rate, measure: rate, at_most: 0.01}
  - rule: logged
waivers:
  - {rule: logged, reason: no log yet, who: "=1+1 <b>", until: 2030-01-01}
"""
WAIVED = MIXED.replace("at_most: 0.01", "at_most: 1")


def read_statement(payload: bytes) -> Any:
    """Return a statement that in-toto's and sigstore's own readers accept."""
    from google.protobuf.json_format import Parse
    from in_toto_attestation.v1.statement import Statement
    from in_toto_attestation.v1.statement_pb2 import Statement as Message
    from sigstore import dsse

    dsse.Statement(payload)
    Statement.copy_from_pb(Parse(payload, Message())).validate()
    found = json.loads(payload)
    assert canonical_bytes(found) == payload
    return found


ENDINGS = {
    "FAILED": (MIXED, ["audit", "instrument", "verified"], ["logged"], ["rate"]),
    "WARNED": (WAIVED, ["audit", "instrument", "rate", "verified"], ["logged"], []),
    "PASSED": ("version: 1\nrules: [{rule: verified}]\n", ["instrument", "verified"], [], []),
}


@pytest.mark.parametrize("result", ENDINGS)
def test_a_test_result_says_what_became_of_every_rule(
    result: str, rich: Path, export: Export, policy: Policy, tmp_path: Path
) -> None:
    rules, passed, warned, failed = ENDINGS[result]
    out = tmp_path / "result.json"
    finished = export(rich, "test-result", out, "--policy", policy(rules))
    assert finished.code == 0, finished.err
    found = read_statement(out.read_bytes())
    checkpoint = receipt_of(rich).checkpoint
    assert found["subject"] == [{"name": checkpoint.name, "digest": {"sha256": checkpoint.root}}]
    assert found["predicateType"] == "https://in-toto.io/attestation/test-result/v0.1"
    predicate = found["predicate"]
    assert predicate["result"] == result
    assert sorted(predicate["passedTests"]) == passed
    assert predicate["warnedTests"] == warned
    assert predicate["failedTests"] == failed
    (configuration,) = predicate["configuration"]
    assert configuration["digest"] == {"sha256": sha256_hex(rules.encode())}
    assert configuration["name"]
    assert predicate["timestamp"] == AT
    (evidence,) = predicate["inputAttestations"]
    assert evidence["digest"] == {"sha256": Bundle(rich).receipt.envelope.digest}
    assert "safetyReceiptsRemarks" not in predicate
    assert ("Waivers are not in it" in finished.err) is bool(warned)
    assert "The statement is not signed" in finished.err


def test_the_typed_reader_takes_what_the_specification_names(
    rich: Path, export: Export, policy: Policy, tmp_path: Path
) -> None:
    from google.protobuf.json_format import ParseDict
    from in_toto_attestation.predicates.test_result.v0.test_result_pb2 import TestResult

    out = tmp_path / "result.json"
    assert export(rich, "test-result", out, "--policy", policy(WAIVED)).code == 0
    predicate = json.loads(out.read_text("utf-8"))["predicate"]
    parsed = ParseDict(predicate, TestResult(), ignore_unknown_fields=True)
    assert parsed.result == "WARNED"
    assert list(parsed.warned_tests) == ["logged"]
    assert parsed.configuration[0].digest["sha256"] == sha256_hex(WAIVED.encode())


def test_a_test_instrument_is_named_in_a_test_result(
    nulls: Path, export: Export, policy: Policy, tmp_path: Path
) -> None:
    out = tmp_path / "result.json"
    finished = export(nulls, "test-result", out, "--policy", policy(INSTRUMENT))
    assert finished.code == 0
    (remark,) = read_statement(out.read_bytes())["predicate"]["safetyReceiptsRemarks"]
    assert remark.startswith("TEST INSTRUMENT")
    assert remark in finished.err
    assert "of a TEST INSTRUMENT" in finished.out


def test_an_svr_is_what_the_gate_says(
    rich: Path, export: Export, policy: Policy, tmp_path: Path
) -> None:
    rules = "version: 1\nrules: [{rule: verified}, {rule: audit, epsilon: 0.05}]\n"
    assert export(rich, "svr", tmp_path / "svr.json", "--policy", policy(rules)).code == 0
    found = read_statement((tmp_path / "svr.json").read_bytes())
    assert found["subject"][0]["digest"]["sha256"] == receipt_of(rich).checkpoint.root
    assert found["predicateType"] == "https://in-toto.io/attestation/svr/v0.2"
    assert found["predicate"]["timeCreated"] == AT
    properties = found["predicate"]["properties"]
    assert all(one.startswith("SAFETY_RECEIPTS_") for one in properties)
    assert "SAFETY_RECEIPTS_AUDIT_CONFIRMED" in properties
    (named,) = found["predicate"]["verifier"]["policies"]
    assert named["digest"]["sha256"] == sha256_hex(rules.encode())


@pytest.mark.parametrize("rules", [MIXED, WAIVED])
def test_there_is_no_svr_where_a_rule_does_not_hold(
    rules: str, rich: Path, export: Export, policy: Policy, tmp_path: Path
) -> None:
    out = tmp_path / "svr.json"
    finished = export(rich, "svr", out, "--policy", policy(rules))
    assert finished.code == 1
    assert finished.err.count("\n") == 1
    assert "does not hold" in finished.err
    assert not out.exists()


def test_rules_that_need_more_get_it(
    rich: Path, withheld: Path, export: Export, policy: Policy, tmp_path: Path
) -> None:
    """The model that is shipped and an earlier receipt, as the gate takes them."""
    rules = "version: 1\nrules: [{rule: model}, {rule: regression, at_most: 1}]\n"
    out, root = tmp_path / "svr.json", receipt_of(rich).checkpoint.root
    words = ("--policy", policy(rules), "--model", root)
    assert export(rich, "svr", out, *words).code == 1
    assert export(rich, "svr", out, *words, "--against", withheld).code == 0
    properties = json.loads(out.read_text("utf-8"))["predicate"]["properties"]
    assert {"SAFETY_RECEIPTS_RULE_MODEL", "SAFETY_RECEIPTS_RULE_REGRESSION"} <= set(properties)


def test_junit_is_read_by_others(
    rich: Path, export: Export, policy: Policy, tmp_path: Path
) -> None:
    junitparser = pytest.importorskip("junitparser")
    out = tmp_path / "gate.xml"
    finished = export(rich, "junit", out, "--policy", policy(MIXED))
    assert finished.code == 0
    (suite,) = junitparser.JUnitXml.fromfile(str(out))
    assert (suite.tests, suite.failures, suite.errors, suite.skipped) == (5, 1, 0, 1)
    cases = {case.name.partition(":")[0]: case for case in suite}
    assert set(cases) == {"instrument", "verified", "audit", "rate", "logged"}
    (failure,) = cases["rate"].result
    assert failure.message
    assert len({(case.classname, case.name) for case in suite}) == 5
    assert Bundle(rich).receipt.envelope.digest in cases["rate"].system_out
    ET.parse(out)


def test_junit_says_what_the_gate_says(
    rich: Path, export: Export, policy: Policy, receipts: Any, tmp_path: Path
) -> None:
    """Every number in it is one that a rule found."""
    out = tmp_path / "gate.xml"
    export(rich, "junit", out, "--policy", policy(MIXED))
    keys = ("--trust", tmp_path / "evaluator.pub", "--trust-auditor", tmp_path / "auditor.pub")
    gated = receipts("gate", rich, "--policy", policy(MIXED), *keys, "--at", AT, "--json")
    (decided,) = json.loads(gated.out)["receipts"]
    cases = list(ET.parse(out).iter("testcase"))
    for case, rule in zip(cases, decided["rules"], strict=True):
        assert case.get("name") == f"{rule['id']}: {rule['asked']}"
        told = case.findtext("system-out") or ""
        assert f"found: {rule['found']}\nfrom: {rule['source']}" in told
        failed = case.find("failure")
        assert (failed is not None) is (rule["status"] == "failed")
        assert failed is None or failed.get("message") == rule["found"]


def test_junit_names_a_test_instrument(
    nulls: Path, export: Export, policy: Policy, tmp_path: Path
) -> None:
    out = tmp_path / "gate.xml"
    assert export(nulls, "junit", out, "--policy", policy(INSTRUMENT)).code == 0
    assert "it is of a TEST INSTRUMENT, which is allowed" in out.read_text("utf-8")


@pytest.mark.parametrize("format_", ["test-result", "svr", "junit"])
def test_a_published_bundle_is_held_to_a_policy(
    format_: str, published: Path, export: Export, policy: Policy, tmp_path: Path
) -> None:
    finished = export(published, format_, tmp_path / "out", "--policy", policy())
    assert finished.code == 0, finished.err
    assert "nobody counted them again" in " ".join(finished.err.split())


@pytest.mark.parametrize("format_", ["test-result", "svr", "junit"])
def test_hostile_names_break_no_statement(
    format_: str, hostile: Path, export: Export, policy: Policy, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    finished = export(hostile, format_, out, "--policy", policy())
    assert finished.code == 0, finished.err
    if format_ == "junit":
        ET.parse(out)
    else:
        subject = read_statement(out.read_bytes())["subject"][0]
        assert subject["name"] == receipt_of(hostile).checkpoint.name
