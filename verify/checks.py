"""Checks are collected here, by name and level, in the order they are made."""

from __future__ import annotations

from dataclasses import dataclass, field

from safety_receipts.receipts.io.text import printable
from safety_receipts.receipts.model.check import Check, CheckLevel, CheckStatus

_MAX_NAME = 64
MAX_DETAIL = 400
"""Longest detail of a check."""


@dataclass
class CheckList:
    """Collects checks in the order they are made."""

    checks: list[Check] = field(default_factory=list)

    def add(self, level: CheckLevel, name: str, status: CheckStatus, detail: str) -> bool:
        """Add a check and say whether it passed.

        Names and details may quote a hostile file, so they are made printable and bounded.
        """
        self.checks.append(
            Check(
                name=printable(name, _MAX_NAME),
                level=level,
                status=status,
                detail=printable(detail, MAX_DETAIL),
            )
        )
        return status is CheckStatus.PASSED

    def decide(self, level: CheckLevel, name: str, problem: str | None, good: str = "") -> bool:
        """Add a check that failed for ``problem``, or passed when there is none."""
        if problem is not None:
            return self.add(level, name, CheckStatus.FAILED, problem)
        return self.add(level, name, CheckStatus.PASSED, good)

    def skip(self, level: CheckLevel, name: str, why: str) -> bool:
        """Add a check that was not made."""
        return self.add(level, name, CheckStatus.NOT_CHECKED, why)
