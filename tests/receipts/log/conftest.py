"""What the tests of logs share."""

from __future__ import annotations

from pathlib import Path

import pytest
from audit_statements import AUDITOR, announce, report
from kept_logs import KeptLog
from witnessing import TWO_KINDS, MemoryLog, new_witness, witness_signer
from witnessing import log_signer as new_log_signer

from safety_receipts.receipts.audit_forms import parse_audit, sign_public_form
from safety_receipts.receipts.bundle import Bundle, BundleWriter
from safety_receipts.receipts.keys import generate_key, load_signer, write_key_pair
from safety_receipts.receipts.log.folder import LogFolder, LogSigner, init_log
from safety_receipts.receipts.log.formats.cosignature import WitnessSigner
from safety_receipts.receipts.log.witnessing.witness import Witness
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
def memory() -> MemoryLog:
    """A log in memory."""
    return MemoryLog(new_log_signer())


@pytest.fixture
def signers() -> tuple[WitnessSigner, ...]:
    """A witness's keys, one of each kind."""
    return tuple(map(witness_signer, TWO_KINDS))


@pytest.fixture
def witness(tmp_path: Path, memory: MemoryLog, signers: tuple[WitnessSigner, ...]) -> Witness:
    """A witness of the log in memory, which has seen nothing."""
    return new_witness(tmp_path / "state", signers, memory.signer.public)


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
