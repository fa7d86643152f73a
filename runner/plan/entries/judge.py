"""Who judges."""

from __future__ import annotations

from typing import Self

from pydantic import ConfigDict, model_validator

from safety_receipts.receipts.documents.written import DecimalNumber
from safety_receipts.receipts.model.base import Name
from safety_receipts.receipts.model.judge import JudgeKind, traits_of
from safety_receipts.runner.plan import schema as plan_schema
from safety_receipts.runner.plan.entries.base import Located, PlanPath, Url
from safety_receipts.runner.plan.entries.server import JudgeServerEntry


class JudgeIdentityEntry(Located):
    """A judge: rules, weights with a place, or a chat model behind an API."""

    model_config = ConfigDict(json_schema_extra=plan_schema.JUDGE)

    kind: JudgeKind
    name: Name | None = None
    """Name of the judge; a chat judge behind an API is asked for by this name."""
    base_url: Url | None = None
    """Address of the API, for a remote ``chat`` judge."""
    threshold: DecimalNumber | None = None
    """Decision threshold of a classifier; null: the default of its kind."""
    server: JudgeServerEntry | None = None
    """Server of the judge's folder, for kinds ``chat`` and ``wildguard``; null: this process runs
    it."""

    def _without_place(self) -> str | None:
        if traits_of(self.kind).is_rule:
            return self.kind.value
        return None if self.base_url is None else "a judge with a base_url"

    @model_validator(mode="after")
    def _of_its_kind(self) -> Self:
        traits = traits_of(self.kind)
        if self.base_url is not None and not traits.may_be_remote:
            raise ValueError("base_url is for kind chat only")
        if self.base_url is not None and self.name is None:
            raise ValueError("a judge with a base_url needs the name of its model")
        if self.threshold is not None and traits.is_rule:
            raise ValueError(f"{self.kind.value} takes no threshold")
        if self.server is not None and not traits.generates:
            able = " or ".join(kind.value for kind in JudgeKind if traits_of(kind).generates)
            raise ValueError(
                f"{self.kind.value} generates nothing that a server could give: leave server out, "
                f"or name kind {able}"
            )
        if self.server is not None and self.base_url is not None:
            raise ValueError(
                "base_url names an API, and server a server of token ids: leave base_url out, and "
                "give the folder of the judge's weights"
            )
        return self


class JudgeEntry(JudgeIdentityEntry):
    """The judge, with an optional second judge."""

    calibration: PlanPath | None = None
    """File that ``receipts judge calibrate`` wrote for this judge; null: the judge is not
    calibrated."""
    second: JudgeIdentityEntry | None = None
    """A second judge, whose agreement with the first is sealed; null: there is none."""
