"""A verification, and what the doctor saw, as lines by level and a conclusion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from safety_receipts.receipts.model.check import CheckLevel, CheckStatus
from safety_receipts.receipts.view.tables import Conclusion, Group, MarkedLine, Tone, Words
from safety_receipts.verify.check_names import CheckName
from safety_receipts.verify.checks import NotApplicable, VerificationCheck
from safety_receipts.verify.selfcheck.doctor import DiagnosticLine
from safety_receipts.verify.verification import Verification, VerificationVerdict

_GOOD: Final = Words("✓", Tone.GOOD)
_BAD: Final = Words("✗", Tone.BAD)
_TONES: Final = {
    VerificationVerdict.PASSED: Tone.GOOD,
    VerificationVerdict.FAILED: Tone.BAD,
    VerificationVerdict.INCOMPLETE: Tone.DOUBTFUL,
}
_TITLES: Final = {CheckLevel.NONE: "for your information", CheckLevel.REPLAYED: "audits"}


def check_groups(verification: Verification, *, problems_only: bool) -> list[Group]:
    """Return the checks by level; those of no level inform, and come last.

    Args:
        verification: The result.
        problems_only: Leave out the checks that passed, and those that do not apply.
    """
    levels = [level for level in CheckLevel if level is not CheckLevel.NONE]
    groups = []
    for level in (*levels, CheckLevel.NONE):
        shown = [
            check_line(check)
            for check in verification.checks
            if check.level is level and not (problems_only and check.holds)
        ]
        if shown:
            groups.append(Group(_TITLES.get(level, level.value), tuple(shown)))
    return groups


def check_line(check: VerificationCheck) -> MarkedLine:
    """Return one check."""
    match check.status:
        case CheckStatus.PASSED:
            return MarkedLine(_GOOD, check.name, check.detail)
        case CheckStatus.FAILED:
            return MarkedLine(_BAD, check.name, check.detail)
        case CheckStatus.NOT_CHECKED:
            mark = Words("–", Tone.DOUBTFUL)
            return MarkedLine(mark, check.name, f"not checked: {check.detail}")
        case NotApplicable.NOT_APPLICABLE:
            mark = Words("–", Tone.FAINT)
            return MarkedLine(mark, check.name, f"not applicable: {check.detail}")


def verdict_words(verification: Verification) -> Conclusion:
    """Return the verdict, and what it means."""
    verdict = verification.verdict
    word = Words(verdict.value.upper(), _TONES[verdict])
    return Conclusion(word, _sentence(verification))


def _sentence(verification: Verification) -> str:
    match verification.verdict:
        case VerificationVerdict.PASSED:
            return f"{_reached(verification)} (level {verification.level.value})"
        case VerificationVerdict.FAILED:
            names = ", ".join(check.name for check in verification.failed)
            return f"do not rely on this receipt; failed: {names}"
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


_LADDER_MEANING: Final = {
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


_HEALTH: Final = {True: _GOOD, False: _BAD, None: Words("·", Tone.FAINT)}


def doctor_groups(lines: Sequence[DiagnosticLine], *, problems_only: bool) -> list[Group]:
    """Return what the doctor saw, by section.

    Args:
        lines: What it saw.
        problems_only: Leave out all that is not wrong.
    """
    groups = []
    for section in dict.fromkeys(line.section for line in lines):
        shown = tuple(
            MarkedLine(_HEALTH[line.good], line.name, line.detail)
            for line in lines
            if line.section == section and (line.good is False or not problems_only)
        )
        if shown:
            groups.append(Group(section, shown))
    return groups


def health_of(lines: Sequence[DiagnosticLine]) -> Conclusion:
    """Return whether anything is wrong."""
    bad = sum(line.good is False for line in lines)
    tested = sum(line.section == "self-test" for line in lines)
    if bad:
        said = "1 thing is wrong" if bad == 1 else f"{bad} things are wrong"
        return Conclusion(Words("unhealthy", Tone.BAD), said)
    return Conclusion(Words("healthy", Tone.GOOD), f"{tested} self-tests passed")
