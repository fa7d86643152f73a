"""What a gate found, as a table, remarks and a conclusion."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from safety_receipts.receipts.io.text import printable
from safety_receipts.receipts.model.check import CheckLevel
from safety_receipts.receipts.view.tables import (
    Column,
    ColumnKind,
    Conclusion,
    Row,
    Table,
    Tone,
    Words,
)
from safety_receipts.verify.gate.gating import GateResult, GateVerdict, RuleResult
from safety_receipts.verify.gate.kinds import RuleStatus
from safety_receipts.verify.gate.policy import Waiver

RULE_MARKS: Final = {
    RuleStatus.PASSED: Words("✓", Tone.GOOD),
    RuleStatus.FAILED: Words("✗", Tone.BAD),
    RuleStatus.WAIVED: Words("! WAIVED", Tone.ALARM),
}
"""How each status is marked."""
_LONGEST_WAIVER: Final = 1000
"""Longest text of a waiver: its reason and its name are one line each."""
_TONES: Final = {
    GateVerdict.ADMITTED: Tone.GOOD,
    GateVerdict.REFUSED: Tone.BAD,
    GateVerdict.FAILED: Tone.BAD,
    GateVerdict.INCOMPLETE: Tone.DOUBTFUL,
}


def waiver_lines(result: GateResult) -> list[str]:
    """Return what waivers accept, and which do not count any more: the first thing to be read."""
    lines = [
        f"WAIVED: {rule.name}: {_waiver_words(rule.waiver)}"
        for rule in result.rules
        if rule.waiver is not None
    ]
    lines += [
        f"expired waiver, which does not count: {rule.name}: {_waiver_words(waiver)}"
        for rule in result.rules
        for waiver in rule.expired
    ]
    return lines


def _waiver_words(waiver: Waiver) -> str:
    return printable(f"{waiver.reason} (by {waiver.who}, until {waiver.until})", _LONGEST_WAIVER)


def rule_table(result: GateResult, *, problems_only: bool) -> Table:
    """Return the rules: how each ended, what was asked, what was found, where that comes from.

    Args:
        result: What became of a receipt.
        problems_only: Leave out the rules that passed.
    """
    columns = (
        Column(""),
        Column("rule"),
        Column("asked", ColumnKind.TEXT),
        Column("found", ColumnKind.TEXT),
        Column("where from", ColumnKind.TEXT),
    )
    # Waived ones first: whoever reads on from the top has seen them.
    order = (RuleStatus.WAIVED, RuleStatus.FAILED, RuleStatus.PASSED)
    shown = [
        rule
        for rule in sorted(result.rules, key=lambda one: order.index(one.status))
        if not (problems_only and rule.status is RuleStatus.PASSED)
    ]
    return Table("", columns, tuple(map(_row, shown)))


def _row(rule: RuleResult) -> Row:
    name = f"{rule.name} (implied)" if rule.implied else rule.name
    return Row((RULE_MARKS[rule.status], name, rule.asked, rule.found, rule.source))


def gate_title(result: GateResult) -> str:
    """Return which receipt it is."""
    digest = result.verification.receipt_digest
    return f"{printable(str(result.bundle))}, receipt {digest[:16] + '…' if digest else 'unread'}"


def broken_lines(result: GateResult) -> Iterator[str]:
    """Yield the checks of verification that failed, or what nobody could check."""
    verification = result.verification
    if result.verdict is GateVerdict.FAILED:
        for check in verification.failed:
            yield f"{check.name}: {check.detail}"
    elif result.verdict is GateVerdict.INCOMPLETE:
        for check in verification.checks:
            if not check.holds and check.level is CheckLevel.AUTHENTIC:
                yield f"{check.name}: not checked: {check.detail}"


def gate_conclusion(result: GateResult) -> Conclusion:
    """Return what follows of one receipt."""
    verdict = result.verdict
    return Conclusion(Words(verdict.value.upper(), _TONES[verdict]), _SENTENCES[verdict](result))


def _refused(result: GateResult) -> str:
    names = [rule.name for rule in result.rules if rule.status is RuleStatus.FAILED]
    return f"{len(names):,} of {len(result.rules):,} rules do not hold: {', '.join(names)}"


def _admitted(result: GateResult) -> str:
    waived = [rule.name for rule in result.rules if rule.status is RuleStatus.WAIVED]
    held = f"{len(result.rules) - len(waived):,} of {len(result.rules):,} rules hold"
    return f"{held}; WAIVED: {', '.join(waived)}" if waived else held


def _failed(result: GateResult) -> str:
    names = ", ".join(check.name for check in result.verification.failed)
    return f"do not rely on this receipt; failed: {names}"


def _incomplete(result: GateResult) -> str:
    return "no key that you trust is known to have signed this receipt and its plan (--trust)"


_SENTENCES: Final = {
    GateVerdict.ADMITTED: _admitted,
    GateVerdict.REFUSED: _refused,
    GateVerdict.FAILED: _failed,
    GateVerdict.INCOMPLETE: _incomplete,
}


def overall(results: Sequence[GateResult]) -> str | None:
    """Return what follows of several receipts; None: there is one."""
    if len(results) == 1:
        return None
    admitted = sum(result.verdict is GateVerdict.ADMITTED for result in results)
    return f"{admitted:,} of {len(results):,} receipts are admitted"
