"""Where a plan's server is on this machine, as far as it is not sealed."""

from __future__ import annotations

from dataclasses import dataclass

from safety_receipts.runner.engines.served.client import PATIENCE, Patience


@dataclass(frozen=True)
class ServerPlace:
    """Where a server is, or what it is started with."""

    url: str | None
    """Its address; None: the tool starts it."""
    weights: str | None = None
    """Name of the file in the checkpoint's folder that it loads; None: the folder."""
    patience: Patience = PATIENCE
    """How long it is waited for."""
