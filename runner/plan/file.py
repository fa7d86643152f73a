"""Reading ``plan.yaml``, before any file it names is opened.

An error says the line, the key path and what is allowed; resolving names to digests comes
after.
"""

from __future__ import annotations

from pathlib import Path

from safety_receipts.receipts.documents.written import load_written
from safety_receipts.receipts.documents.yaml_file import YamlFile
from safety_receipts.receipts.errors import FileAccessError
from safety_receipts.runner.plan.checks import contradictions
from safety_receipts.runner.plan.entries.plan_file import PlanFile


def load_plan_file(path: Path) -> tuple[PlanFile, YamlFile]:
    """Read and validate a plan file.

    Returns:
        The plan, and the file with the places of its values, for later errors.

    Raises:
        FileAccessError: The file cannot be read.
        MalformedError: With line, key path and what is allowed.
    """
    if path.is_dir():
        raise FileAccessError(
            "is a folder", file=path, hint=f"name the plan file in it, such as {path / 'plan.yaml'}"
        )
    if not path.exists():
        raise FileAccessError(
            "no such file", file=path, hint="receipts init FOLDER writes a plan to start from"
        )
    return load_written(path, PlanFile, contradictions)
