"""Named checks: what verification is made of."""

from __future__ import annotations

from enum import StrEnum

from safety_receipts.receipts.model.base import Name, Text, WireModel


class CheckLevel(StrEnum):
    """Levels of verification; each needs the levels before it."""

    NONE = "none"
    """No level: the check gives information, and its failure keeps no level from being reached."""
    AUTHENTIC = "authentic"
    """A trusted key signed the document, and the document has the form that it claims."""
    CONSISTENT = "consistent"
    """Every number follows from the evidence and the plan."""
    BOUND = "bound"
    """The artifacts on the verifier's disk are the ones that the plan names."""
    REPLAYED = "replayed"
    """Drawn points can be replayed, and the rates are confirmed."""


class CheckStatus(StrEnum):
    """How a check ended; no check is skipped silently."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_CHECKED = "not_checked"
    """The check was not made; its detail gives the reason."""


class Check(WireModel):
    """One named check."""

    name: Name
    """Name of the check."""
    level: CheckLevel
    """The level of verification to which the check belongs."""
    status: CheckStatus
    """How the check ended."""
    detail: Text
    """What was found, or why it was not checked."""
