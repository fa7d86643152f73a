"""A verification as a table for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.text import Text

from safety_receipts.receipts.present.tables import STYLES, facts_grid, marked_grid, say
from safety_receipts.receipts.view.tables import Group
from safety_receipts.verify.selfcheck.doctor import DiagnosticLine
from safety_receipts.verify.verification import Verification
from safety_receipts.verify.view.verification import (
    check_groups,
    doctor_groups,
    health_of,
    subject_facts,
    verdict_words,
)


def show_verification(console: Console, verification: Verification, *, quiet: bool) -> None:
    """Draw the checks by level, what the receipt says that it is of, and the verdict.

    Args:
        console: Where to.
        verification: The result.
        quiet: Leave out the checks that passed, and those that do not apply, but for audits.
    """
    _draw(console, check_groups(verification, problems_only=quiet))
    facts = subject_facts(verification)
    if facts:
        console.print(Text("what it says it is of", style="bold"))
        console.print(facts_grid(facts, indent="  "))
    verdict = verdict_words(verification)
    say(
        console,
        Text(f"{verdict.word.text}: ", style=f"bold {STYLES[verdict.word.tone]}").append(
            verdict.sentence, style="default"
        ),
    )


def _draw(console: Console, groups: Iterable[Group]) -> None:
    for group in groups:
        console.print(Text(group.title, style="bold"))
        console.print(marked_grid(group.lines))


def show_doctor(console: Console, lines: Sequence[DiagnosticLine], *, quiet: bool) -> None:
    """Draw what the doctor saw, by section."""
    _draw(console, doctor_groups(lines, problems_only=quiet))
    health = health_of(lines)
    style = f"bold {STYLES[health.word.tone]}"
    console.print(Text(f"{health.word.text}: {health.sentence}", style=style))
