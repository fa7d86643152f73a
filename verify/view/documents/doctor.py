"""What ``receipts doctor --json`` prints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from safety_receipts.receipts.view.documents.base import SCHEMA, Document
from safety_receipts.verify.selfcheck.doctor import DiagnosticLine


class DoctorLine(Document):
    """One thing that was looked at."""

    section: str
    """What it belongs to."""
    name: str
    """What was looked at."""
    detail: str
    """What was seen."""
    good: bool | None
    """Whether that is as it should be; null: it is neither good nor bad."""


class DoctorDocument(Document):
    """Versions, devices, and what a self-test found."""

    document: Annotated[Literal["cli-doctor/1"], SCHEMA] = "cli-doctor/1"
    healthy: bool
    """Whether nothing is wrong."""
    lines: tuple[DoctorLine, ...]
    """Everything that was looked at."""


def doctor_document(lines: Sequence[DiagnosticLine]) -> DoctorDocument:
    """Return what the doctor saw."""
    return DoctorDocument(
        healthy=not any(line.good is False for line in lines),
        lines=tuple(
            DoctorLine(section=line.section, name=line.name, detail=line.detail, good=line.good)
            for line in lines
        ),
    )
