"""A server of token ids that is asked in place of a model in this process."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from safety_receipts.receipts.model.base import Name
from safety_receipts.receipts.model.plan import ServerDialect
from safety_receipts.runner.plan import schema as plan_schema
from safety_receipts.runner.plan.entries.base import PlanModel, Url


def _one_line(value: str) -> str:
    if re.search(_CONTROLS, value):
        raise ValueError("has a line break or another control character: write it on one line")
    return value


_CONTROLS: Final = r"[\u0000-\u001f\u007f-\u009f\u2028\u2029]"
Argument = Annotated[
    str,
    AfterValidator(_one_line),
    Field(min_length=1, max_length=512, json_schema_extra={"not": {"pattern": _CONTROLS}}),
]
"""One word of a command line."""


class ServeEntry(PlanModel):
    """A server that the tool starts on the model's folder, on this machine, and stops."""

    arguments: Annotated[tuple[Argument, ...], Field(max_length=64)] = ()
    """Further arguments; address, model, name and number format are given by the tool."""
    weights: (
        Annotated[str, AfterValidator(_one_line), Field(pattern=r"^[^/\\]+\.gguf$", max_length=255)]
        | None
    ) = None
    """Name of the GGUF file in the model's folder, for the dialect ``llamacpp``."""


class ServerEntry(PlanModel):
    """What a plan says of a server, of whatever model."""

    dialect: ServerDialect | None = None
    """What the server speaks."""
    url: Url | None = None
    """Address of a server that runs; null: ``serve`` starts one."""
    serve: ServeEntry | None = None
    """A server that the tool starts and stops; null: ``url`` names one."""
    model: Name | None = None
    """Name under which the server of ``url`` offers the model; default: the model's name in the
    plan."""
    claimed_arguments: Annotated[tuple[Argument, ...], Field(max_length=64)] = ()
    """Arguments with which the server of ``url`` was started, as its operator says: they are sealed
    as a claim."""
    concurrency: Annotated[int, Field(ge=1, le=4096)] = 16
    """Largest number of requests that a server is asked at a time."""

    def server_problem(self, whose: str) -> str | None:
        """Return why this is no server, or None.

        Args:
            whose: What needs it, for messages.
        """
        if self.dialect is None:
            known = ", ".join(dialect.value for dialect in ServerDialect)
            return f"{whose} needs a dialect: {known}"
        if (self.url is None) == (self.serve is None):
            return self._place_problem(whose)
        if self.serve is not None and self.dialect is ServerDialect.SGLANG:
            return "serve is not for sglang: start its server yourself, and name its url"
        if self.serve is not None and (self.model is not None or self.claimed_arguments):
            return "model and claimed_arguments are for a server that runs (url)"
        gguf = self.serve is not None and self.dialect is ServerDialect.LLAMACPP
        if gguf != (self.serve is not None and self.serve.weights is not None):
            return "serve.weights names the GGUF file for llamacpp, and for no other"
        return None

    def _place_problem(self, whose: str) -> str:
        """Return what is wrong where url and serve are both given, or neither is."""
        if self.url is not None:
            return "give one of url and serve, not both"
        if "serve" in self.model_fields_set:
            return "serve has no value: write serve: {} to start a server without further arguments"
        return f"{whose} needs url, for a server that runs, or serve, to start one (serve: {{}})"


class JudgeServerEntry(ServerEntry):
    """The server that a judge asks; the judge's folder is named all the same, and hashed."""

    model_config = ConfigDict(json_schema_extra=plan_schema.SERVER)

    @model_validator(mode="after")
    def _server(self) -> JudgeServerEntry:
        problem = self.server_problem("a server")
        if problem is not None:
            raise ValueError(problem)
        return self
