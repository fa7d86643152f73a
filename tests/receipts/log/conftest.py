"""What the tests of logs share."""

from __future__ import annotations

from pathlib import Path

import pytest
from audit_statements import AUDITOR, announce, report
from kept_logs import KeptLog

from safety_receipts.receipts.audit_forms import parse_audit, sign_public_form
from safety_receipts.receipts.bundle import Bundle, BundleWriter
from safety_receipts.receipts.keys import generate_key, load_signer, write_key_pair
from safety_receipts.receipts.log.folder import LogFolder, LogSigner, init_log
from safety_receipts.receipts.model.audit import AuditPredicate

ORIGIN = "example.com/log"


@pytest.fixture
def log_signer() -> LogSigner:
    return LogSigner.of(ORIGIN, generate_key(), Path("key"))


@pytest.fixture
def log(log_signer: LogSigner, tmp_path: Path) -> LogFolder:
    """An empty log."""
    init_log(tmp_path / "log", log_signer)
    return LogFolder(tmp_path / "log", log_signer.public)


@pytest.fixture
def kept_log(tmp_path: Path) -> KeptLog:
    """An empty log whose key is a file."""
    key = tmp_path / "log-key"
    write_key_pair(key, generate_key())
    signer = LogSigner.of(ORIGIN, load_signer(key), key)
    init_log(tmp_path / "log", signer)
    vkey = signer.public.vkey
    policy = tmp_path / "log-policy"
    policy.write_text(f"log {vkey}\nquorum none\n", "utf-8")
    return KeptLog(tmp_path / "log", key, policy, vkey)


@pytest.fixture
def audited(bundle: Path) -> Path:
    """The golden bundle with an announcement and a result, in full and in public form."""
    receipt = Bundle(bundle).receipt_envelope.digest
    start = announce(receipt, AUDITOR)
    full = report(receipt, start.digest, signer=AUDITOR, changes={"blinding": "b1" * 32})
    said = parse_audit(full, Path("audit")).predicate
    assert isinstance(said, AuditPredicate)
    for envelope in (start, full, sign_public_form(said, full.digest, AUDITOR)):
        BundleWriter(bundle).write_audit(envelope)
    return bundle
