"""What generates: the checkpoint and the engine."""

from __future__ import annotations

from typing import Self

from pydantic import ConfigDict, model_validator

from safety_receipts.receipts.model.base import Name
from safety_receipts.receipts.model.checkpoint import Dtype
from safety_receipts.receipts.model.plan import (
    EngineKind,
    asks_server,
    is_served,
)
from safety_receipts.runner.plan import schema as plan_schema
from safety_receipts.runner.plan.entries.base import Located, Url
from safety_receipts.runner.plan.entries.server import ServerEntry


class CheckpointEntry(Located):
    """The checkpoint that is evaluated."""

    name: Name | None = None
    """Name of the checkpoint, as people call it; default: the name of the folder or repository."""
    training_stage: Name
    """Training stage of the checkpoint: base, sft, dpo, rlvr, instruct, or another word for it."""
    dtype: Dtype
    quantisation: Name | None = None
    """Quantisation of the weights; default: as the checkpoint's own files state it."""


class EngineEntry(ServerEntry):
    """The engine that generates responses; dialect and what follows it are for the engine
    ``http``.
    """

    model_config = ConfigDict(json_schema_extra=plan_schema.ENGINE_RULE)

    kind: EngineKind = EngineKind.TRANSFORMERS
    base_url: Url | None = None
    """Address of the server, for the engine ``openai``; null for every other engine."""

    @model_validator(mode="after")
    def _server(self) -> Self:
        served, by_ids = is_served(self.kind), asks_server(self.kind)
        if (served and not by_ids) != (self.base_url is not None):
            raise ValueError(
                "base_url is needed for kind openai, and for no other: kind http takes url"
            )
        if not by_ids:
            if self.model_fields_set - {"kind", "base_url"}:
                raise ValueError(
                    "dialect, url, serve, model, claimed_arguments and concurrency are for kind "
                    "http"
                )
            return self
        problem = self.server_problem("kind http")
        if problem is not None:
            raise ValueError(problem)
        return self
