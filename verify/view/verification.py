"""A verification, and what the doctor saw, as lines by level and a conclusion."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from safety_receipts.receipts.model.check import CheckLevel, CheckStatus
from safety_receipts.receipts.view.names import presentable
from safety_receipts.receipts.view.numerals import NOTHING, percent
from safety_receipts.receipts.view.servers import SERVER_NAMES, started_words
from safety_receipts.receipts.view.tables import (
    Conclusion,
    Fact,
    Group,
    MarkedLine,
    Tone,
    Words,
)
from safety_receipts.verify.check_names import CheckName
from safety_receipts.verify.checks import NotApplicable, VerificationCheck
from safety_receipts.verify.selfcheck.doctor import DiagnosticLine
from safety_receipts.verify.subject import ReceiptSubject, StatedRate
from safety_receipts.verify.verification import Verification, VerificationVerdict

_GOOD: Final = Words("✓", Tone.GOOD)
_BAD: Final = Words("✗", Tone.BAD)
_TONES: Final = {
    VerificationVerdict.PASSED: Tone.GOOD,
    VerificationVerdict.FAILED: Tone.BAD,
    VerificationVerdict.INCOMPLETE: Tone.DOUBTFUL,
}
_OF_NONE: Final = " (TEST INSTRUMENT, no real model)"
_ASKED: Final = "what you asked for"
_TITLES: Final = {CheckLevel.NONE: "for your information", CheckLevel.REPLAYED: "audits"}


def check_groups(verification: Verification, *, problems_only: bool) -> list[Group]:
    """Return the checks by level; those of no level inform, and come last.

    Args:
        verification: The result.
        problems_only: Leave out the checks that passed, and those that do not apply; audits stay,
            as what they confirm is no formality, and the verdict says nothing of it.
    """
    levels = [level for level in CheckLevel if level is not CheckLevel.NONE]
    groups = []
    for level in (*levels, CheckLevel.NONE):
        mine = [one for one in verification.checks if one.level is level]
        asked = [one for one in mine if one.is_expectation]
        others = [one for one in mine if not one.is_expectation]
        for title, made in ((_TITLES.get(level, level.value), others), (_ASKED, asked)):
            shorter = problems_only and level is not CheckLevel.REPLAYED
            lines = tuple(check_line(one) for one in made if not (shorter and one.holds))
            if lines:
                groups.append(Group(title, lines))
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


def subject_facts(verification: Verification) -> list[Fact]:
    """Return what a receipt says that it is of; nothing where none could be read.

    Rates of a receipt that does not hold are left out: they would be read and remembered.
    """
    subject = verification.subject
    if subject is None:
        return []
    rates = (
        ("baseline", _rate(subject.baseline)),
        ("highest", "none" if subject.highest is None else _rate(subject.highest)),
    )
    shown = (
        ("evaluation", NOTHING if subject.name is None else presentable(subject.name)),
        ("checkpoint", presentable(subject.checkpoint) + (_OF_NONE if subject.instrument else "")),
        ("", f"root {subject.root}"),
        ("stage", _stage(subject)),
        ("judge", f"{presentable(subject.judge)} ({subject.judge_kind.value})"),
        *_servers(subject),
        *(() if verification.broken else rates),
        ("event", f"{presentable(subject.event)}, {subject.points:,} points"),
        ("plan", subject.plan),
    )
    return [Fact.of(name, text) for name, text in shown]


def _servers(subject: ReceiptSubject) -> Iterator[tuple[str, str]]:
    """Yield who answered, where a server did."""
    for one in subject.servers:
        said = f"{one.dialect.value}, {started_words(started=one.started)}"
        yield SERVER_NAMES[one.asked_for], said


def _stage(subject: ReceiptSubject) -> str:
    quantised = "" if subject.quantisation is None else f", {presentable(subject.quantisation)}"
    return f"{presentable(subject.stage)}, {subject.dtype.value}{quantised}"


def _rate(rate: StatedRate) -> str:
    return f"{presentable(rate.condition)}: {percent(rate.rate)} % compliance"


def verdict_words(verification: Verification) -> Conclusion:
    """Return the verdict, and what it means."""
    verdict = verification.verdict
    refused = bool(verification.unmet) and not verification.broken
    word = Words("REFUSED" if refused else verdict.value.upper(), _TONES[verdict])
    return Conclusion(word, _sentence(verification))


def _sentence(verification: Verification) -> str:
    match verification.verdict:
        case VerificationVerdict.PASSED:
            said = f"{_reached(verification)} (level {verification.level.value})"
            return said + "".join(_reservations(verification))
        case VerificationVerdict.FAILED if not verification.broken:
            return _refused(verification)
        case VerificationVerdict.FAILED:
            names = ", ".join(check.name for check in verification.failed)
            return f"do not rely on this receipt; failed: {names}"
        case VerificationVerdict.INCOMPLETE:
            return f"nothing failed, but {_unreached(verification)}"


def _reservations(verification: Verification) -> Iterator[str]:
    """Yield what a reader of the last line alone must know."""
    if verification.responses_unopened:
        yield "; the responses beside it were not opened"
    if verification.subject is not None and verification.subject.instrument:
        yield "; TEST INSTRUMENT: its numbers say nothing about any real model"


def _refused(verification: Verification) -> str:
    why = "; ".join(check.detail for check in verification.unmet)
    if verification.reached:
        return f"no check of the bundle failed, and it is not what you asked for: {why}"
    return f"it is not what you asked for: {why}; and {_unreached(verification)}"


def _unreached(verification: Verification) -> str:
    """Return which level was not reached, and the reason where nothing at all is vouched for."""
    wanted, level = verification.wanted.value, verification.level.value
    said = f"level {wanted} was not reached (reached: {level})"
    for check in verification.checks:
        if check.level is CheckLevel.AUTHENTIC and check.status is CheckStatus.NOT_CHECKED:
            return f"{said}: {check.detail}"
    return said


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
        "of the points looked at from the artifacts on this disk, which are the ones named"
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
    said = f"{tested} self-tests passed" if tested else "nothing is wrong"
    return Conclusion(Words("healthy", Tone.GOOD), said)
