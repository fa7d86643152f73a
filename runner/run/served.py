"""What a run does with servers besides asking them: tries them, counts, and compares answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final

from safety_receipts.receipts.model.point import Reason, RecordedJudgement, RestrictedRecord
from safety_receipts.receipts.model.receipt import Environment, ServerAccount
from safety_receipts.runner.engines.engine import Engine, ServedEngine, Tried
from safety_receipts.runner.engines.served.role import ServerRole
from safety_receipts.runner.judges.judge import (
    Exchange,
    ResponseJudge,
    ServedJudge,
    served_judge,
)
from safety_receipts.runner.run.journal import Journal, JournalEntry, JournalEvent

SERVER_FIELDS: Final = {
    ServerRole.ENGINE: "server",
    ServerRole.JUDGE: "judge_server",
    ServerRole.SECOND_JUDGE: "second_judge_server",
}
"""Where the environment has each server's account."""

JUDGE_SERVERS: Final = tuple(role for role in ServerRole if role.judges)
"""Who asks a server besides the run itself."""


@dataclass(frozen=True)
class ServerEvents:
    """What a journal counts of one server."""

    repeated: JournalEvent
    """Answers that were held against an earlier one."""
    differed: JournalEvent
    """Those that were another."""
    resent: JournalEvent
    """Requests that were sent again."""


SERVER_EVENTS: Final = {
    ServerRole.ENGINE: ServerEvents(
        JournalEvent.REPEATED, JournalEvent.DIFFERED, JournalEvent.RESENT
    ),
    ServerRole.JUDGE: ServerEvents(
        JournalEvent.JUDGE_REPEATED, JournalEvent.JUDGE_DIFFERED, JournalEvent.JUDGE_RESENT
    ),
    ServerRole.SECOND_JUDGE: ServerEvents(
        JournalEvent.SECOND_REPEATED, JournalEvent.SECOND_DIFFERED, JournalEvent.SECOND_RESENT
    ),
}
"""What a journal counts of each."""


@dataclass(frozen=True)
class LongestAsked:
    """The most that servers are asked for at once."""

    prompt: int
    """Tokens of the model's longest prompt."""
    new_tokens: int
    """Most tokens of its responses."""
    exchange: Exchange
    """The longest request, with the least of a response."""

    @classmethod
    def of(cls, prompt: int, new_tokens: int, queries: Sequence[str]) -> LongestAsked:
        """Return it for a plan.

        Args:
            prompt: Tokens of the longest prompt.
            new_tokens: Most tokens of a response.
            queries: What is asked, at least one.
        """
        return cls(prompt, new_tokens, Exchange(max(queries, key=len), "."))


@dataclass(frozen=True)
class RunServers:
    """The servers that are asked; None: of such there is none."""

    engine: ServedEngine | None
    """The model's."""
    judge: ServedJudge | None
    """The judge with its own."""
    second_judge: ServedJudge | None
    """The second judge with its own."""

    @classmethod
    def of(
        cls, engine: Engine | None, judge: ResponseJudge, second_judge: ResponseJudge | None
    ) -> RunServers:
        """Return the servers among what generates and judges."""
        served = engine if isinstance(engine, ServedEngine) else None
        return cls(served, served_judge(judge), served_judge(second_judge))

    def each(self) -> Iterator[tuple[ServerRole, ServedEngine]]:
        """Yield every server with who asks it."""
        if self.engine is not None:
            yield ServerRole.ENGINE, self.engine
        for role, served in self._judges():
            yield role, served.server

    def _judges(self) -> Iterator[tuple[ServerRole, ServedJudge]]:
        for role, served in (
            (ServerRole.JUDGE, self.judge),
            (ServerRole.SECOND_JUDGE, self.second_judge),
        ):
            if served is not None:
                yield role, served

    def preflight(self, longest: LongestAsked) -> dict[ServerRole, Tried]:
        """Try all servers before anything is sealed.

        What is judged is not known yet: a judge's prompt is taken to be as long as its question
        about the longest request, and as many tokens more as a response may have.

        Raises:
            ReceiptsError: One does not answer, or cannot be used.
        """
        tried = {}
        if self.engine is not None:
            tried[ServerRole.ENGINE] = self.engine.preflight(longest.prompt, longest.new_tokens)
        for role, served in self._judges():
            tried[role] = served.preflight(longest.exchange, longest.new_tokens)
        return tried

    def hold_to_claims(self) -> None:
        """Ask all servers again what they say of themselves, before anything is sealed.

        Raises:
            ReceiptsError: One does not answer, or says otherwise than before.
        """
        for _, server in self.each():
            server.hold_to_claims()

    def in_environment(self, environment: Environment) -> Environment:
        """Return an environment with the accounts of the judges' servers, before any count."""
        accounts = {
            SERVER_FIELDS[role]: served.server.identity.server for role, served in self._judges()
        }
        unserved: dict[str, ServerAccount | None] = {
            SERVER_FIELDS[role]: None for role in JUDGE_SERVERS
        }
        return environment.model_copy(update=unserved | accounts)

    def confirm(self) -> None:
        """Make sure of every server that the tool started that it was this one that answered.

        Raises:
            ReceiptsError: One has ended, or another process answers in its place.
        """
        for _, server in self.each():
            server.confirm()

    def take_resent(self, journal: Journal, at: str) -> None:
        """Write how many requests were sent again since this was last done."""
        for role, server in self.each():
            if resent := server.take_resent():
                journal.note(SERVER_EVENTS[role].resent, at, resent)


