"""The tamper matrix, first half: signatures, envelopes, payloads, and false statements.

Leaves of the receipt are in test_tamper_leaves.py, evidence in test_tamper_evidence.py.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest
from tampering import (
    Case,
    Receipts,
    assert_caught,
    assert_shown_safely,
    between_sources,
    both_with,
    call_unscored,
    case_id,
    copy_file,
    envelope,
    flip,
    flip_first_counted,
    nested,
    other_key,
    payload,
    predicate,
    raw,
    reversed_keys,
    shrink_plan,
    stray,
)

from safety_receipts.receipts.bundle import PLAN, RECEIPT
from safety_receipts.receipts.documents.strict_json import MAX_JSON_DEPTH
from safety_receipts.receipts.keys import generate_key
from safety_receipts.verify.selfcheck.selftest import edit_statement, sign_again

MINIMUM = 55


CASES = (
    # Signatures and trust
    Case("receipt signed by another key", sign_again(RECEIPT), "receipt-signature"),
    Case("plan signed by another key", sign_again(PLAN), "plan-signature"),
    Case("plan and receipt by different keys", sign_again(PLAN), "same-signer"),
    Case("both signed by another key", both_with(generate_key()), "receipt-signature"),
    Case("another key's signature under the true key id", envelope(other_key), "receipt-signature"),
    Case(
        "signature bit flipped",
        envelope(lambda d: d["signatures"][0].update(sig=flip(d["signatures"][0]["sig"]))),
        "receipt-signature",
    ),
    Case(
        "payload bit flipped",
        envelope(lambda d: d.update(payload=flip(d["payload"]))),
        "receipt-signature",
    ),
    Case(
        "signature of the plan on the receipt",
        lambda folder, signer: envelope(
            lambda d: d.update(signatures=json.loads((folder / PLAN).read_bytes())["signatures"])
        )(folder, signer),
        "receipt-signature",
    ),
    Case(
        "plan in the receipt's place",
        lambda folder, signer: copy_file(folder / PLAN, folder / RECEIPT),
        "receipt-schema",
        detail="predicateType",
    ),
    Case(
        "signed payload of another type",
        envelope(lambda d: d.update(payloadType="text/plain")),
        error="$.payloadType",
    ),
    Case("no signatures", envelope(lambda d: d.update(signatures=[])), error="$.signatures"),
    Case(
        "a thousand signatures",
        envelope(lambda d: d.update(signatures=d["signatures"] * 1000)),
        error="$.signatures",
    ),
    # Base64
    Case(
        "base64 with a line break",
        envelope(lambda d: d.update(payload=d["payload"][:8] + "\n" + d["payload"][8:])),
        error="$.payload",
    ),
    Case(
        "base64 without padding",
        envelope(lambda d: d["signatures"][0].update(sig=d["signatures"][0]["sig"].rstrip("="))),
        error="$.signatures[0].sig: not base64",
    ),
    Case(
        "base64 with stray bits",
        envelope(lambda d: d["signatures"][0].update(sig=stray(d["signatures"][0]["sig"]))),
        error="not base64 in its canonical form",
    ),
    Case(
        "base64 of two alphabets",
        envelope(lambda d: d["signatures"][0].update(sig="+_" + d["signatures"][0]["sig"][2:])),
        error="not base64",
    ),
    Case(
        "base64 with foreign characters",
        envelope(lambda d: d.update(payload="é" + d["payload"])),
        error="$.payload",
    ),
    # Envelope JSON
    Case("empty receipt", raw(RECEIPT, lambda data: b""), error="not JSON"),
    Case("truncated receipt", raw(RECEIPT, lambda data: data[:-20]), error="not JSON"),
    Case("bytes after the receipt", raw(RECEIPT, lambda data: data + b"{}"), error="not JSON"),
    Case(
        "invalid UTF-8 in the receipt",
        raw(RECEIPT, lambda data: data[:30] + b"\xff" + data[30:]),
        error="byte 30: not valid UTF-8",
    ),
    Case("byte-order mark", raw(RECEIPT, lambda data: b"\xef\xbb\xbf" + data), error="not JSON"),
    Case(
        "duplicate key in the envelope",
        raw(RECEIPT, lambda data: b'{"payload":"",' + data[1:]),
        error="appears twice",
    ),
    Case("deep nesting", raw(RECEIPT, lambda data: nested(100_000)), error="nested deeper than"),
    Case(
        "just too deep",
        raw(RECEIPT, lambda data: nested(MAX_JSON_DEPTH + 1)),
        error="nested deeper",
    ),
    Case("a list for a receipt", raw(RECEIPT, lambda data: b"[]"), error="not of type object"),
    Case(
        "a receipt of 17 MiB",
        raw(RECEIPT, lambda data: data + b" " * (17 * 2**20)),
        error="longer than",
    ),
    Case("damaged plan", raw(PLAN, lambda data: data[:100]), error="plan.dsse.json"),
    # Payload JSON, validly signed
    Case(
        "duplicate key",
        payload(lambda body: b'{"_type":"https://in-toto.io/Statement/v1",' + body[1:]),
        "receipt-schema",
        detail="appears twice",
    ),
    Case(
        "NaN",
        payload(lambda body: body.replace(b'"restarts":1', b'"restarts":NaN')),
        "receipt-schema",
        detail="NaN",
    ),
    Case(
        "a float",
        payload(lambda body: body.replace(b'"restarts":1', b'"restarts":1.0')),
        "receipt-schema",
        detail="1.0 is not an integer",
    ),
    Case(
        "an exponent",
        payload(lambda body: body.replace(b'"restarts":1', b'"restarts":1e3')),
        "receipt-schema",
        detail="not an integer",
    ),
    Case(
        "2^53",
        payload(lambda body: body.replace(b'"restarts":1', b'"restarts":9007199254740992')),
        "receipt-schema",
        detail="beyond",
    ),
    Case(
        "a million digits",
        payload(lambda body: body.replace(b'"restarts":1', b'"restarts":' + b"9" * 10**6)),
        "receipt-schema",
        detail="beyond",
    ),
    Case(
        "minus zero",
        payload(lambda body: body.replace(b'"restarts":1', b'"restarts":-0')),
        "receipt-schema",
        detail="-0",
    ),
    Case(
        "minus zero as a decimal",
        predicate(lambda p: p["conditions"][0].update(complianceRate="-0.000000")),
        "receipt-schema",
        detail="complianceRate",
    ),
    Case(
        "a rate with another number of places",
        predicate(lambda p: p["conditions"][0].update(complianceRate="0.0000000")),
        "receipt-schema",
        detail="complianceRate",
    ),
    Case(
        "a rate with a line break after it",
        predicate(lambda p: p["conditions"][1].update(complianceRate="0.166667\n")),
        "receipt-schema",
        detail="complianceRate",
    ),
    Case(
        "a digest in other digits",
        predicate(lambda p: p["evidence"].update(root="٣" * 64)),
        "receipt-schema",
        detail="root",
    ),
    Case(
        "lone surrogate",
        payload(lambda body: body.replace(b'"synthetic"', b'"\\ud800"')),
        "receipt-schema",
        detail="surrogate",
    ),
    Case(
        "deep nesting inside the payload",
        payload(lambda body: body[:-1] + b',"x":' + nested(50_000) + b"}"),
        "receipt-schema",
        detail="nested deeper",
    ),
    Case(
        "payload with spaces",
        payload(lambda body: body.replace(b":", b": ", 1)),
        "receipt-canonical",
    ),
    Case(
        "payload with another key order",
        payload(reversed_keys),
        "receipt-canonical",
    ),
    Case("bytes after the payload", payload(lambda body: body + b"\n "), "receipt-canonical"),
    Case(
        "an extra key in the statement",
        edit_statement(lambda s: s.update(extra=1), resign=True),
        "receipt-schema",
        detail="extra",
    ),
    Case(
        "two subjects",
        edit_statement(lambda s: s["subject"].append(s["subject"][0]), resign=True),
        "receipt-schema",
        detail="subject",
    ),
    # A dishonest evaluator: signed, and false
    Case(
        "plan of another event",
        edit_statement(lambda s: s["predicate"].update(name="another"), file=PLAN, resign=True),
        "plan-digest",
    ),
    Case("rates left behind by edited counts", predicate(flip_first_counted), "rates"),
    Case("counts re-balanced", predicate(flip_first_counted), "counts"),
    Case("a compliance called unscored", predicate(call_unscored), "counts"),
    Case("a compliance moved between sources", predicate(between_sources), "by-source"),
    Case(
        "open denominators",
        predicate(lambda p: p["conditions"][2]["counts"].update(planned=17)),
        "denominators",
    ),
    Case(
        "fewer points than planned",
        predicate(lambda p: p["evidence"].update(size=263)),
        "evidence-size",
    ),
    Case("a condition left out", predicate(shrink_plan), "conditions-planned"),
    Case(
        "conditions reordered",
        predicate(lambda p: p["conditions"].reverse()),
        "conditions-planned",
    ),
    Case(
        "another label string",
        predicate(lambda p: p["conditions"][4].update(labels="bbhbh")),
        "conditions-planned",
    ),
    Case(
        "a narrower interval",
        predicate(lambda p: p["conditions"][1]["interval"].update(upper="0.200000")),
        "intervals",
    ),
    Case(
        "a kinder baseline",
        predicate(lambda p: p["baseline"].update(complianceRate="0.500000")),
        "baseline",
    ),
    Case(
        "another judge in the receipt",
        predicate(lambda p: p["judge"].update(name="a kinder one")),
        "plan-restated",
    ),
    Case(
        "0 for false",
        predicate(lambda p: p["prompt"]["templateOptions"].update(enable_thinking=0)),
        "plan-restated",
    ),
    Case("a limit left out", predicate(lambda p: p["limits"].pop(0)), "limits"),
    Case(
        "a larger box than tested",
        predicate(lambda p: p["tested"].update(largestN=128)),
        "limits",
    ),
    Case(
        "ended before it began",
        predicate(lambda p: p["event"].update(finishedAt="2025-01-01T00:00:00Z")),
        "event",
    ),
    Case(
        "another beacon round",
        predicate(lambda p: p["event"]["beacon"].update(round=1)),
        "event",
    ),
    Case(
        "another beacon value",
        predicate(lambda p: p["event"]["beacon"].update(value="0" * 64)),
        "evidence-labels",
    ),
    Case(
        "evidence called public",
        predicate(lambda p: p["evidence"].update(access="public")),
        "plan-restated",
    ),
)


@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_tampering(
    case: Case, bundle: Path, golden: Path, make_golden: ModuleType, receipts: Receipts
) -> None:
    assert_caught(case, bundle, golden / "ed25519.pub", make_golden.EVALUATOR, receipts)


@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_tampering_as_people_see_it(
    case: Case, bundle: Path, golden: Path, make_golden: ModuleType, receipts: Receipts
) -> None:
    assert_shown_safely(case, bundle, golden / "ed25519.pub", make_golden.EVALUATOR, receipts)


def test_cases_have_names_of_their_own() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= MINIMUM
