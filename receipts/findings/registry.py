"""Every kind of finding, in the order in which they are tested and told."""

from __future__ import annotations

from typing import Final

from safety_receipts.receipts.findings.contexts import ContextKind
from safety_receipts.receipts.findings.formats import FormatKind
from safety_receipts.receipts.findings.joint import JointKind
from safety_receipts.receipts.findings.kind import FindingKind
from safety_receipts.receipts.findings.orderings import OrderingKind
from safety_receipts.receipts.findings.sources import SourcesKind
from safety_receipts.receipts.findings.total import TotalKind

KINDS: Final[tuple[FindingKind, ...]] = (
    TotalKind(),
    JointKind(),
    OrderingKind(),
    FormatKind(),
    ContextKind(),
    SourcesKind(),
)
"""The order is that of the sealed list of tests."""
