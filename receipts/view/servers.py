"""What a receipt says of servers that answered: what was seen, and what is claimed, apart."""

from __future__ import annotations

from typing import Final

from safety_receipts.receipts.model.receipt import (
    Environment,
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


def server_rows(environment: Environment) -> list[tuple[str, str]]:
    """Return lines on the servers of a run, as name and text: the model's, and its judges'."""
    named = (
        ("server", environment.server),
        ("judge's server", environment.judge_server),
        ("second judge's server", environment.second_judge_server),
    )
    found = (account_rows(name, account) for name, account in named if account is not None)
    return [row for rows in found for row in rows]


def account_rows(name: str, account: ServerAccount) -> list[tuple[str, str]]:
    """Return lines on one server, as name and text; only the first has a name.

    Args:
        name: What it is called.
        account: What is said of it.
    """
    asked = f"{account.dialect.value}, at most {counted(account.concurrency, 'request')} at a time"
    who = (
        "started by the tool on the files listed"
        if account.started
        else "started by somebody else: which weights answered was not seen"
    )
    arguments = " ".join(account.arguments)
    claimed = [*_claims(account.claimed)]
    if not account.started and arguments:
        claimed.append(f"arguments {arguments}")
    rows = [(name, f"{asked}, {who}")]
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
