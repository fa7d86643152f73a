"""Reading ``plan.yaml``, before any file it names is opened.

An error says the line, the key path and what is allowed; resolving names to digests comes
after.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from safety_receipts.receipts.errors import FileAccessError, MalformedError
from safety_receipts.runner.plan.checks import contradictions
from safety_receipts.runner.plan.entries.plan_file import PlanFile
from safety_receipts.runner.plan.mistakes import hint_of, message_of
from safety_receipts.runner.plan.yaml_file import KeyPath, YamlFile, load_yaml


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
    file = load_yaml(path)
    if not isinstance(file.document, dict):
        raise MalformedError("is not a mapping of keys to values", file=path, place=file.place(()))
    try:
        plan = PlanFile.model_validate(file.document)
    except ValidationError as error:
        errors = error.errors(include_url=False)
        found = [_mistake(e, file) for e in errors if not _follows(e, file)]
    else:
        found = [(place, message, None) for place, message in contradictions(plan)]
        if not found:
            return plan, file
    place, message, hint = min(found, key=lambda one: file.line(one[0]))
    raise MalformedError(message, file=path, place=file.place(place), hint=hint)


_Mistake = tuple[KeyPath, str, str | None]
"""Where, what is wrong there, and how it is mended."""


def _follows(error: ErrorDetails, file: YamlFile) -> bool:
    """Say whether a list is called empty only because its items were refused."""
    return error["type"] == "too_short" and (*_place(error, file), 0) in file.lines


def _place(error: ErrorDetails, file: YamlFile) -> KeyPath:
    place: KeyPath = ()
    for step in error["loc"]:  # steps that are not the file's are pydantic's own
        if (*place, step) in file.lines:
            place = (*place, step)
    return place


def _mistake(error: ErrorDetails, file: YamlFile) -> _Mistake:
    """Say an error of pydantic's in the terms of the file."""
    place = _place(error, file)
    if error["type"] == "missing":
        place = (*place, error["loc"][-1])
    elif error["type"] == "unknown_key":
        place = (*place, error["ctx"]["key"])
    return place, message_of(error), hint_of(error, PlanFile)
