"""What a run does with a server besides asking it: tries it, counts, and holds answers together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

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
    counts = ServerCounts(
        journal.numbered(JournalEvent.REPEATED),
        journal.numbered(JournalEvent.DIFFERED),
        journal.numbered(JournalEvent.RESENT),
    )
    return counts.of(environment)


@dataclass(frozen=True)
class ServerCounts:
    """What was counted of a server while it was asked."""

    repeated: int = 0
    """Requests that were answered twice."""
    differed: int = 0
    """Of them, those whose answers were two."""
    resent: int = 0
    """Requests that were sent again."""

    def __add__(self, other: ServerCounts) -> ServerCounts:
        return ServerCounts(
            self.repeated + other.repeated,
            self.differed + other.differed,
            self.resent + other.resent,
        )

    def of(self, environment: Environment) -> Environment:
        """Return an environment whose server, if there is one, was seen so."""
        account = environment.server
        if account is None:
            return environment
        seen = account.seen.model_copy(update=asdict(self))
        server = account.model_copy(update={"seen": seen})
        return environment.model_copy(update={"server": server})
