"""The servers of a plan, and where they are."""

from __future__ import annotations

from dataclasses import dataclass

from safety_receipts.receipts.documents.yaml_file import KeyPath
from safety_receipts.receipts.errors import UsageError
from safety_receipts.receipts.model.checkpoint import CheckpointFile
from safety_receipts.receipts.model.plan import PlannedServer
from safety_receipts.runner.engines.served.client import checked_address
from safety_receipts.runner.engines.served.launch import argument_problem
from safety_receipts.runner.engines.served.options import ServerPlace
from safety_receipts.runner.engines.served.role import ServerRole
from safety_receipts.runner.plan.entries.server import ServerEntry
from safety_receipts.runner.plan.parts.source import PlanSource


@dataclass(frozen=True)
class ServedFolder:
    """The model that a server is to offer."""

    name: str
    """What the plan calls it."""
    files: tuple[CheckpointFile, ...]
    """The files of its folder, hashed."""


def resolve_server(
    source: PlanSource, entry: ServerEntry, role: ServerRole, folder: ServedFolder
) -> PlannedServer | None:
    """Return what is sealed of a server; None: the entry names none.

    Args:
        source: The plan file.
        entry: What it says of the server.
        role: Who asks it.
        folder: Its model.

    Raises:
        MalformedError: Its address is none, an argument may not be given, or the file that it is
            to load is not in the model's folder.
    """
    if entry.dialect is None:
        return None
    at: KeyPath = tuple(role.entry.split("."))
    if entry.url is not None:
        try:
            checked_address(entry.url, role)
        except UsageError as error:
            raise source.error((*at, "url"), error.message, error.hint or "") from None
    if entry.serve is not None:
        problem = argument_problem(entry.dialect, entry.serve.arguments)
        if problem is not None:
            raise source.error(
                (*at, "serve", "arguments"), problem, "start such a server yourself (url)"
            )
        weights = entry.serve.weights
        if weights is not None and weights not in {file.path for file in folder.files}:
            raise source.error(
                (*at, "serve", "weights"),
                f"{weights} is not among the {role.model}'s files",
                f"put it into the {role.model}'s folder, so that the plan lists it",
            )
    return PlannedServer(
        dialect=entry.dialect,
        model=entry.model or folder.name,
        started=entry.serve is not None,
        arguments=entry.claimed_arguments if entry.serve is None else entry.serve.arguments,
        concurrency=entry.concurrency,
    )


def place_of(entry: ServerEntry, role: ServerRole) -> ServerPlace | None:
    """Return where a plan file says that a server is; None: the entry names none."""
    if entry.dialect is None:
        return None
    weights = None if entry.serve is None else entry.serve.weights
    return ServerPlace(entry.url, weights, role=role)
