"""A verification as a table for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from safety_receipts.receipts.io.text import printable
from safety_receipts.receipts.model.check import CheckLevel, CheckStatus
from safety_receipts.verify.check_names import CheckName
from safety_receipts.verify.checks import Ending, NotApplicable, VerificationCheck
from safety_receipts.verify.selfcheck.doctor import DiagnosticLine
from safety_receipts.verify.verification import Verification, VerificationVerdict

_GOOD, _BAD = ("✓", "green"), ("✗", "bold red")
_COLOURS = {
    VerificationVerdict.PASSED: "green",
    VerificationVerdict.FAILED: "red",
    VerificationVerdict.INCOMPLETE: "yellow",
}


_TITLES = {CheckLevel.NONE: "for your information", CheckLevel.REPLAYED: "audits"}


def show_verification(console: Console, verification: Verification, *, quiet: bool) -> None:
    """Draw the checks by level, then the verdict.

    Args:
        console: Where to.
        verification: The result.
        quiet: Leave out the checks that passed, and those that do not apply.
    """
    # Checks of no level inform; they come last, after all that decide.
    levels = [level for level in CheckLevel if level is not CheckLevel.NONE]
    for level in (*levels, CheckLevel.NONE):
        shown = [
            check
            for check in verification.checks
            if check.level is level and not (quiet and check.holds)
        ]
        if shown:
            _draw(console, _TITLES.get(level, level.value), shown)
    verdict = verification.verdict
    console.print(
        Text(f"{verdict.value.upper()}: ", style=f"bold {_COLOURS[verdict]}").append(
            _sentence(verification), style="default"
        ),
        soft_wrap=True,
    )


def _draw(console: Console, title: str, checks: list[VerificationCheck]) -> None:
    console.print(Text(title, style="bold"))
    rows = []
    for check in checks:
        mark, style, before = _drawn(check.status)
        rows.append((mark, style, check.name, before + check.detail))
    console.print(_marked(rows))


def _drawn(status: Ending) -> tuple[str, str, str]:
    """Return a check's mark, the style of the mark, and what stands before the detail."""
    match status:
        case CheckStatus.PASSED:
            return (*_GOOD, "")
        case CheckStatus.FAILED:
            return (*_BAD, "")
        case CheckStatus.NOT_CHECKED:
            return "–", "yellow", "not checked: "
        case NotApplicable.NOT_APPLICABLE:
            return "–", "dim", "not applicable: "


def _marked(rows: Iterable[tuple[str, str, str, str]]) -> Table:
    """Return a table of (mark, its style, name, detail)."""
    table = Table.grid(padding=(0, 2))
    table.add_column(width=3, justify="right")
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for mark, style, name, detail in rows:
        table.add_row(Text(mark, style=style), Text(printable(name)), Text(printable(detail)))
    return table


def _sentence(verification: Verification) -> str:
    failed = [check.name for check in verification.checks if check.status is CheckStatus.FAILED]
    match verification.verdict:
        case VerificationVerdict.PASSED:
            return f"{_reached(verification)} (level {verification.level.value})"
        case VerificationVerdict.FAILED:
            return f"do not rely on this receipt; failed: {', '.join(failed)}"
        case VerificationVerdict.INCOMPLETE:
            return (
                f"nothing failed, but level {verification.wanted.value} was not reached "
                f"(reached: {verification.level.value})"
            )


def _reached(verification: Verification) -> str:
    """Return what the level says, of the findings only where some are claimed."""
    claims = not any(
        check.name == CheckName.FINDINGS and check.status is NotApplicable.NOT_APPLICABLE
        for check in verification.checks
    )
    if verification.level is CheckLevel.CONSISTENT and not claims:
        return "a key you trust signed it, and its numbers follow from the evidence"
    return _LADDER_MEANING[verification.level]


_LADDER_MEANING = {
    CheckLevel.NONE: "nothing was asked for",
    CheckLevel.AUTHENTIC: "a key you trust signed this receipt and its plan",
    CheckLevel.CONSISTENT: (
        "a key you trust signed it, and its numbers and findings follow from the evidence"
    ),
    CheckLevel.BOUND: (
        "a key you trust signed it, its numbers follow from the evidence, and prompts and texts "
        "from the artifacts on this disk, which are the ones named"
    ),
}


_GOOD_MARKS = {
    True: _GOOD,
    False: _BAD,
    None: ("·", "dim"),
}


def show_doctor(console: Console, lines: Sequence[DiagnosticLine], *, quiet: bool) -> None:
    """Draw what the doctor saw, by section."""
    for section in dict.fromkeys(line.section for line in lines):
        shown = [line for line in lines if line.section == section]
        if quiet:
            shown = [line for line in shown if line.good is False]
        if not shown:
            continue
        console.print(Text(section, style="bold"))
        rows = ((*_GOOD_MARKS[line.good], line.name, line.detail) for line in shown)
        console.print(_marked(rows))
    bad = sum(line.good is False for line in lines)
    tested = sum(line.section == "self-test" for line in lines)
    if bad:
        said = "1 thing is wrong" if bad == 1 else f"{bad} things are wrong"
        console.print(Text(f"unhealthy: {said}", style="bold red"))
    else:
        console.print(Text(f"healthy: {tested} self-tests passed", style="bold green"))
