"""The servers of a plan, and where they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from safety_receipts.receipts.documents.yaml_file import KeyPath
from safety_receipts.receipts.errors import UsageError
from safety_receipts.receipts.model.checkpoint import CheckpointFile, Dtype
from safety_receipts.receipts.model.plan import PlannedServer
from safety_receipts.runner.checkpoint.gguf_header import gguf_problem
from safety_receipts.runner.engines.served.client import checked_address
from safety_receipts.runner.engines.served.options import ServerPlace
from safety_receipts.runner.engines.served.role import ServerRole
from safety_receipts.runner.engines.served.started.arguments import (
    argument_problem,
    secret_problem,
)
from safety_receipts.runner.plan.entries.server import ServeEntry, ServerEntry
from safety_receipts.runner.plan.parts.source import PlanSource


@dataclass(frozen=True)
class ServedFolder:
    """The model that a server is to offer."""

    name: str
    """What the plan calls it."""
    files: tuple[CheckpointFile, ...]
    """The files of its folder, hashed."""
    folder: Path
    """That folder."""
    dtype: Callable[[], Dtype]
    """Returns the number format in which it is to run."""


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
        MalformedError: Its address is none, an argument may not be given or could hold a secret,
            or the file that it is to load is not in the model's folder, or not in its number
            format.
        FileAccessError: That file cannot be read.
    """
    if entry.dialect is None:
        return None
    at: KeyPath = tuple(role.entry.split("."))
    if entry.url is not None:
        try:
            checked_address(entry.url, role)
        except UsageError as error:
            raise source.error((*at, "url"), error.message, error.hint or "") from None
        _refuse_secrets(source, (*at, "claimed_arguments"), entry.claimed_arguments, role)
    if entry.serve is not None:
        _refuse_secrets(source, (*at, "serve", "arguments"), entry.serve.arguments, role)
        problem = argument_problem(entry.dialect, entry.serve.arguments)
        if problem is not None:
            raise source.error(
                (*at, "serve", "arguments"), problem, "start such a server yourself (url)"
            )
        _hold_weights(source, (*at, "serve", "weights"), entry.serve, role, folder)
    return PlannedServer(
        dialect=entry.dialect,
        model=entry.model or folder.name,
        started=entry.serve is not None,
        arguments=entry.claimed_arguments if entry.serve is None else entry.serve.arguments,
        concurrency=entry.concurrency,
        weights=None if entry.serve is None else entry.serve.weights,
    )


def _refuse_secrets(
    source: PlanSource, at: KeyPath, arguments: tuple[str, ...], role: ServerRole
) -> None:
    problem = secret_problem(arguments)
    if problem is not None:
        raise source.error(
            at, problem, f"leave it out, and give a key in the environment variable {role.key}"
        )


def _hold_weights(
    source: PlanSource, at: KeyPath, serve: ServeEntry, role: ServerRole, folder: ServedFolder
) -> None:
    """Hold the file that a server is to load to the model's folder and number format."""
    if serve.weights is None:
        return
    if serve.weights not in {file.path for file in folder.files}:
        raise source.error(
            at,
            f"{serve.weights} is not among the {role.model}'s files",
            f"put it into the {role.model}'s folder, so that the plan lists it",
        )
    dtype = folder.dtype()
    problem = gguf_problem(folder.folder / serve.weights, dtype)
    if problem is not None:
        raise source.error(
            at,
            f"{serve.weights} cannot stand for the {role.model} in {dtype.value}: {problem}",
            f"convert the {role.model} with --outtype {_OUTTYPES[dtype]}, or start such a server "
            "yourself and name its url: its weights are then claimed",
        )


_OUTTYPES: Final = {Dtype.FLOAT32: "f32", Dtype.FLOAT16: "f16", Dtype.BFLOAT16: "bf16"}
"""What llama.cpp's converter calls a number format."""


def place_of(entry: ServerEntry, role: ServerRole) -> ServerPlace | None:
    """Return where a plan file says that a server is; None: the entry names none."""
    if entry.dialect is None:
        return None
    weights = None if entry.serve is None else entry.serve.weights
    return ServerPlace(entry.url, weights, role=role)
