"""Writes the JSON Schemas of the documents that the runner's commands print.

Run by ``make schemas``, or ``python -m safety_receipts.runner.view.documents.generate_schemas``.
"""

from __future__ import annotations

from typing import Final

from safety_receipts.receipts.view.documents.base import CommandSchemas, Printed
from safety_receipts.runner.prompts import prompt_view
from safety_receipts.runner.view.documents.files import (
    InitDocument,
    InitPolicyDocument,
    JudgeCalibrationDocument,
)
from safety_receipts.runner.view.documents.plan import PlanDocument
from safety_receipts.runner.view.documents.prompt import PromptDocument
from safety_receipts.runner.view.documents.run import PilotDocument, RunDocument

SCHEMAS: Final = CommandSchemas(
    {
        "cli-init": Printed(InitDocument, "init"),
        "cli-init-policy": Printed(InitPolicyDocument, "init --policy"),
        "cli-judge-calibrate": Printed(JudgeCalibrationDocument, "judge calibrate"),
        "cli-plan": Printed(PlanDocument, "plan"),
        "cli-plan-prompt": Printed(PromptDocument, "plan --show-prompt"),
        "cli-run": Printed(RunDocument, "run"),
        "cli-run-pilot": Printed(PilotDocument, "run --limit"),
    },
    sources=(prompt_view,),
)
"""What the runner's commands print; ``rejudge`` prints what ``run`` does."""

if __name__ == "__main__":
    SCHEMAS.write()
