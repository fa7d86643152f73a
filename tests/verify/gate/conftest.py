"""What the tests of a gate share: sealed releases, made once."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from gating import GOLDEN, facts_of
from releases import ADMITTED, AUDITOR, EVALUATOR, SMALL, Audit, seal_release, write_audits

from safety_receipts.verify.gate.kinds import GateFacts

Copy = Callable[[], Path]


@pytest.fixture(scope="session")
def sealed_small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small release without audits; read only."""
    return seal_release(tmp_path_factory.mktemp("small") / "bundle", SMALL)


@pytest.fixture(scope="session")
def sealed_release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release that the strict policy admits, but for its audits; read only."""
    return seal_release(tmp_path_factory.mktemp("release") / "bundle", ADMITTED)


@pytest.fixture
def small(sealed_small: Path, tmp_path: Path) -> Path:
    """A copy of the small release, without audits."""
    return Path(shutil.copytree(sealed_small, tmp_path / "small"))


@pytest.fixture
def release(sealed_release: Path, tmp_path: Path) -> Path:
    """A copy of the release, without audits."""
    return Path(shutil.copytree(sealed_release, tmp_path / "release"))


@pytest.fixture(scope="session")
def facts(sealed_small: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, GateFacts]:
    """What rules are decided from, of several bundles."""
    audited = tmp_path_factory.mktemp("audited") / "bundle"
    shutil.copytree(sealed_small, audited)
    write_audits(audited, Audit())
    published = tmp_path_factory.mktemp("published") / "bundle"
    shutil.copytree(audited, published, ignore=shutil.ignore_patterns("*.zst"))
    return {
        "small": facts_of(audited),
        "unaudited": facts_of(sealed_small),
        "published": facts_of(published),
        "golden": facts_of(GOLDEN / "0.1" / "good" / "ed25519"),
        "known": facts_of(GOLDEN / "known-answer" / "diluting"),
    }


@pytest.fixture
def trust(tmp_path: Path) -> list[str]:
    """Options that trust the evaluator and the auditor of the releases."""
    (tmp_path / "evaluator.pub").write_bytes(EVALUATOR.public.pem())
    (tmp_path / "auditor.pub").write_bytes(AUDITOR.public.pem())
    return [
        *("--trust", str(tmp_path / "evaluator.pub")),
        *("--trust-auditor", str(tmp_path / "auditor.pub")),
    ]
