"""What the formats of an export have in common: their names, what they are made from, what comes
of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from safety_receipts.verify.gate.gating import GateResult
from safety_receipts.verify.gate.policy import LoadedPolicy
from safety_receipts.verify.verified import VerifiedReceipt


class ExportFormat(StrEnum):
    """The formats that a receipt can be exported to."""

    TEST_RESULT = "test-result"
    """In-toto Statement with predicate test-result v0.1: which rules of a policy hold."""
    SVR = "svr"
    """In-toto Statement with a Simple Verification Result v0.2 about the checkpoint."""
    EVERY_EVAL_EVER = "every-eval-ever"
    """Every Eval Ever 0.3.0: a folder of its data store."""
    INSPECT = "inspect"
    """Log of inspect-ai: a sample a point."""
    CYCLONEDX = "cyclonedx"
    """CycloneDX bill of materials of the model, with a model card."""
    JUNIT = "junit"
    """JUnit XML: a test case a rule of a policy."""
    CSV = "csv"
    """Comma-separated values: a row a condition, or a point."""
    PARQUET = "parquet"
    """Apache Parquet: a row a condition, or a point."""


class ExportRows(StrEnum):
    """What a row of a table is."""

    CONDITIONS = "conditions"
    """One condition, with its counts, rates and intervals."""
    POINTS = "points"
    """One evaluation point, with its outcome; without any text."""


class CycloneDxVersion(StrEnum):
    """The versions of CycloneDX that are written."""

    V1_6 = "1.6"
    """ECMA-424, first edition."""
    V1_7 = "1.7"
    """ECMA-424, second edition."""


class ExportOption(StrEnum):
    """Options that some formats alone take."""

    POLICY = "--policy"
    """The policy to which the receipt is held; a format that takes it needs it."""
    ROWS = "--rows"
    """What a row is (:class:`ExportRows`)."""
    WITH_TEXTS = "--with-texts"
    """Whether texts of responses go along, where the evidence is public."""
    SPEC_VERSION = "--spec-version"
    """Version of the format (:class:`CycloneDxVersion`)."""


@dataclass(frozen=True)
class GateDecision:
    """What a policy says of the receipt."""

    result: GateResult
    """What became of each rule."""
    policy: LoadedPolicy
    """The policy."""
    at: datetime
    """The moment of the decision, with its time zone."""


@dataclass(frozen=True)
class ExportRequest:
    """What is to be exported, and how."""

    verified: VerifiedReceipt
    """The receipt; every number comes from here."""
    out: Path
    """The file, or the folder, to write."""
    decision: GateDecision | None = None
    """What a policy says of it; None: none is named."""
    rows: ExportRows = ExportRows.CONDITIONS
    """What a row of a table is."""
    with_texts: bool = False
    """Whether the user asks for the texts of responses."""
    spec_version: CycloneDxVersion = CycloneDxVersion.V1_6
    """Version of CycloneDX."""


@dataclass(frozen=True)
class Exported:
    """What was written."""

    files: tuple[Path, ...]
    """The files."""
    count: int
    """How many entries they hold: rows, samples, metrics, rules."""
    entries: str
    """What one entry is, in the plural."""
    remarks: tuple[str, ...] = ()
    """What the format does not carry, and what was changed, in whole sentences."""
