"""What the entries of ``plan.yaml`` are made of: closed models, commits, places."""

from __future__ import annotations

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


def _not_empty(value: Any) -> Any:
    if value == "":
        raise ValueError("is empty")
    return value


PlanPath = Annotated[
    Path,
    BeforeValidator(_not_empty, json_schema_input_type=str),
    Field(json_schema_extra={"minLength": 1}),
]
"""A file or folder; one that is relative starts at the plan file's folder."""

Url = Annotated[str, StringConstraints(pattern=r"^https?://[!-~]+$", max_length=2048)]
"""Address of a server."""

ColumnName = Annotated[str, Field(min_length=1, max_length=128)]


class Located(PlanModel):
    """Something that lies on disk or on the Hugging Face hub."""

    model_config = ConfigDict(json_schema_extra={"anyOf": plan_schema.ONE_PLACE})

    path: PlanPath | None = None
    """File or folder, relative to the plan file."""
    hub: Name | None = None
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
