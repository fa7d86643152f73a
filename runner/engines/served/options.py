"""Who asks a server, and where it is on this machine, as far as that is not sealed."""

from __future__ import annotations

from dataclasses import dataclass

from safety_receipts.receipts.model.plan import PlannedServer
from safety_receipts.runner.engines.served.client import PATIENCE, Patience
from safety_receipts.runner.engines.served.role import ServerRole


@dataclass(frozen=True)
class ServerPlace:
    """Where a server is, or what it is started with."""

    url: str | None
    """Its address; None: the tool starts it."""
    weights: str | None = None
    """Name of the file in the model's folder that it loads; None: the folder."""
    patience: Patience = PATIENCE
    """How long it is waited for."""
    role: ServerRole = ServerRole.ENGINE
    """Who asks it."""


@dataclass(frozen=True)
class NamedServer:
    """A server that a plan names for a judge."""

    planned: PlannedServer
    """What is sealed of it."""
    place: ServerPlace
    """Where it is."""
