"""``receipts gate`` as a pipeline meets it: exit codes, documents, reports."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import audit_statements
import pytest
from printed import held
from releases import Audit, write_audits

from safety_receipts.receipts.bundle import (
    MAX_AUDIT_BYTES,
    Bundle,
    BundleWriter,
    read_envelope,
)
from safety_receipts.receipts.errors import MalformedError
from safety_receipts.receipts.keys import TrustSet
from safety_receipts.receipts.model.audit import AuditVerdict
from safety_receipts.verify.gate.gating import GateResult, RuleResult, exit_code_of
from safety_receipts.verify.gate.kinds import GateRule, RuleStatus
from safety_receipts.verify.integrity import verify_bundle
from safety_receipts.verify.view.gate_summary import code_span, gate_summary, summary_of_error
from safety_receipts.verify.view.junit import junit_error, junit_report

Receipts = Callable[..., Any]
GOLDEN = Path(__file__).parents[2] / "golden"
KEY = GOLDEN / "0.1" / "ed25519.pub"
EVERY = """\
version: 1
rules:
  - rule: verified
  - {rule: instrument, allow: true}
  - rule: model
  - {rule: audit, epsilon: 0.05}
  - {rule: rate, measure: upper, at_most: 0.9}
  - {rule: increase, at_most: 0.5}
  - {rule: regression, at_most: 0.5}
  - {rule: finding, joint: [none, dilution]}
  - {rule: over_refusal, at_most: 0.9}
  - {rule: coverage, totals: [4]}
  - rule: judge
  - {rule: completeness, failed: 0.5}
  - rule: logged
  - {rule: fresh, receipt_days: 90, audit_days: 90}
"""
LAX = "version: 1\nrules: [{rule: instrument, allow: true}]\n"


@pytest.fixture
def policy(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        (tmp_path / "policy.yaml").write_text(text, "utf-8")
        return tmp_path / "policy.yaml"

    return write


BUNDLES = {
    "with evidence": (GOLDEN / "0.1" / "good" / "ed25519", KEY),
    "without evidence": (GOLDEN / "0.1" / "good" / "published", KEY),
    "another algorithm": (GOLDEN / "0.1" / "good" / "p256", GOLDEN / "0.1" / "p256.pub"),
    "known answer": (GOLDEN / "known-answer" / "diluting", GOLDEN / "known-answer/evaluator.pub"),
}


@pytest.mark.parametrize("name", BUNDLES)
def test_a_policy_with_every_rule_is_decided(name: str, policy: Any, receipts: Receipts) -> None:
    """None is skipped, whatever a bundle lacks; and what does not hold says why."""
    bundle, key = BUNDLES[name]
    finished = receipts("gate", bundle, "--policy", policy(EVERY), "--trust", key, "--json")
    document = held("cli-gate", finished.out)
    assert finished.code == 1
    assert document["admitted"] is False
    (receipt,) = document["receipts"]
    assert [rule["rule"] for rule in receipt["rules"]] == [rule.value for rule in GateRule]
    status = {rule["rule"]: rule["status"] for rule in receipt["rules"]}
    assert set(status.values()) == {"passed", "failed"}
    assert status["verified"] == ("failed" if name == "without evidence" else "passed")
    for rule in ("audit", "model", "regression", "logged"):
        assert status[rule] == "failed"
    assert all(rule["found"] and rule["asked"] and rule["source"] for rule in receipt["rules"])


@pytest.mark.parametrize("name", BUNDLES)
def test_it_is_decided_with_audits_too(
    name: str, tmp_path: Path, policy: Any, trust: list[str], receipts: Receipts
) -> None:
    """Of the golden bundles as well: the rules that ask for audits then say what these are of."""
    source, key = BUNDLES[name]
    bundle = Path(shutil.copytree(source, tmp_path / "bundle"))
    words = ["--policy", policy(EVERY), "--trust", key, *trust, "--json"]

    def rules() -> dict[str, Any]:
        (receipt,) = held("cli-gate", receipts("gate", bundle, *words).out)["receipts"]
        assert [rule["rule"] for rule in receipt["rules"]] == [rule.value for rule in GateRule]
        return {rule["rule"]: rule for rule in receipt["rules"]}

    without = rules()
    write_audits(bundle, Audit())
    audited = rules()
    assert "no result of a trusted auditor is here" in without["audit"]["found"]
    assert "no result of a trusted auditor is here" not in audited["audit"]["found"]
    changed = {name for name, rule in audited.items() if rule != without[name]}
    assert {"audit"} <= changed <= {"audit", "fresh"}


def test_every_rule_is_decided_with_audits(
    small: Path, policy: Any, trust: list[str], receipts: Receipts
) -> None:
    write_audits(small, Audit())
    root = Bundle(small).receipt.statement.predicate.checkpoint.root
    words = ["--model", root, "--at", "2026-03-01T00:00:00Z", "--json"]
    finished = receipts("gate", small, "--policy", policy(EVERY), *trust, *words)
    (receipt,) = held("cli-gate", finished.out)["receipts"]
    failed = {rule["rule"] for rule in receipt["rules"] if rule["status"] == "failed"}
    assert failed == {"regression", "finding", "logged"}


# exit codes


def test_a_receipt_that_holds(policy: Any, receipts: Receipts, bundle: Path) -> None:
    finished = receipts("gate", bundle, "--policy", policy(LAX), "--trust", KEY)
    assert finished.code == 0
    assert finished.out.endswith("ADMITTED: 2 of 2 rules hold\n")


@pytest.mark.parametrize(
    "name",
    ["an-outcome-is-flipped", "a-rate-is-edited", "the-evaluator-signs-a-false-rate"],
)
def test_no_rule_of_a_receipt_that_does_not_hold_is_decided(
    name: str, policy: Any, receipts: Receipts
) -> None:
    bad = GOLDEN / "0.1" / "bad" / name
    finished = receipts("gate", bad, "--policy", policy(LAX), "--trust", KEY, "--json")
    assert finished.code == 3
    (receipt,) = held("cli-gate", finished.out)["receipts"]
    assert receipt["verdict"] == "failed"
    assert receipt["rules"] == []
    assert receipt["failed"]


@pytest.mark.parametrize("trusted", [False, True])
def test_nobody_who_is_trusted_signed_it(
    trusted: bool, policy: Any, receipts: Receipts, bundle: Path
) -> None:
    """Without a key nobody can say; with another's the receipt is not what it should be."""
    other = ["--trust", GOLDEN / "known-answer" / "evaluator.pub"] if trusted else []
    finished = receipts("gate", bundle, "--policy", policy(LAX), *other, "--json")
    assert finished.code == (3 if trusted else 5)
    (receipt,) = held("cli-gate", finished.out)["receipts"]
    assert receipt["verdict"] == ("failed" if trusted else "incomplete")
    assert receipt["rules"] == []


