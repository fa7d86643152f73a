"""Deciding rules of a gate in tests, on bundles that are really verified."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from releases import AT, AUDITOR, EVALUATOR, OTHER_AUDITOR

from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.documents.moments import moment
from safety_receipts.receipts.keys import PublicKey, TrustSet, load_public_key
from safety_receipts.verify.compare.evaluations import open_evaluations
from safety_receipts.verify.gate.kinds import Decided, GateFacts, GateRule
from safety_receipts.verify.gate.policy import GatePolicy
from safety_receipts.verify.gate.registry import RULES
from safety_receipts.verify.integrity import verify_bundle
from safety_receipts.verify.levels.evidence import no_progress
from safety_receipts.verify.levels.expected import expected_checkpoint

GOLDEN = Path(__file__).parents[1] / "golden"


def keys() -> list[PublicKey]:
    """Return every evaluator that the tests of a gate trust."""
    files = (GOLDEN / "0.1" / "ed25519.pub", GOLDEN / "known-answer" / "evaluator.pub")
    return [EVALUATOR.public, *map(load_public_key, files)]


def facts_of(
    folder: Path,
    *,
    at: str = AT,
    shipped: str | None = None,
    against: Path | None = None,
    auditors: tuple[PublicKey, ...] = (AUDITOR.public, OTHER_AUDITOR.public),
) -> GateFacts:
    """Return what the rules of a gate are decided from, of a bundle that is verified here."""
    bundle, trusted = Bundle(folder), TrustSet(keys())
    verification = verify_bundle(bundle, evaluators=trusted, auditors=TrustSet(auditors))
    assert not verification.failed, verification.failed
    earlier = None
    if against is not None:
        before, now = open_evaluations([against, folder], trusted, no_progress)
        earlier = before, now
    when: datetime = moment(at)
    return GateFacts(
        verification,
        bundle.receipt.statement.predicate,
        when,
        None if shipped is None else expected_checkpoint(shipped),
        earlier,
    )


def decided(facts: GateFacts, rule: dict[str, Any]) -> Decided:
    """Return what becomes of a rule, as a policy would write it."""
    policy = GatePolicy.model_validate({"version": 1, "rules": [rule]})
    (entry,) = policy.rules
    assert list(entry.contradictions()) == []
    return RULES[GateRule(entry.rule)].decide(entry, facts)
