"""Named checks: what verification is made of."""

from __future__ import annotations

from enum import StrEnum

from safety_receipts.receipts.model.base import Name, Text, WireModel


class CheckLevel(StrEnum):
    """Levels of verification, each needing the ones before."""

    NONE = "none"
    """No level: the check informs and holds no level back."""
    AUTHENTIC = "authentic"
    """A trusted key signed it, and it has the form it claims."""
    CONSISTENT = "consistent"
    """Everything follows from the evidence and the plan."""
    BOUND = "bound"
    """The artifacts on the verifier's disk are the ones named."""
    REPLAYED = "replayed"
    """Drawn points replay, and the rates stand."""


class CheckStatus(StrEnum):
    """How a check ended; nothing is skipped silently."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_CHECKED = "not_checked"
    """With the reason in the detail."""


class Check(WireModel):
    """One named check."""

    name: Name
    """What was checked."""
    level: CheckLevel
    """The level it belongs to."""
    status: CheckStatus
    """How it ended."""
    detail: Text
    """What was found, or why it was not checked."""