@pytest.mark.parametrize(
    ("text", "words", "said"),
    [
        ("version: 1\nrules: [{rule: splendid}]\n", [], "no such rule; known: verified,"),
        ("version: 1\nrules: [{rule: verified, levl: x}]\n", [], "no such key"),
        ("version: 1\nrules: [{rule: verifed}]\n", [], "(did you mean verified?)"),
        (LAX, ["--policy", "nowhere.yaml"], "receipts init FOLDER --policy starter"),
        (LAX, ["--at", "yesterday"], "RFC 3339"),
        (LAX, ["--model", "nowhere"], "no checkpoint is named by nowhere"),
        (LAX, ["--against", "nowhere"], "no such folder"),
        (LAX, ["--trust", "nowhere.pub"], "nowhere.pub"),
    ],
    ids=str,
)
def test_what_cannot_be_read(
    text: str, words: list[str], said: str, *, policy: Any, receipts: Receipts, bundle: Path
) -> None:
    finished = receipts("gate", bundle, "--policy", policy(text), "--trust", KEY, *words)
    assert finished.code == 2
    assert said in finished.err
    assert finished.out == ""


def test_several_receipts_are_each_held_to_all_of_it(
    policy: Any, receipts: Receipts, bundle: Path
) -> None:
    bad = GOLDEN / "0.1" / "bad" / "an-outcome-is-flipped"
    words = ["--policy", policy(LAX), "--trust", KEY, "--json"]
    both = receipts("gate", bundle, GOLDEN / "0.1" / "good" / "ed25519", *words)
    assert both.code == 0
    assert [one["verdict"] for one in json.loads(both.out)["receipts"]] == ["admitted"] * 2
    one_bad = receipts("gate", bundle, bad, *words)
    assert one_bad.code == 3
    document = held("cli-gate", one_bad.out)
    assert document["admitted"] is False
    assert [one["verdict"] for one in document["receipts"]] == ["admitted", "failed"]
    shown = receipts("gate", bundle, bad, *words[:-1]).out
    assert shown.endswith("1 of 2 receipts are admitted\n")


