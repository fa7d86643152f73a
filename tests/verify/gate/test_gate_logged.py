"""The rule ``logged``: a release is admitted when logs show its plan, its receipt, its audits."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from gating import AT
from releases import EVALUATOR, Audit, write_audits
from transparency import WitnessedLog, witnessed_log

from safety_receipts.receipts.bundle import AUDITS, PLAN, PROOFS, RECEIPT, BundleWriter
from safety_receipts.receipts.dsse import Envelope, sign

Receipts = Callable[..., Any]
RULE = {"rule": "logged", "plans_at_most": 1}


@pytest.fixture
def logged(tmp_path: Path) -> Iterator[WitnessedLog]:
    """A log with a witness, at the time of the releases."""
    with witnessed_log(tmp_path / "logged", witnesses=1, clock=lambda: 1_700_000_000) as made:
        yield made


@pytest.fixture
def bundle(small: Path, logged: WitnessedLog) -> Path:
    """An audited release that is logged with everything that belongs to it."""
    write_audits(small, Audit())
    log = logged.own
    for file in (small / PLAN, small / RECEIPT, *sorted((small / AUDITS).iterdir())):
        log.record(Envelope.from_json(file.read_bytes()), file, small)
    return small


def gated(
    receipts: Receipts, bundle: Path, trust: list[str], *words: str | Path, **rule: Any
) -> tuple[int, str]:
    """Hold a bundle to the rule alone; return the exit code and what was found."""
    policy = bundle.parent / "policy.yaml"
    policy.write_text(json.dumps({"version": 1, "rules": [RULE | rule]}), encoding="utf-8")
    done = receipts("gate", bundle, "--policy", policy, *trust, "--at", AT, *words, "--json")
    if not done.out.startswith("{") or "rules" not in json.loads(done.out):
        return done.code, done.out + done.err
    (found,) = json.loads(done.out)["rules"]
    return done.code, found["found"]


def test_what_is_logged_is_admitted(
    receipts: Receipts, bundle: Path, trust: list[str], logged: WitnessedLog
) -> None:
    policy = ("--log-policy", logged.policy)
    code, found = gated(receipts, bundle, trust, *policy, "--log", logged.folder)
    assert (code, "1 plan in the log" in found) == (0, True), found
    code, found = gated(receipts, bundle, trust, *policy)
    assert (code, "no copy of the log was named" in found) == (1, True), found
    assert gated(receipts, bundle, trust, *policy, plans_at_most=None)[0] == 0
    code, found = gated(receipts, bundle, trust)
    assert (code, "no log policy was named (--log-policy)" in found) == (1, True), found


@pytest.mark.parametrize(
    ("dropped", "words"),
    [
        ("plan", "nothing shows that the plan is in the log"),
        ("receipt", "nothing shows that the receipt is in the log"),
        ("audit", "nothing shows that all audits are in the log"),
    ],
)
def test_a_missing_proof_refuses(
    receipts: Receipts,
    bundle: Path,
    trust: list[str],
    logged: WitnessedLog,
    *,
    dropped: str,
    words: str,
) -> None:
    for path in (bundle / PROOFS).glob(f"{dropped}*"):
        path.unlink()
    terms = ("--log-policy", logged.policy, "--log", logged.folder)
    code, found = gated(receipts, bundle, trust, *terms)
    assert (code, words in found) == (1, True), found


def test_another_plan_refuses(
    receipts: Receipts, bundle: Path, trust: list[str], logged: WitnessedLog
) -> None:
    statement = json.loads(Envelope.from_json((bundle / PLAN).read_bytes()).payload)
    statement["predicate"]["name"] = "another try"
    other = sign(statement, EVALUATOR)
    elsewhere = bundle.parent / "elsewhere"
    BundleWriter(elsewhere).write_plan(other)
    logged.own.record(other, elsewhere / PLAN, elsewhere)
    terms = ("--log-policy", logged.policy, "--log", logged.folder)
    code, found = gated(receipts, bundle, trust, *terms)
    assert (code, "2 plans of this checkpoint by trusted keys in the log" in found) == (1, True), (
        found
    )
    assert gated(receipts, bundle, trust, *terms, plans_at_most=2)[0] == 0


def test_a_plan_under_an_id_of_ones_own_is_not_counted_as_none(
    receipts: Receipts, bundle: Path, trust: list[str], logged: WitnessedLog
) -> None:
    """Ids are hints: of plans that nobody can count, none are at most one."""
    written = json.loads((bundle / PLAN).read_bytes())
    written["signatures"][0]["keyid"] = "f" * 64
    (bundle / PLAN).write_text(json.dumps(written), encoding="utf-8")
    (bundle / PROOFS / "plan.tlog-proof").unlink()
    logged.own.record(Envelope.from_json((bundle / PLAN).read_bytes()), bundle / PLAN, bundle)
    terms = ("--log-policy", logged.policy, "--log", logged.folder)
    code, found = gated(receipts, bundle, trust, *terms)
    assert (code, "not in it under its key's id" in found) == (1, True), found


def test_a_missing_audit_fails_verification(
    receipts: Receipts, bundle: Path, trust: list[str], logged: WitnessedLog
) -> None:
    for path in (bundle / AUDITS).iterdir():
        path.unlink()
    terms = ("--log-policy", logged.policy, "--log", logged.folder)
    code, found = gated(receipts, bundle, trust, *terms)
    assert code == 3, found
