"""What the tests of verification share: a bundle to which audits are added."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from audit_statements import AUDITOR, EVALUATOR_KEY

from safety_receipts.receipts.bundle import Bundle, BundleWriter
from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.dsse import Envelope
from safety_receipts.receipts.keys import TrustSet, load_public_key
from safety_receipts.receipts.model.check import Check, CheckLevel
from safety_receipts.verify.integrity import verify_bundle
from safety_receipts.verify.verification import Verification


@pytest.fixture
def verify(bundle: Path, golden: Path) -> Any:
    """Write audits into the bundle and verify, trusting the auditor."""
    evaluator = load_public_key(golden / EVALUATOR_KEY)

    def run(*envelopes: Envelope) -> tuple[Verification, list[Check]]:
        for envelope in envelopes:
            BundleWriter(bundle).write_audit(envelope)
        verification = verify_bundle(
            Bundle(bundle),
            evaluators=TrustSet([evaluator]),
            auditors=TrustSet([AUDITOR.public]),
        )
        audits = [c for c in verification.checks if c.level is CheckLevel.REPLAYED]
        return verification, audits

    return run


@pytest.fixture
def receipt(bundle: Path) -> Sha256:
    """Digest of the receipt."""
    return Bundle(bundle).receipt_envelope.digest
