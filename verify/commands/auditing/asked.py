"""What an auditor asks ``receipts audit`` for."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.model.checkpoint import Dtype
from safety_receipts.runner.run.pooled.opening import WorkersAsked
from safety_receipts.verify.levels.times.terms import TrustTerms

if TYPE_CHECKING:
    from safety_receipts.receipts.log.recording import StatementLog


@dataclass(frozen=True)
class AuditMachine:
    """What points are replayed with."""

    device: str | None
    """``cpu``, ``cuda``, …; None: an accelerator if there is one."""
    dtype: Dtype | None
    """Number format to replay in; None: the plan's."""
    memory: int | None
    """Bound on memory in bytes; None: a share of what is free."""
    allow_pickle: bool
    """Whether weights may be pickles."""
    workers: WorkersAsked | None
    """Which workers replay; None: this process does."""
    pools: ExitStack
    """Ends the workers, or a server that was started."""


@dataclass(frozen=True)
class AuditAsked:
    """What is audited, with which files."""

    bundle: Bundle
    """The bundle."""
    artifacts: Path
    """The auditor's plan file."""
    trust: tuple[Path, ...]
    """Keys of evaluators, and trust files."""
    calibration: Path | None
    """The auditor's calibration; None: stated limits."""
    folder: Path
    """Where the audit is written."""
    beacon_value: str | None
    """What the announced beacon round said; None: there is none, or it is not out."""
    beacon_signature: str | None
    """The signature of that round; None: it is not at hand."""
    dry_run: bool
    """Whether it is only said what the audit would take."""
    log: StatementLog | None
    """Announcement and result are added to it; None: to none."""
    terms: TrustTerms
    """What shows when the bundle was signed."""
