"""What the tests of logs share."""

from __future__ import annotations

from pathlib import Path

import pytest

from safety_receipts.receipts.keys import generate_key
from safety_receipts.receipts.log.folder import LogFolder, LogSigner, init_log

ORIGIN = "example.com/log"


@pytest.fixture
def log_signer() -> LogSigner:
    return LogSigner.of(ORIGIN, generate_key(), Path("key"))


@pytest.fixture
def log(log_signer: LogSigner, tmp_path: Path) -> LogFolder:
    """An empty log."""
    init_log(tmp_path / "log", log_signer)
    return LogFolder(tmp_path / "log", log_signer.public)
