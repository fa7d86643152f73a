"""JUnit XML of what a policy says of a receipt, for the page of a CI system."""

from __future__ import annotations

from typing import Final

from safety_receipts.receipts.io.files import atomic_write
from safety_receipts.verify.exports.facts import common_remarks
from safety_receipts.verify.exports.kinds import Exported, ExportRequest
from safety_receipts.verify.exports.statements import decision_of
from safety_receipts.verify.view.junit import junit_report

_LEFT: Final = (
    "The receipt's rates, findings and limits are not in it, but for what rules say that they "
    "found: receipts show has them."
)


def export_junit(request: ExportRequest) -> Exported:
    """Write the report of a gate: a test case a rule.

    Raises:
        UsageError: No policy is named.
        FileAccessError: The file cannot be written.
    """
    decision = decision_of(request)
    atomic_write(request.out, junit_report([decision.result], decision.policy.digest))
    remarks = (*common_remarks(request.verified), _LEFT)
    return Exported((request.out,), len(decision.result.rules), "rules", remarks)
