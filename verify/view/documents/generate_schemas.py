"""Writes the JSON Schemas of the documents that the verifier's commands print.

Run by ``make schemas``, or ``python -m safety_receipts.verify.view.documents.generate_schemas``.
"""

from __future__ import annotations

from typing import Final

from safety_receipts.receipts.view.documents.base import CommandSchemas, Printed
from safety_receipts.verify import checks, verification
from safety_receipts.verify.compare import comparability, comparison
from safety_receipts.verify.gate import gating, kinds
from safety_receipts.verify.view.documents import attach
from safety_receipts.verify.view.documents.attach import AttachDocument
from safety_receipts.verify.view.documents.audit import AuditDocument, AuditForecastDocument
from safety_receipts.verify.view.documents.calibrate import CalibrateDocument
from safety_receipts.verify.view.documents.compare import CompareDocument
from safety_receipts.verify.view.documents.demo import DemoDocument
from safety_receipts.verify.view.documents.doctor import DoctorDocument
from safety_receipts.verify.view.documents.export import ExportDocument
from safety_receipts.verify.view.documents.gate import GateDocument
from safety_receipts.verify.view.documents.report import ReportDocument
from safety_receipts.verify.view.documents.verify import VerifyDocument

SCHEMAS: Final = CommandSchemas(
    {
        "cli-verify": Printed(VerifyDocument, "verify"),
        "cli-audit": Printed(AuditDocument, "audit"),
        "cli-audit-forecast": Printed(AuditForecastDocument, "audit --dry-run"),
        "cli-calibrate": Printed(CalibrateDocument, "calibrate"),
        "cli-compare": Printed(CompareDocument, "compare"),
        "cli-demo": Printed(DemoDocument, "demo"),
        "cli-doctor": Printed(DoctorDocument, "doctor"),
        "cli-gate": Printed(GateDocument, "gate"),
        "cli-report": Printed(ReportDocument, "report"),
        "cli-attach": Printed(AttachDocument, "attach"),
        "cli-export": Printed(ExportDocument, "export"),
    },
    sources=(checks, verification, comparability, comparison, kinds, gating, attach),
)
"""What the verifier's commands print."""

if __name__ == "__main__":
    SCHEMAS.write()
