"""A server, tried for everything that a run relies on: the row of the table in docs/servers.md."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from safety_receipts.receipts.errors import ReceiptsError
from safety_receipts.receipts.model.checkpoint import Dtype
from safety_receipts.receipts.model.plan import PlannedServer
from safety_receipts.receipts.model.receipt import ServerProbe
from safety_receipts.runner.engines.engine import GREEDY
from safety_receipts.runner.engines.served.client import (
    NonsenseError,
    Patience,
    RefusedError,
    ServerClient,
    UnreachableError,
    gone,
)
from safety_receipts.runner.engines.served.dialect import detect, dialect_of
from safety_receipts.runner.engines.served.http_engine import HttpEngine
from safety_receipts.runner.engines.served.options import ServedModel
from safety_receipts.runner.engines.served.preflight import NO_SCORES, Trial
from safety_receipts.runner.engines.served.role import ServerRole

Line = tuple[str, bool | None, str]
"""What was tried; whether it went well, None: neither right nor wrong; what is said of it."""

_VOCABULARY = 2**31
"""More token ids than any model has: how many it has is not known here."""
_PROMPT, _NEW = 64, 16
"""Tokens of the longest prompt, and of responses, that are asked for."""


def try_server(url: str, model: str | None) -> Iterator[Line]:
    """Try a server; nothing is recorded.

    Args:
        url: Its address.
        model: Name under which it offers the model; None: the one that it names first.

    Raises:
        UsageError: The address is none.
    """
    key = os.environ.get(ServerRole.ENGINE.key) or None
    client = ServerClient(url, Patience(attempts=2), key=key)
    asked = "dialect"
    try:
        kind = detect(client)
        dialect = dialect_of(kind)
        asked = "model"
        model = model or dialect.offered(client)
        asked = "end tokens"
        ends = dialect.ends(client)
    except UnreachableError as error:
        yield "connection", False, gone(client, error).message
        return
    except (RefusedError, NonsenseError) as error:
        yield asked, False, _refused(error, asked)
        return
    yield "dialect", True, kind.value
    planned = PlannedServer(dialect=kind, model=model, started=False, arguments=(), concurrency=8)
    known = ServedModel(_VOCABULARY, _VOCABULARY, Dtype.BFLOAT16, ends, GREEDY)
    try:
        engine = HttpEngine(client, planned, known)
    except ReceiptsError as error:
        yield "model", False, error.one_line()
        return
    account = engine.identity.server
    assert account is not None
    claimed = account.claimed
    context = "not stated" if claimed.context_limit is None else f"{claimed.context_limit:,} tokens"
    yield "claims", None, f"version {claimed.version or 'not stated'}, context {context}"
    yield "model", None, f"{model}, loaded from {claimed.weights or 'a place not stated'}"
    trial = engine.trial()
    probes = account.seen.probes

    def tried(name: str, ask: Callable[[], object], good: str) -> Line:
        try:
            engine.before_run(ask)
        except ReceiptsError as error:
            return name, False, error.one_line()
        return name, True, good

    ids = ServerProbe.TOKEN_IDS in probes
    told = "given back as they were sent" if ids else "counted, and not given back"
    yield tried(
        "token ids", lambda: trial.length(_PROMPT, _NEW), f"taken and given; prompts {told}"
    )
    yield tried("penalties", trial.no_penalties, "none that nobody asked for")
    yield tried("seeds", trial.seeds, "one seed, one answer; another seed, another")
    yield _scored(engine, trial, offers=dialect.scores)
    yield _repeatable(engine)


def _refused(error: RefusedError | NonsenseError, asked: str) -> str:
    """Return what is missing where a server does not say what it is."""
    if isinstance(error, NonsenseError):
        return str(error)
    if error.status in (401, 403):
        return (
            f"it answered {error.status}: it wants a key, or another one ({ServerRole.ENGINE.key})"
        )
    return f"it answered {error.status} where servers of its kind name their {asked}"


def _scored(engine: HttpEngine, trial: Trial, *, offers: bool) -> Line:
    """Try whether it scores prompts: what an audit of recorded responses needs, and no run."""
    name = "prompt log-probabilities"
    if not offers:
        return name, None, f"not given: {NO_SCORES}"
    try:
        engine.before_run(lambda: trial.scores(_PROMPT))
    except ReceiptsError as error:
        return name, None, f"not given: {error.message}"
    return name, True, "given"


def _repeatable(engine: HttpEngine) -> Line:
    try:
        found = engine.before_run(engine.trial().repeated)
    except ReceiptsError as error:
        return "repeatable", False, error.one_line()
    said = f"{found.differed} of {found.repeated} greedy answers differ, asked alone and together"
    return "repeatable", None if found.differed else True, said
