"""What is known of a server beside what is sealed: who asks it, where it is, of what model."""

from __future__ import annotations

from dataclasses import dataclass

from safety_receipts.receipts.model.checkpoint import Dtype
from safety_receipts.receipts.model.plan import PlannedServer
from safety_receipts.runner.engines.engine import Decoding
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


@dataclass(frozen=True)
class ServedModel:
    """What is known of a served model from its folder and plan."""

    vocabulary: int
    """Number of token ids."""
    context_limit: int
    """Longest context in tokens, prompt and response together."""
    dtype: Dtype
    """Number format in which the server is said to run."""
    end_tokens: frozenset[int]
    """Token ids that end a response."""
    decoding: Decoding
    """How tokens are chosen."""
