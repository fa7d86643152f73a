"""What generates: the checkpoint and the engine."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import ConfigDict, Field, model_validator

from safety_receipts.receipts.model.base import Name
from safety_receipts.receipts.model.checkpoint import Dtype
from safety_receipts.receipts.model.plan import (
    EngineKind,
    ServerDialect,
    asks_server,
    is_served,
)
from safety_receipts.runner.plan import schema as plan_schema
from safety_receipts.runner.plan.entries.base import Located, PlanModel, Url


class CheckpointEntry(Located):
    """The checkpoint that is evaluated."""

    name: Name | None = None
    """Name of the checkpoint, as people call it; default: the name of the folder or repository."""
    training_stage: Name
    """Training stage of the checkpoint: base, sft, dpo, rlvr, instruct, or another word for it."""
    dtype: Dtype
    quantisation: Name | None = None
    """Quantisation of the weights; default: as the checkpoint's own files state it."""


Argument = Annotated[str, Field(min_length=1, max_length=512)]
"""One word of a command line."""


class ServeEntry(PlanModel):
    """A server that the tool starts on the checkpoint's folder, on this machine, and stops."""

    arguments: Annotated[tuple[Argument, ...], Field(max_length=64)] = ()
    """Further arguments; address, model, name and number format are given by the tool."""
    weights: Annotated[str, Field(pattern=r"^[^/\\]+\.gguf$", max_length=255)] | None = None
    """Name of the GGUF file in the checkpoint's folder, for the dialect ``llamacpp``."""


class EngineEntry(PlanModel):
    """The engine that generates responses."""

    model_config = ConfigDict(json_schema_extra=plan_schema.ENGINE_RULE)

    kind: EngineKind = EngineKind.TRANSFORMERS
    base_url: Url | None = None
    """Address of the server, for the engine ``openai``; null for every other engine."""
    dialect: ServerDialect | None = None
    """What the server speaks, for the engine ``http``; null for every other engine."""
    url: Url | None = None
    """Address of a server that runs, for the engine ``http``; null: ``serve`` starts one."""
    serve: ServeEntry | None = None
    """A server that the tool starts and stops, for the engine ``http``; null: ``url`` names one."""
    model: Name | None = None
    """Name under which the server of ``url`` offers the model; default: the checkpoint's name."""
    claimed_arguments: Annotated[tuple[Argument, ...], Field(max_length=64)] = ()
    """Arguments with which the server of ``url`` was started, as its operator says: they are sealed
    as a claim."""
    concurrency: Annotated[int, Field(ge=1, le=4096)] = 16
    """Largest number of requests that a server is asked at a time."""

    @model_validator(mode="after")
    def _server(self) -> Self:
        served, by_ids = is_served(self.kind), asks_server(self.kind)
        if (served and not by_ids) != (self.base_url is not None):
            raise ValueError("base_url is needed for kind openai, and for no other")
        if not by_ids:
            if self.model_fields_set - {"kind", "base_url"}:
                raise ValueError(
                    "dialect, url, serve, model, claimed_arguments and concurrency are for kind "
                    "http"
                )
            return self
        if self.dialect is None:
            known = ", ".join(dialect.value for dialect in ServerDialect)
            raise ValueError(f"kind http needs a dialect: {known}")
        if (self.url is None) == (self.serve is None):
            raise ValueError("kind http needs url, for a server that runs, or serve, to start one")
        if self.serve is not None and self.dialect is ServerDialect.SGLANG:
            raise ValueError("serve is not for sglang: start its server yourself, and name its url")
        if self.serve is not None and (self.model is not None or self.claimed_arguments):
            raise ValueError("model and claimed_arguments are for a server that runs (url)")
        gguf = self.serve is not None and self.dialect is ServerDialect.LLAMACPP
        if gguf != (self.serve is not None and self.serve.weights is not None):
            raise ValueError("serve.weights names the GGUF file for llamacpp, and for no other")
        return self
