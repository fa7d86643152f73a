"""From a plan's server to an engine that asks it."""

from __future__ import annotations

import os
from pathlib import Path

from safety_receipts.receipts.model.plan import PlannedServer
from safety_receipts.runner.engines.served.client import ServerClient
from safety_receipts.runner.engines.served.http_engine import HttpEngine
from safety_receipts.runner.engines.served.launch import ServerCommand, StartedServer
from safety_receipts.runner.engines.served.options import ServedModel, ServerPlace
from safety_receipts.runner.engines.served.started.own_client import OwnServerClient


def load_server(
    server: PlannedServer, place: ServerPlace, model: ServedModel, folder: Path
) -> HttpEngine:
    """Return an engine that asks a server; start the server where the plan says so.

    Args:
        server: What the plan says of it.
        place: Where it is.
        model: What is known of its model.
        folder: The model's folder, whose files were hashed.

    Raises:
        ReceiptsError: It cannot be started, does not answer, or cannot be used.
    """
    if place.url is not None:
        key = os.environ.get(place.role.key) or None
        client = ServerClient(place.url, place.patience, key=key, role=place.role)
        return HttpEngine(client, server, model)
    started = StartedServer(
        ServerCommand(
            server.dialect, folder, place.weights, model.dtype, server.model, server.arguments
        ),
        place.role,
    )
    try:
        client = OwnServerClient(started.url, started.confirm, place.patience, role=place.role)
        return HttpEngine(client, server, model, close=started.close, confirm=started.confirm)
    except BaseException:
        started.close()
        raise
