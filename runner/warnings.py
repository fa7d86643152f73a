"""What a plan's inputs leave in doubt although it can be run: said before it is, never after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from safety_receipts.receipts.errors import UsageError


@dataclass(frozen=True, slots=True)
class PlanWarning:
    """One thing in doubt."""

    code: str
    """What kind of thing, for scripts."""
    message: str
    """What, in one sentence without a full stop."""
    hint: str
    """What settles it."""

    def one_line(self) -> str:
        """Return the warning as it is printed."""
        return f"warning: {self.message} ({self.hint})"

    def as_json(self) -> dict[str, str]:
        """Return the warning as ``--json`` has it."""
        return {"code": self.code, "message": self.message, "hint": self.hint}


def refuse_warnings(warnings: Sequence[PlanWarning], file: Path) -> None:
    """Refuse a plan of which anything is in doubt, as ``--strict`` asks.

    Raises:
        UsageError: With the first warning and how many there are.
    """
    if warnings:
        more = f" (the first of {len(warnings)} warnings)" if len(warnings) > 1 else ""
        raise UsageError(f"--strict: {warnings[0].message}{more}", file=file, hint=warnings[0].hint)
