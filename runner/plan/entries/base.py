"""What the entries of ``plan.yaml`` are made of: closed models, commits, places."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from safety_receipts.receipts.documents.written import WrittenModel
from safety_receipts.receipts.model.base import Name
from safety_receipts.runner.plan import schema as plan_schema


class PlanModel(WrittenModel):
    """Base of everything in a plan file."""


def _commit(value: str) -> str:
    if re.fullmatch(r"[0-9a-f]{40}", value) is None:
        raise ValueError("should be the commit's 40 digits: a branch or tag can move")
    return value


Revision = Annotated[
    str, AfterValidator(_commit), Field(json_schema_extra={"pattern": "^[0-9a-f]{40}$"})
]
"""A commit: 40 lower-case hex digits."""


_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_DRIVE = re.compile(r"[A-Za-z]:/")
_PATH_PATTERN = rf"^(?!{_ADDRESS.pattern})(?!{_DRIVE.pattern})(?!~[^/])(?!\$)[^\\]+$"
"""What :func:`_own_path` takes."""


def _own_path(value: Any) -> Any:
    """Refuse by name what would be taken for a strange file name; open up ``~``."""
    if not isinstance(value, str):
        return value
    if value == "":
        raise ValueError("is empty")
    if value.startswith("hf://"):
        raise ValueError("is an address on the hub: give hub: owner/name and revision instead")
    if _ADDRESS.match(value):
        raise ValueError(
            "is an address: get the file and name its path, or give hub: owner/name and revision"
        )
    if "\\" in value:
        raise ValueError("has a backslash: write / between folders, without a drive of Windows")
    if _DRIVE.match(value):
        raise ValueError(
            "starts with a drive of Windows: on Linux and macOS a path starts with / or a folder"
        )
    if value.startswith("$"):
        raise ValueError("starts with a shell's variable, which is not read: write the path out")
    if value == "~" or value.startswith("~/"):
        return os.path.expanduser(value)  # noqa: PTH111  # as in a shell, also without a home
    if value.startswith("~"):
        raise ValueError("starts with the name of a user's folder: write the path out")
    return value


PlanPath = Annotated[
    Path,
    BeforeValidator(_own_path, json_schema_input_type=str),
    Field(json_schema_extra={"minLength": 1, "pattern": _PATH_PATTERN}),
]
"""A file or folder; one that is relative starts at the plan file's folder, ``~`` is yours."""


def _repository(value: str) -> str:
    if _ADDRESS.match(value) or value.startswith("hf:"):
        raise ValueError("should be owner/name alone, without https://huggingface.co/ or hf://")
    return value


HubName = Annotated[
    Name,
    AfterValidator(_repository),
    Field(json_schema_extra={"pattern": rf"^(?!{_ADDRESS.pattern})(?!hf:)"}),
]
"""A repository on the Hugging Face hub: owner/name."""

Url = Annotated[str, StringConstraints(pattern=r"^https?://[!-~]+$", max_length=2048)]
"""Address of a server."""

ColumnName = Annotated[str, Field(min_length=1, max_length=128)]


class Located(PlanModel):
    """Something that lies on disk or on the Hugging Face hub."""

    model_config = ConfigDict(json_schema_extra={"anyOf": plan_schema.ONE_PLACE})

    path: PlanPath | None = None
    """File or folder, relative to the plan file."""
    hub: HubName | None = None
    """Repository on the Hugging Face hub; it needs ``revision``."""
    revision: Revision | None = None
    """Commit of that repository, 40 hexadecimal digits."""

    def _without_place(self) -> str | None:
        """Return why this one has no place, or None where it needs one."""
        return None

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.hub is None) != (self.revision is None):
            raise ValueError("hub needs revision, and revision needs hub")
        places = (self.path is not None) + (self.hub is not None)
        reason = self._without_place()
        if reason is not None and places:
            raise ValueError(f"{reason} takes no path, hub or revision")
        if reason is None and places != 1:
            raise ValueError("give either path, or hub with revision")
        return self
