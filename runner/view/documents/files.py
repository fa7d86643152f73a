"""What ``init`` and ``judge calibrate`` print with ``--json``."""

from __future__ import annotations

from typing import Annotated, Literal

from safety_receipts.receipts.model.base import Count
from safety_receipts.receipts.model.judge import JudgeCalibration
from safety_receipts.receipts.view.documents.base import SCHEMA, Document


class InitDocument(Document):
    """A plan file that was written, to start from."""

    document: Annotated[Literal["cli-init/1"], SCHEMA] = "cli-init/1"
    plan: str
    """The plan file."""
    preset: str
    """Which preset it is."""


class InitPolicyDocument(Document):
    """A policy of ``receipts gate`` that was written, to start from."""

    document: Annotated[Literal["cli-init-policy/1"], SCHEMA] = "cli-init-policy/1"
    policy: str
    """The policy's file."""
    preset: str
    """Which preset it is."""


class JudgeCalibrationDocument(Document):
    """How often a judge gives the labels that people gave."""

    document: Annotated[Literal["cli-judge-calibrate/1"], SCHEMA] = "cli-judge-calibrate/1"
    file: str
    """The file that was written, to be named in a plan."""
    judge_name: str
    """Name of the judge."""
    repeated: Count
    """Lines of the gold file that repeat an earlier one and count once."""
    unscored_reasons: dict[str, Count]
    """Reason → responses that could not be judged for it."""
    calibration: JudgeCalibration
    """The calibration."""
