"""What a gate found, as JUnit XML: one test case a rule.

Facts that readers differ on, and what is done about them: Jenkins splits a name without a class
name at its last dot, so every case has one; of several failures some show the first and some the
last, so there is one, with its reason as attribute and as text; nobody can read characters that
XML 1.0 has not, and the serialiser writes them, so they are replaced.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final
from xml.etree import ElementTree as ET

from safety_receipts.receipts.errors import ReceiptsError
from safety_receipts.verify.gate.gating import GateResult, GateVerdict, RuleResult
from safety_receipts.verify.gate.kinds import RuleStatus
from safety_receipts.verify.view.gate import broken_lines, gate_conclusion, waiver_lines

_NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit_report(results: Sequence[GateResult], policy: str) -> bytes:
    """Return the report of a gate.

    Args:
        results: What became of each receipt.
        policy: SHA-256 of the policy.
    """
    suites = ET.Element("testsuites", name="receipts gate")
    for number, result in enumerate(results, start=1):
        # Several bundles can have one name: their numbers tell them apart.
        _suite(suites, result, f"{number} {result.bundle}" if len(results) > 1 else None, policy)
    return _written(suites)


def junit_error(error: ReceiptsError) -> bytes:
    """Return the report of a gate that could not be asked: an input cannot be read."""
    suites = ET.Element("testsuites", name="receipts gate")
    suite = ET.SubElement(suites, "testsuite", name="receipts gate")
    case = ET.SubElement(suite, "testcase", classname="receipts gate", name="input")
    _put(case, "error", error.one_line(), error.kind)
    _count(suite)
    return _written(suites)


def _suite(suites: ET.Element, result: GateResult, label: str | None, policy: str) -> None:
    name = _xml(label or str(result.bundle))
    suite = ET.SubElement(suites, "testsuite", name=name)
    digest = result.verification.receipt_digest or "unread"
    properties = ET.SubElement(suite, "properties")
    for key, value in (("receipt", digest), ("policy", policy)):
        ET.SubElement(properties, "property", name=key, value=value)
    about = f"receipt {digest}\npolicy {policy}"
    classname = f"receipts gate {name}"
    if not result.rules:
        case = ET.SubElement(suite, "testcase", classname=classname, name="verification")
        reason = "\n".join([gate_conclusion(result).sentence, *broken_lines(result)])
        kind = "failure" if result.verdict is GateVerdict.FAILED else "error"
        _put(case, kind, reason, result.verdict.value)
        _out(case, about)
    for rule in result.rules:
        _case(suite, rule, classname, about)
    if waivers := waiver_lines(result):
        about = "\n".join([about, *waivers])
    _count(suite)
    _out(suite, about)


def _case(suite: ET.Element, rule: RuleResult, classname: str, about: str) -> None:
    case = ET.SubElement(
        suite, "testcase", classname=classname, name=_xml(f"{rule.name}: {rule.asked}")
    )
    if rule.status is RuleStatus.FAILED:
        _put(case, "failure", rule.found, rule.kind.value)
    elif rule.waiver is not None:
        waiver = rule.waiver
        accepted = f"WAIVED: {waiver.reason} (by {waiver.who}, until {waiver.until})"
        _put(case, "skipped", f"{accepted}; {rule.found}", None)
    _out(case, f"{about}\nfound: {rule.found}\nfrom: {rule.source}")


def _put(case: ET.Element, tag: str, reason: str, kind: str | None) -> None:
    text = _xml(reason)
    part = ET.SubElement(case, tag, {"message": text} | ({} if kind is None else {"type": kind}))
    part.text = text


def _out(parent: ET.Element, text: str) -> None:
    ET.SubElement(parent, "system-out").text = _xml(text)


def _count(suite: ET.Element) -> None:
    counted = {"tests": "testcase", "failures": "failure", "errors": "error", "skipped": "skipped"}
    for name, tag in counted.items():
        suite.set(name, str(len(list(suite.iter(tag)))))


def _written(suites: ET.Element) -> bytes:
    ET.indent(suites)
    text: bytes = ET.tostring(suites, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def _xml(text: str) -> str:
    """Return a text without the characters that XML 1.0 has not."""
    return _NOT_XML.sub("\ufffd", text)