def note_tried(journal: Journal, tried: Mapping[ServerRole, Tried], at: str) -> None:
    """Write what trying servers, or asking them again, showed."""
    for role, one in tried.items():
        if one.repeated:
            journal.note(SERVER_EVENTS[role].repeated, at, one.repeated)
        if one.differed:
            journal.note(SERVER_EVENTS[role].differed, at, one.differed)


def note_answers(
    journal: Journal, servers: RunServers, again: Sequence[JournalEntry], at: str
) -> None:
    """Write what servers' answers show: what was sent again, and what was answered twice.

    Args:
        journal: Takes it.
        servers: The servers; where there are none nothing is written.
        again: Points that were finished before, with their new answers.
        at: When.
    """
    servers.take_resent(journal, at)
    roles = [role for role, _ in servers.each()]
    if not again or not roles:
        return
    before = journal.records([entry.point.index for entry in again])
    pairs = [(before[entry.point.index], entry.record) for entry in again]
    note_tried(journal, {role: _compared(role, pairs) for role in roles}, at)


def _compared(
    role: ServerRole, pairs: Sequence[tuple[RestrictedRecord, RestrictedRecord]]
) -> Tried:
    """Hold a server's answers to those that it gave before to the same requests."""
    if role is ServerRole.ENGINE:
        alike = [then.response_tokens == now.response_tokens for then, now in pairs]
        return Tried(len(alike), alike.count(False))
    replies = [
        (_reply(role, then), _reply(role, now)) for then, now in pairs if then.text == now.text
    ]
    alike = [then == now for then, now in replies if then is not None and now is not None]
    return Tried(len(alike), alike.count(False))


def _reply(role: ServerRole, record: RestrictedRecord) -> str | None:
    """Return what a judge replied; None: it was not asked, or failed."""
    judgement: RecordedJudgement | None = (
        record.judge if role is ServerRole.JUDGE else record.second_judge
    )
    if judgement is None or judgement.reason is Reason.JUDGE_ERROR:
        return None
    return judgement.raw


def with_counts(
    environment: Environment, journal: Journal, roles: Sequence[ServerRole] = tuple(ServerRole)
) -> Environment:
    """Return an environment with what a journal counted of its servers.

    Args:
        environment: The environment.
        journal: Counted.
        roles: Who asks the servers that it counted of.
    """
    for role in roles:
        events = SERVER_EVENTS[role]
        counts = ServerCounts(
            journal.numbered(events.repeated),
            journal.numbered(events.differed),
            journal.numbered(events.resent),
        )
        environment = counts.of(environment, role)
    return environment


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

    def of(self, environment: Environment, role: ServerRole = ServerRole.ENGINE) -> Environment:
        """Return an environment whose server, if there is one, was seen so."""
        field = SERVER_FIELDS[role]
        account: ServerAccount | None = getattr(environment, field)
        if account is None:
            return environment
        seen = account.seen.model_copy(update=asdict(self))
        return environment.model_copy(update={field: account.model_copy(update={"seen": seen})})