def test_a_refutation_by_a_trusted_auditor_ends_it(
    bundle: Path, tmp_path: Path, policy: Any, receipts: Receipts
) -> None:
    """Verification fails, and no rule is looked at."""
    (tmp_path / "auditor.pub").write_bytes(audit_statements.AUDITOR.public.pem())
    digest = Bundle(bundle).receipt_envelope.digest
    start = audit_statements.announce(digest)
    refuted = audit_statements.report(digest, start.digest, AuditVerdict.REFUTED)
    for envelope in (start, refuted):
        BundleWriter(bundle).write_audit(envelope)
    words = ["gate", bundle, "--policy", policy(LAX), "--trust", KEY, "--json"]
    finished = receipts(*words, "--trust-auditor", tmp_path / "auditor.pub")
    assert finished.code == 3
    (receipt,) = json.loads(finished.out)["receipts"]
    assert receipt["rules"] == []
    assert "refutes this receipt" in receipt["failed"][0]["detail"]
    assert receipts(*words).code == 0  # by somebody whom nobody trusts


def test_a_result_without_its_announcement_ends_it(
    small: Path, policy: Any, trust: list[str], receipts: Receipts
) -> None:
    write_audits(small, Audit())
    for path in (small / "audits").iterdir():
        if b"audit-start" in read_envelope(path, MAX_AUDIT_BYTES).payload:
            path.unlink()
    finished = receipts("gate", small, "--policy", policy(LAX), *trust, "--json")
    assert finished.code == 3
    assert json.loads(finished.out)["receipts"][0]["failed"][0]["name"].startswith("audit ")


def test_audits_that_lie_elsewhere(
    small: Path, tmp_path: Path, policy: Any, trust: list[str], receipts: Receipts
) -> None:
    write_audits(small, Audit())
    shutil.move(small / "audits", tmp_path / "elsewhere")
    text = "version: 1\nrules: [{rule: audit, epsilon: 0.05}]\n"
    words = ["gate", small, "--policy", policy(text), *trust]
    assert receipts(*words).code == 1
    assert receipts(*words, "--audits", tmp_path / "elsewhere").code == 0


def test_a_regression_by_the_command(
    small: Path, tmp_path: Path, policy: Any, trust: list[str], receipts: Receipts
) -> None:
    text = "version: 1\nrules: [{rule: regression, at_most: 0.1}]\n"
    words = ["gate", small, "--policy", policy(text), *trust, "--json"]
    same = receipts(*words, "--against", shutil.copytree(small, tmp_path / "same"))
    rules = json.loads(same.out)["receipts"][0]["rules"]
    assert "is this one" in next(one["found"] for one in rules if one["rule"] == "regression")
    (tmp_path / "same" / "points.jsonl.zst").write_bytes(b"not evidence")
    assert receipts(*words, "--against", tmp_path / "same").code == 3


# reports


def test_junit(policy: Any, receipts: Receipts, bundle: Path, tmp_path: Path) -> None:
    waiver = '{rule: logged, reason: none yet, who: "a <b> & co", until: 2030-01-01}'
    text = f"{EVERY}waivers: [{waiver}]\n"
    summary = tmp_path / "gate.md"
    report, published = tmp_path / "gate.xml", GOLDEN / "0.1" / "good" / "published"
    words = ["--policy", policy(text), "--trust", KEY, "--junit", report, "--summary", summary]
    assert receipts("gate", bundle, published, *words, "--at", "2026-03-01T00:00:00Z").code == 1
    said = summary.read_text("utf-8")
    assert said.startswith(
        "## Receipts gate: NOT admitted, WITH WAIVERS\n\n- **WARNING**: `WAIVED: "
    )
    root = ET.fromstring(report.read_bytes())
    assert root.tag == "testsuites"
    cases = list(root.iter("testcase"))
    assert len(cases) == 2 * len(GateRule)
    names = [(case.get("classname"), case.get("name")) for case in cases]
    assert len(set(names)) == len(names)
    assert all(classname for classname, _ in names)
    for case in cases:
        failures = case.findall("failure")
        assert len(failures) <= 1
        assert all(one.get("message") == one.text and one.text for one in failures)
        assert case.find("error") is None
        assert "receipt " in (case.findtext("system-out") or "")
    skipped = [case for case in cases if case.find("skipped") is not None]
    assert len(skipped) == 2
    assert "WAIVED: none yet (by a <b> & co" in str(skipped[0].find("skipped").get("message"))  # type: ignore[union-attr]  # found above
    for suite in root.iter("testsuite"):
        counted = {name: int(suite.get(name, "-1")) for name in ("tests", "failures", "skipped")}
        assert counted["tests"] == len(GateRule)
        assert counted["failures"] == len(list(suite.iter("failure")))
        assert suite.get("errors") == "0"
        digests = [one.get("value") for one in suite.iter("property")]
        assert digests[0] == Bundle(bundle).receipt_envelope.digest


