"""What a run does with a server besides asking it: tries it, counts, and holds answers together."""

from __future__ import annotations

from collections.abc import Sequence

from safety_receipts.receipts.model.receipt import Environment
from safety_receipts.runner.engines.engine import Engine, ServedEngine, Tried
from safety_receipts.runner.run.journal import Journal, JournalEntry, JournalEvent


def preflight(engine: Engine, longest: int, new_tokens: int) -> Tried | None:
    """Try a server before anything is sealed; None: the engine is none.

    Args:
        engine: The engine.
        longest: Tokens of the longest prompt.
        new_tokens: Most tokens of a response.

    Raises:
        ReceiptsError: It does not answer, or cannot be used.
    """
    if not isinstance(engine, ServedEngine):
        return None
    return engine.preflight(longest, new_tokens)


def note_tried(journal: Journal, tried: Tried, at: str) -> None:
    """Write what trying a server showed."""
    journal.note(JournalEvent.REPEATED, at, tried.repeated)
    if tried.differed:
        journal.note(JournalEvent.DIFFERED, at, tried.differed)


def note_answers(journal: Journal, engine: Engine, again: Sequence[JournalEntry], at: str) -> None:
    """Write what a server's answers show: what was sent again, and what was answered twice.

    Args:
        journal: Takes it.
        engine: The engine; of one that is no server nothing is written.
        again: Points that were finished before, with their new answers.
        at: When.
    """
    if not isinstance(engine, ServedEngine):
        return
    resent = engine.take_resent()
    if resent:
        journal.note(JournalEvent.RESENT, at, resent)
    if again:
        before = journal.responses([entry.point.index for entry in again])
        differed = sum(before[e.point.index] != e.record.response_tokens for e in again)
        note_tried(journal, Tried(len(again), differed), at)


def with_counts(environment: Environment, journal: Journal) -> Environment:
    """Return an environment with what a run's journal counted of its server."""
    account = environment.server
    if account is None:
        return environment
    seen = account.seen.model_copy(
        update={
            "repeated": journal.numbered(JournalEvent.REPEATED),
            "differed": journal.numbered(JournalEvent.DIFFERED),
            "resent": journal.numbered(JournalEvent.RESENT),
        }
    )
    server = account.model_copy(update={"seen": seen})
    return environment.model_copy(update={"server": server})
