"""The document that every command prints with ``--json`` in place of its own where it fails."""

from __future__ import annotations

from typing import Annotated, Literal

from safety_receipts.receipts.view.documents.base import SCHEMA, Document


class ErrorPart(Document):
    """One error."""

    kind: str
    """Which kind of error, in one word for scripts: ``usage``, ``malformed``, ``integrity``."""
    message: str
    """What is wrong, for people; where inside the file, where that is known."""
    file: str | None
    """The file or folder it was found in; null: none."""
    hint: str | None
    """What to do about it; null: nothing is known."""
    exit_code: int
    """The command's exit code."""


class ErrorDocument(Document):
    """What a command says in place of its result where it could not do what it was asked for."""

    document: Annotated[Literal["cli-error/1"], SCHEMA] = "cli-error/1"
    # ReceiptsError.as_json makes it without this model, and tests hold the two together: the error
    # may be that pydantic itself cannot be loaded.

    error: ErrorPart
    """The error."""
