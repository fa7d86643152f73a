"""Checks are collected here, by name and level, in the order they are made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, TypeAlias

from safety_receipts.receipts.io.text import printable
from safety_receipts.receipts.model.check import Check, CheckLevel, CheckStatus
from safety_receipts.verify.check_names import CheckName

_MAX_NAME = 64
EXPECTATIONS: Final = frozenset(
    (CheckName.EXPECTED_CHECKPOINT, CheckName.EXPECTED_STAGE, CheckName.INSTRUMENT)
)
"""Checks of what a reader expects: what fails these alone may be true, of another model."""
MAX_DETAIL = 400
"""Longest detail of a check."""


class NotApplicable(StrEnum):
    """How a check of offline verification ends besides.

    No sealed document says so: their schema, which older versions hold them to, knows the members
    of :class:`CheckStatus` alone.
    """

    NOT_APPLICABLE = "not_applicable"
    """There was nothing to check, and the detail says why."""


Ending: TypeAlias = CheckStatus | NotApplicable
"""How a check ended."""


@dataclass(frozen=True)
class VerificationCheck:
    """One named check of offline verification."""

    name: str
    """What was checked: a :class:`CheckName`, and of which thing, where there are several."""
    level: CheckLevel
    """The level it belongs to."""
    status: Ending
    """How it ended."""
    detail: str
    """What was found, why it was not checked, or why there was nothing to check."""

    @property
    def holds(self) -> bool:
        """Whether it lets its level be reached: it passed, or there was nothing to check."""
        return self.status in (CheckStatus.PASSED, NotApplicable.NOT_APPLICABLE)

    @property
    def is_expectation(self) -> bool:
        """Whether it is of what a reader expects, and not of whether the receipt holds."""
        return self.name in EXPECTATIONS

    def sealed(self) -> Check | None:
        """Return the check as an audit's statement has it; None: it says nothing of it.

        A check that does not apply holds no level back, which the statement can only call
        ``passed``; the detail says why.  At no level there is nothing to hold back.
        """
        status = self.status
        if isinstance(status, NotApplicable):
            if self.level is CheckLevel.NONE:
                return None
            status = CheckStatus.PASSED
        return Check(name=self.name, level=self.level, status=status, detail=self.detail)


@dataclass
class CheckList:
    """Collects the checks of verification in the order they are made.

    The level of a check is the one of its name.
    """

    checks: list[VerificationCheck] = field(default_factory=list)

    def add(
        self,
        name: CheckName,
        status: Ending,
        detail: str,
        *,
        about: str | None = None,
    ) -> bool:
        """Add a check and say whether it passed.

        Names and details may quote a hostile file, so they are made printable and bounded.

        Args:
            name: What was checked.
            status: How it ended.
            detail: What was found.
            about: Of which thing, where there are several.

        Raises:
            ValueError: Not verification makes this check, but an audit's statement.
        """
        called = name.value if about is None else f"{name.value} {about}"
        made = VerificationCheck(
            name=printable(called, _MAX_NAME),
            level=name.level(),
            status=status,
            detail=printable(detail, MAX_DETAIL),
        )
        self.checks.append(made)
        return status is CheckStatus.PASSED

    def decide(
        self,
        name: CheckName,
        problem: str | None,
        good: str = "",
        *,
        about: str | None = None,
    ) -> bool:
        """Add a check that failed for ``problem``, or passed when there is none."""
        if problem is not None:
            return self.add(name, CheckStatus.FAILED, problem, about=about)
        return self.add(name, CheckStatus.PASSED, good, about=about)

    def skip(
        self,
        name: CheckName,
        why: str,
        *,
        about: str | None = None,
    ) -> bool:
        """Add a check that was not made."""
        return self.add(name, CheckStatus.NOT_CHECKED, why, about=about)

    def spare(self, name: CheckName, why: str) -> bool:
        """Add a check for which there is nothing to check."""
        return self.add(name, NotApplicable.NOT_APPLICABLE, why)


def first_problem(problems: Iterator[str] | Sequence[str]) -> str | None:
    """Return the first problem and how many more there are, or None."""
    found = list(problems)
    if not found:
        return None
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return found[0] + more