def test_junit_of_what_is_not_known_or_not_read(
    policy: Any, receipts: Receipts, bundle: Path, tmp_path: Path
) -> None:
    """An older report would say that all is well."""
    report, summary = tmp_path / "gate.xml", tmp_path / "gate.md"
    words = ["--policy", policy(LAX), "--junit", report, "--summary", summary]
    assert receipts("gate", bundle, *words).code == 5
    (case,) = ET.fromstring(report.read_bytes()).iter("testcase")
    assert case.find("error") is not None
    assert receipts("gate", tmp_path / "nowhere", *words).code == 2
    (case,) = ET.fromstring(report.read_bytes()).iter("testcase")
    assert "no such folder" in (case.findtext("error") or "")
    assert summary.read_text("utf-8").count("## Receipts gate: NOT admitted") == 2


HOSTILE = "\x00\x0b\x1f\ufffe\uffff\ud800`|<script>\n## Admitted\n| a | b |\n&amp;]]>\u202e"


def _hostile(bundle: Path, found: str) -> GateResult:
    verification = verify_bundle(Bundle(bundle), evaluators=TrustSet())
    rule = RuleResult(
        name="rate",
        kind=GateRule.RATE,
        implied=False,
        status=RuleStatus.FAILED,
        asked=found,
        found=found,
        source=found,
        waiver=None,
        expired=(),
    )
    return GateResult(Path(f"a{HOSTILE.replace(chr(0), '')}b"), verification, (rule,))


def test_any_text_can_stand_in_junit(bundle: Path) -> None:
    """Readers accept XML 1.0 alone, and the serialiser writes more."""
    report = junit_report([_hostile(bundle, HOSTILE)], "0" * 64)
    (case,) = ET.fromstring(report).iter("testcase")
    assert "<script>" in (case.findtext("failure") or "")
    error = junit_error(MalformedError(HOSTILE, file="\ud800"))
    assert ET.fromstring(error).find(".//error") is not None


def test_no_text_can_forge_markup_in_the_summary(bundle: Path) -> None:
    for text in (
        gate_summary([_hostile(bundle, HOSTILE)], "0" * 64, "now"),
        summary_of_error(MalformedError(HOSTILE)),
    ):
        headings = [line for line in text.splitlines() if line.startswith("#")]
        assert all("Receipts gate: NOT admitted" in line or "### `" in line for line in headings)
        for line in text.splitlines():
            outside = "".join(line.split("`")[::2])
            assert line.count("`") % 2 == 0
            assert "<" not in outside
            assert "|" not in outside
    assert code_span("``") == "`''`"
    assert code_span(" ") == "`–`"


def test_nothing_on_a_terminal_begins_with_what_others_wrote(
    small: Path, policy: Any, receipts: Receipts, trust: list[str]
) -> None:
    text = (
        LAX
        + 'name: "x"\nwaivers: [{rule: instrument, reason: "a\u202e", who: b, until: 2020-01-01}]\n'
    )
    said = receipts("gate", small, "--policy", policy(text), *trust).out
    assert "\u202e" not in said
    assert "\\u202e" in said


def test_the_worst_of_several_ends_it() -> None:
    class _Result:
        def __init__(self, code: int) -> None:
            self.exit_code = code

    for codes, worst in (([0, 1], 1), ([1, 5], 5), ([5, 3, 0], 3), ([0, 0], 0)):
        assert exit_code_of([_Result(code) for code in codes]) == worst  # type: ignore[misc]  # its code is all that is read


def test_what_is_trusted_can_come_from_the_environment(
    policy: Any, receipts: Receipts, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert receipts("gate", bundle, "--policy", policy(LAX)).code == 5
    monkeypatch.setenv("RECEIPTS_GATE_TRUST", str(KEY))
    assert receipts("gate", bundle, "--policy", policy(LAX)).code == 0
