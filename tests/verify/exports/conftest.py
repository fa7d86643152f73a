"""What the tests of exports share: sealed events, made once, and the command."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from exporting import export_plan, hostile_plan, seal_export
from releases import AT, AUDITOR, EVALUATOR, Audit, write_audits

from safety_receipts.receipts.model.plan import EvidenceAccess

GOLDEN = Path(__file__).parents[2] / "golden"
ALLOWING = "version: 1\nrules:\n  - {rule: verified, level: authentic}\n"

Export = Callable[..., Any]


@pytest.fixture(scope="session")
def rich(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An audited event with every kind of number and public evidence; read only."""
    folder = seal_export(tmp_path_factory.mktemp("rich") / "bundle", export_plan())
    write_audits(folder, Audit())
    return folder


@pytest.fixture(scope="session")
def nulls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An event of which no point was judged, and which is of a test instrument; read only."""
    plan = export_plan().model_copy(update={"instrument": True})
    return seal_export(tmp_path_factory.mktemp("nulls") / "bundle", plan, judged=False)


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An event with hostile names; read only."""
    return seal_export(tmp_path_factory.mktemp("hostile") / "bundle", hostile_plan())


@pytest.fixture(scope="session")
def withheld(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An event whose evidence auditors may hold, with the evidence; read only."""
    plan = export_plan(access=EvidenceAccess.AUDITORS)
    return seal_export(tmp_path_factory.mktemp("withheld") / "bundle", plan)


@pytest.fixture(scope="session")
def published(rich: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first event without its evidence; read only."""
    folder = tmp_path_factory.mktemp("published") / "bundle"
    return Path(shutil.copytree(rich, folder, ignore=shutil.ignore_patterns("*.zst")))


@pytest.fixture
def policy(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a policy."""

    def write(text: str = ALLOWING) -> Path:
        (tmp_path / "policy.yaml").write_text(text, "utf-8")
        return tmp_path / "policy.yaml"

    return write


@pytest.fixture
def export(receipts: Callable[..., Any], tmp_path: Path) -> Export:
    """Run the command, trusting evaluator and auditor."""
    (tmp_path / "evaluator.pub").write_bytes(EVALUATOR.public.pem())
    (tmp_path / "auditor.pub").write_bytes(AUDITOR.public.pem())

    def run(bundle: Path, name: str, out: Path, *words: str | Path) -> Any:
        trusted = (
            "--trust",
            tmp_path / "evaluator.pub",
            "--trust-auditor",
            tmp_path / "auditor.pub",
        )
        decided = ("--at", AT) if "--policy" in words else ()
        return receipts(
            "export", bundle, "--format", name, "--out", out, *trusted, *decided, *words
        )

    return run
