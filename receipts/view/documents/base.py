"""What all documents that commands print share: what they are made of, and their schemas."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from safety_receipts import schemas
from safety_receipts.receipts.canonical import MAX_SAFE_INTEGER
from safety_receipts.receipts.documents.generate_schemas import member_meanings, schema_of
from safety_receipts.receipts.io.files import atomic_write
from safety_receipts.receipts.model.base import Count, WireModel


class Document(WireModel):
    """Base of what a command prints with ``--json``, and of its parts; none of it is sealed."""

    # Built where it is printed: most commands print none of those that they import.
    model_config = ConfigDict(defer_build=True)


def _written(total: Any) -> Any:
    return min(total, MAX_SAFE_INTEGER) if isinstance(total, int) else total


Total = Annotated[Count, BeforeValidator(_written)]
"""A sum of counts that somebody sealed.  Each may be near 2^53 in a statement that contradicts
itself; a larger sum is written as the largest number that every JSON reader holds."""


SCHEMA: Final = Field(
    alias="schema",
    description="Name and version of the schema that this document follows: `cli-verify/1`.",
)
"""The first field of every document: by it a script knows what it reads."""


PROMISE = (
    "Printed by `receipts {command} --json`.  Within a version fields may be added; none is "
    "removed or changed."
)
"""What the schema of a printed document says of it, after what the document is."""


@dataclass(frozen=True)
class Printed:
    """One document that a command prints."""

    model: type[BaseModel]
    """What it is made of."""
    command: str
    """What prints it, after ``receipts``: ``audit --dry-run``."""


@dataclass(frozen=True)
class CommandSchemas:
    """The schemas of the documents that one room's commands print.

    A room has its own, as imports go one way.
    """

    documents: Mapping[str, Printed]
    """Name of the schema → its document; all are of version 1."""
    sources: tuple[ModuleType, ...] = ()
    """Modules of enums beside those of the wire models: schemas tell what their members mean."""

    def generate(self, name: str) -> dict[str, Any]:
        """Return the JSON Schema (draft 2020-12) of the document called ``name``."""
        printed = self.documents[name]
        schema = schema_of(printed.model, name, 1, member_meanings(self.sources))
        # Whoever makes a document need not name its schema; whoever reads one finds it named.
        schema["required"] = ["schema", *schema.get("required", [])]
        schema["title"] = f"What `receipts {printed.command} --json` prints"
        promise = PROMISE.format(command=printed.command)
        schema["description"] = f"{schema['description']}\n\n{promise}"
        return schema

    def serialise(self, name: str) -> bytes:
        """Return the bytes of the schema's file."""
        return json.dumps(self.generate(name), indent=2, ensure_ascii=False).encode() + b"\n"

    def write(self) -> None:
        """Write all schemas into the source tree."""
        folder = Path(schemas.__file__).parent
        for name in self.documents:
            atomic_write(folder / schemas.file_name(name, 1), self.serialise(name))
