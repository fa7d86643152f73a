"""What a receipt says of servers that answered: what was seen, and what is claimed, apart."""

from __future__ import annotations

from enum import StrEnum
from typing import Final, Protocol, TypeVar

from safety_receipts.receipts.model.plan import ServerDialect
from safety_receipts.receipts.model.receipt import (
    Environment,
    Limit,
    ServerAccount,
    ServerClaims,
    ServerProbe,
)
from safety_receipts.receipts.view.numerals import counted

PROBE_WORDS: Final[dict[ServerProbe, str]] = {
    ServerProbe.TOKEN_IDS: "gave the prompts' token ids back",
    ServerProbe.SEEDS: "drew by the seed it was given",
    ServerProbe.NO_PENALTIES: "chose its likeliest tokens when asked to",
    ServerProbe.LENGTH: "wrote as many tokens as asked for",
    ServerProbe.CONTEXT: "took the longest prompt",
}
"""What each trial showed, in words."""


SERVER_LIMITS: Final = (
    Limit.WEIGHTS_CLAIMED,
    Limit.SERVER_DRAWS,
    Limit.NOT_REPEATABLE,
    Limit.JUDGE_WEIGHTS_CLAIMED,
    Limit.JUDGE_NOT_REPEATABLE,
)
"""The limits that speak of servers."""


class ServedWork(StrEnum):
    """What a server is asked for."""

    RESPONSES = "responses"
    """Responses of the model."""
    VERDICTS = "verdicts"
    """Verdicts of the judge."""
    SECOND_VERDICTS = "second_verdicts"
    """Verdicts of the second judge."""


SERVER_NAMES: Final[dict[ServedWork, str]] = {
    ServedWork.RESPONSES: "server",
    ServedWork.VERDICTS: "judge's server",
    ServedWork.SECOND_VERDICTS: "second judge's server",
}
"""What each server is called."""

Server = TypeVar("Server")


class NamedInPlan(Protocol):
    """What a plan says of a server."""

    @property
    def dialect(self) -> ServerDialect:
        """What it speaks."""

    @property
    def model(self) -> str:
        """Name under which it offers the model."""

    @property
    def started(self) -> bool:
        """Whether the tool starts it."""

    @property
    def arguments(self) -> tuple[str, ...]:
        """With which it is started; where somebody else starts it, as the plan claims."""

    @property
    def concurrency(self) -> int:
        """Largest number of requests that it is asked at a time."""


def by_work(
    model: Server | None, judge: Server | None, second: Server | None
) -> list[tuple[ServedWork, Server]]:
    """Return the servers that there are, each with what it is asked for.

    Args:
        model: The model's; None: there is none.
        judge: The judge's, likewise.
        second: The second judge's, likewise.
    """
    named = zip(ServedWork, (model, judge, second), strict=True)
    return [(work, server) for work, server in named if server is not None]


def servers_that_answered(environment: Environment) -> list[tuple[ServedWork, ServerAccount]]:
    """Return what is said of the servers of a run: the model's, and its judges'."""
    return by_work(environment.server, environment.judge_server, environment.second_judge_server)


def server_rows(environment: Environment) -> list[tuple[str, str]]:
    """Return lines on the servers of a run, as name and text: the model's, and its judges'."""
    found = (
        account_rows(SERVER_NAMES[work], account)
        for work, account in servers_that_answered(environment)
    )
    return [row for rows in found for row in rows]


def started_words(*, started: bool) -> str:
    """Return who started a server that answered."""
    if started:
        return "started by the tool on the files listed"
    return "started by somebody else: which weights answered was not seen"


def planned_rows(name: str, server: NamedInPlan, address: str | None) -> list[tuple[str, str]]:
    """Return lines on a server that a plan names, as name and text; only the first has a name.

    Args:
        name: What it is called.
        server: What the plan says of it.
        address: Where it is, which is not sealed; None: the tool starts it.
    """
    asked = f"{server.dialect.value}, at most {counted(server.concurrency, 'request')} at a time"
    arguments = " ".join(server.arguments)
    if server.started:
        rows = [(name, f"{asked}, {started_words(started=True)}, as model {server.model}")]
        return [*rows, ("", f"with {arguments}")] if arguments else rows
    where = "" if address is None else f" at {address}"
    rows = [(name, f"{asked}, started by somebody else{where}, as model {server.model}")]
    return [*rows, ("", f"claimed: arguments {arguments}")] if arguments else rows


def account_rows(name: str, account: ServerAccount) -> list[tuple[str, str]]:
    """Return lines on one server, as name and text; only the first has a name.

    Args:
        name: What it is called.
        account: What is said of it.
    """
    asked = f"{account.dialect.value}, at most {counted(account.concurrency, 'request')} at a time"
    arguments = " ".join(account.arguments)
    claimed = [*_claims(account.claimed)]
    if not account.started and arguments:
        claimed.append(f"arguments {arguments}")
    rows = [(name, f"{asked}, {started_words(started=account.started)}")]
    if account.started and arguments:
        rows.append(("", f"with {arguments}"))
    if claimed:
        rows.append(("", f"claimed: {', '.join(claimed)}"))
    rows.append(("", f"seen: {'; '.join(_seen(account))}"))
    return rows


def _claims(claimed: ServerClaims) -> list[str]:
    context = claimed.context_limit
    told = (
        ("version", claimed.version),
        ("model", claimed.model),
        ("weights", claimed.weights),
        ("context", None if context is None else f"{context:,}"),
    )
    return [f"{name} {value}" for name, value in told if value is not None]


def _seen(account: ServerAccount) -> list[str]:
    seen = account.seen
    return [
        *(PROBE_WORDS[probe] for probe in seen.probes),
        f"{counted(seen.repeated, 'request')} answered twice, {seen.differed:,} otherwise",
        f"{counted(seen.resent, 'request')} sent again",
    ]
