"""What a policy asks of a server that answered: a model's, or a judge's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from safety_receipts.receipts.model.receipt import ServerAccount
from safety_receipts.receipts.view.numerals import counted

AcceptedServer = Literal["none", "started"]
"""``none``: no server; ``started``: or one that the tool started on the files listed."""


def accepted_words(accepted: AcceptedServer) -> str:
    """Return in words which servers are accepted."""
    return "no server" + (", or one that the tool started" if accepted == "started" else "")


def answering_problems(
    server: ServerAccount | None,
    *,
    accepted: AcceptedServer | None,
    repeatable: bool,
    whose: str = "",
) -> Iterator[str]:
    """Yield what keeps a server from being accepted.

    Args:
        server: What is known of it; None: there is none.
        accepted: Which servers are; None: all.
        repeatable: Whether it must never have given another answer to one request.
        whose: Whose it is, with a blank after it; empty: the model's.
    """
    if server is None:
        return
    if accepted == "none":
        yield f"a {whose}server ({server.dialect.value}) answered"
    elif accepted == "started" and not server.started:
        yield (
            f"a {whose}server answered that somebody else started: its weights are claimed, not "
            "seen"
        )
    if repeatable and not server.seen.repeated:
        yield f"its {whose}server was never asked the same twice"
    if repeatable and server.seen.differed:
        again = counted(server.seen.differed, "request")
        yield f"its {whose}server answered {again} otherwise the second time"
