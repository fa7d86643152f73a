"""The server of a plan, and where it is."""

from __future__ import annotations

from safety_receipts.receipts.errors import UsageError
from safety_receipts.receipts.model.checkpoint import Checkpoint
from safety_receipts.receipts.model.plan import PlannedServer, asks_server
from safety_receipts.runner.engines.served.client import checked_address
from safety_receipts.runner.engines.served.launch import argument_problem
from safety_receipts.runner.engines.served.options import ServerPlace
from safety_receipts.runner.plan.parts.source import PlanSource


def resolve_server(source: PlanSource, checkpoint: Checkpoint) -> PlannedServer | None:
    """Return what is sealed of the server; None: the engine is none.

    Raises:
        MalformedError: Its address is none, an argument may not be given, or the file that it is
            to load is not in the checkpoint's folder.
    """
    entry = source.entries.engine
    if entry.dialect is None:
        return None
    if entry.url is not None:
        try:
            checked_address(entry.url)
        except UsageError as error:
            raise source.error(("engine", "url"), error.message, error.hint or "") from None
    if entry.serve is not None:
        problem = argument_problem(entry.dialect, entry.serve.arguments)
        if problem is not None:
            raise source.error(
                ("engine", "serve", "arguments"), problem, "start such a server yourself (url)"
            )
        weights = entry.serve.weights
        if weights is not None and weights not in {file.path for file in checkpoint.files}:
            raise source.error(
                ("engine", "serve", "weights"),
                f"{weights} is not among the checkpoint's files",
                "put it into the checkpoint's folder, so that the plan lists it",
            )
    return PlannedServer(
        dialect=entry.dialect,
        model=entry.model or checkpoint.name,
        started=entry.serve is not None,
        arguments=entry.claimed_arguments if entry.serve is None else entry.serve.arguments,
        concurrency=entry.concurrency,
    )


def place_of(source: PlanSource) -> ServerPlace | None:
    """Return where the plan file says that the server is; None: it names none."""
    entry = source.entries.engine
    if not asks_server(entry.kind):
        return None
    return ServerPlace(entry.url, None if entry.serve is None else entry.serve.weights)
