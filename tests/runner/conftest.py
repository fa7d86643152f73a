"""What the runner's tests share."""

from __future__ import annotations

from pathlib import Path

import pytest
from running import Study
from studies import write_study

from safety_receipts.receipts.keys import Signer, generate
from safety_receipts.runner.plan.resolve import resolve_plan
from safety_receipts.runner.plan.resolved import ResolvedPlan


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """Write and resolve a small study."""

    def make(**settings: object) -> ResolvedPlan:
        return resolve_plan(write_study(tmp_path / "study", **settings))  # type: ignore[arg-type]

    return make


@pytest.fixture
def signer() -> Signer:
    """A key of an evaluator."""
    return generate()
