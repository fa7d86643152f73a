"""In-toto Statements of what a policy says of a receipt: test-result v0.1 and SVR v0.2.

Source: https://github.com/in-toto/attestation/blob/main/spec/predicates/test-result.md
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from safety_receipts.receipts.canonical import JsonValue, canonical_bytes
from safety_receipts.receipts.documents.moments import spell
from safety_receipts.receipts.errors import UsageError
from safety_receipts.receipts.io.files import atomic_write
from safety_receipts.receipts.model.statement import EVALUATION_TYPE, STATEMENT_TYPE
from safety_receipts.verify.exports.facts import common_remarks
from safety_receipts.verify.exports.kinds import Exported, ExportRequest, GateDecision
from safety_receipts.verify.gate.kinds import RuleStatus
from safety_receipts.verify.gate.svr import POLICY_NAME, svr_statement
from safety_receipts.verify.view.gate import waiver_lines

TEST_RESULT_TYPE: Final = "https://in-toto.io/attestation/test-result/v0.1"
"""Predicate type of a test result."""
UNSIGNED: Final = "The statement is not signed: sign these bytes before anybody relies on them."
"""What is said of a statement, as whoever reads it takes it for one that somebody answers for."""
_NO_NUMBERS: Final = (
    "Rates, counts, intervals, findings and limits are not in it: the receipt has them."
)


def decision_of(request: ExportRequest) -> GateDecision:
    """Return what a policy says of the receipt.

    Raises:
        UsageError: No policy is named.
    """
    if request.decision is None:
        raise UsageError("this format says what a policy does", hint="--policy POLICY.yaml")
    return request.decision


def export_test_result(request: ExportRequest) -> Exported:
    """Write a test-result v0.1 statement about the checkpoint: a test a rule of the policy.

    ``result`` is FAILED where a rule does not hold, WARNED where waivers accept every one that
    does not, else PASSED.

    Raises:
        UsageError: No policy is named.
        FileAccessError: The file cannot be written.
    """
    decision = decision_of(request)
    atomic_write(request.out, canonical_bytes(_test_result(request, decision)))
    remarks = [
        *common_remarks(request.verified),
        UNSIGNED,
        _NO_NUMBERS,
        "What a rule asked and what was found is not in it: receipts gate has that.",
        *_waived(decision),
    ]
    return Exported((request.out,), len(decision.result.rules), "rules", tuple(remarks))


def _waived(decision: GateDecision) -> Iterator[str]:
    if waiver_lines(decision.result):
        yield "Waivers are not in it, but for the names of the rules that they are for (WARNED)."


def _test_result(request: ExportRequest, decision: GateDecision) -> dict[str, JsonValue]:
    checkpoint = request.verified.predicate.checkpoint
    names: dict[RuleStatus, list[str]] = {status: [] for status in RuleStatus}
    for rule in decision.result.rules:
        names[rule.status].append(rule.name)
    result = "WARNED" if names[RuleStatus.WAIVED] else "PASSED"
    remarks: JsonValue = list(common_remarks(request.verified))
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": checkpoint.name, "digest": {"sha256": checkpoint.root}}],
        "predicateType": TEST_RESULT_TYPE,
        "predicate": {
            "result": "FAILED" if names[RuleStatus.FAILED] else result,
            "configuration": [{"name": POLICY_NAME, "digest": {"sha256": decision.policy.digest}}],
            "passedTests": names[RuleStatus.PASSED],
            "warnedTests": names[RuleStatus.WAIVED],
            "failedTests": names[RuleStatus.FAILED],
            # Extensions: gates read the first, and the others say what the result rests on.
            "timestamp": spell(decision.at),
            "inputAttestations": [
                {
                    "uri": EVALUATION_TYPE,
                    "digest": {"sha256": request.verified.signed.envelope.digest},
                }
            ],
            **({"safetyReceiptsRemarks": remarks} if remarks else {}),
        },
    }


def export_svr(request: ExportRequest) -> Exported:
    """Write a Simple Verification Result v0.2 about the checkpoint, where all rules hold.

    Raises:
        PolicyError: A rule does not hold, or a waiver accepts that: nothing is written.
        UsageError: No policy is named.
        FileAccessError: The file cannot be written.
    """
    decision = decision_of(request)
    statement = svr_statement((decision.result,), decision.policy.digest, decision.at)
    atomic_write(request.out, canonical_bytes(statement))
    remarks = [*common_remarks(request.verified), UNSIGNED, _NO_NUMBERS]
    return Exported((request.out,), len(decision.result.rules), "rules", tuple(remarks))
