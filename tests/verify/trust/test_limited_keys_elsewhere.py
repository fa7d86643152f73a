"""What rests on verification follows where a key is out of its limits: gates, pages, exports."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from audit_statements import AUDITOR, announce, report
from witnessed import ClockedLog, sealed_event, trust_file

import safety_receipts as sr
from safety_receipts.receipts.bundle import AUDITS, PLAN, RECEIPT, Bundle, BundleWriter
from safety_receipts.receipts.dsse import Envelope
from safety_receipts.receipts.errors import IntegrityError
from safety_receipts.receipts.keys import generate_key, sign_together, write_key_pair
from safety_receipts.receipts.log.formats.policy import load_log_policy
from safety_receipts.receipts.model.audit import AuditVerdict
from safety_receipts.receipts.model.check import CheckStatus
from safety_receipts.receipts.trust.load import load_trust
from safety_receipts.receipts.trust.trust_set import KeyRole
from safety_receipts.verify.check_names import CheckName
from safety_receipts.verify.integrity import verify_bundle
from safety_receipts.verify.levels.times.logged import LogTerms
from safety_receipts.verify.page.page import report_page
from safety_receipts.verify.verification import Verification

Receipts = Callable[..., Any]
REVOKED = "2026-01-10T00:00:00Z"
POLICY = """\
version: 1
rules:
  - rule: verified
  - rule: instrument
    allow: true
"""


@pytest.fixture
def shown(tmp_path: Path) -> Path:
    """A folder with a bundle that a witness saw before its key was revoked, and all beside it."""
    signer = generate_key()
    write_key_pair(tmp_path / "key", signer)
    bundle = sealed_event(tmp_path / "bundle", signer, "2026-01-02T00:00:00Z")
    log = ClockedLog(tmp_path / "witnessed")
    log.show(bundle, "2026-01-01T00:00:00Z", PLAN)
    log.show(bundle, "2026-01-03T00:00:00Z", RECEIPT)
    shutil.copy(log.policy, tmp_path / "log-policy")
    trust_file(tmp_path / "trust.yaml", {"file": "key.pub", "revoked_at": REVOKED})
    (tmp_path / "policy.yaml").write_text(POLICY)
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n# A model\n")
    return tmp_path


COMMANDS: dict[str, tuple[str, ...]] = {
    "gate": ("--policy", "policy.yaml"),
    "report": ("--out", "page.html"),
    "attach": ("README.md", "--instrument"),
    "export": ("--format", "csv", "--out", "rates.csv"),
    "compare": ("bundle",),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_refuse_what_nothing_shows(
    receipts: Receipts, shown: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And take it where the log's witnesses show it."""
    monkeypatch.chdir(shown)
    before = sorted(shown.iterdir())
    card = (shown / "README.md").read_bytes()
    words = (command, "bundle", *COMMANDS[command], "--trust", "trust.yaml")
    found = receipts(*words)
    assert found.code == 3, found
    assert "was revoked at 2026-01-10" in found.out + found.err
    assert sorted(shown.iterdir()) == before
    assert (shown / "README.md").read_bytes() == card
    found = receipts(*words, "--log-policy", "log-policy")
    # Two bundles of one event are not compared; that comes after all are verified.
    assert found.code == (2 if command == "compare" else 0), found


def test_publish_makes_no_page_of_it(receipts: Receipts, shown: Path) -> None:
    words = ("--out", shown / "copy", "--page", "--trust", shown / "trust.yaml")
    found = receipts("publish", shown / "bundle", *words)
    assert found.code == 3
    assert not (shown / "copy").exists()
    # What shows the time goes along.
    found = receipts("publish", shown / "bundle", *words, "--log-policy", shown / "log-policy")
    assert found.code == 0, found
    assert (shown / "copy" / "report.html").exists()
    again = ("--out", shown / "another", "--log-policy", shown / "log-policy")
    assert receipts("publish", shown / "bundle", *again).code == 2


def test_a_gate_decides_as_of_its_moment(receipts: Receipts, shown: Path) -> None:
    words = ("gate", shown / "bundle", "--policy", shown / "policy.yaml")
    words += ("--trust", shown / "trust.yaml", "--at")
    assert receipts(*words, "2026-01-09T23:59:59Z").code == 0
    found = receipts(*words, REVOKED, "--json")
    assert found.code == 3
    assert '"key-validity"' in found.out


def test_a_gate_asks_for_keys(receipts: Receipts, shown: Path) -> None:
    write_key_pair(shown / "stranger", generate_key())
    words = ("gate", shown / "bundle", "--policy", shown / "policy.yaml", "--require")
    assert receipts(*words, shown / "key.pub").code == 0
    found = receipts(*words, shown / "key.pub", "--require", shown / "stranger.pub")
    assert found.code == 3
    assert "required-keys" in found.out


def test_a_page_names_the_keys_that_count(tmp_path: Path) -> None:
    """Its reader gives a key, and the page knows no times: a revoked one is not handed out."""
    keys = [generate_key(), generate_key()]
    for name, key in zip(("one", "two"), keys, strict=True):
        write_key_pair(tmp_path / name, key)
    bundle = sealed_event(tmp_path / "bundle", sign_together(keys), "2026-01-02T00:00:00Z")
    entries = [{"file": "one.pub", "revoked_at": REVOKED}, {"file": "two.pub"}]
    trust = load_trust([trust_file(tmp_path / "trust.yaml", *entries)], KeyRole.EVALUATOR)
    page = report_page(Bundle(bundle), trust)
    assert page.verification.level == "consistent"
    embedded = page.html.decode()
    assert json.dumps(keys[1].public.pem().decode())[1:-1] in embedded
    assert json.dumps(keys[0].public.pem().decode())[1:-1] not in embedded


def test_the_library_takes_the_same(shown: Path) -> None:
    receipt = sr.load(shown / "bundle")
    trust, log = shown / "trust.yaml", {"log_policy": shown / "log-policy"}
    assert not receipt.verify(trust=trust, allow_instrument=True)
    assert receipt.verify(trust=trust, allow_instrument=True, **log)
    assert receipt.verify(require=trust, allow_instrument=True, **log)
    write_key_pair(shown / "stranger", generate_key())
    both = [shown / "key.pub", shown / "stranger.pub"]
    assert receipt.verify(trust=both, allow_instrument=True)
    assert not receipt.verify(require=both, allow_instrument=True)
    policy = shown / "policy.yaml"
    assert not sr.gate(receipt, policy, trust=trust)
    assert sr.gate(receipt, policy, trust=trust, **log)
    assert sr.gate(receipt, policy, trust=trust, at="2026-01-09T00:00:00Z")
    assert not sr.gate(receipt, policy, require=both)
    for refused in (
        lambda: sr.report(receipt, shown / "page.html", trust=trust),
        lambda: receipt.to_csv(shown / "rates.csv", trust=trust),
        lambda: sr.compare([receipt, receipt], trust=trust),
    ):
        with pytest.raises(IntegrityError, match="was revoked at"):
            refused()
    assert not (shown / "page.html").exists()


# Audits: those of the golden bundle, whose auditor's key is limited.


def audited(bundle: Path, *audits: Envelope) -> list[str]:
    """Put audits into a bundle; return their files."""
    for envelope in audits:
        BundleWriter(bundle).write_audit(envelope)
    return [f"{AUDITS}/{envelope.digest}.dsse.json" for envelope in audits]


def verified(
    bundle: Path, golden: Path, limits: dict[str, str], log: ClockedLog | None = None
) -> Verification:
    (bundle.parent / "auditor.pub").write_bytes(AUDITOR.public.pem())
    entry = {"file": "auditor.pub", "roles": ["auditor"], **limits}
    trust = trust_file(bundle.parent / "auditors.yaml", entry)
    return verify_bundle(
        Bundle(bundle),
        evaluators=load_trust([golden / "ed25519.pub"], KeyRole.EVALUATOR),
        auditors=load_trust([trust], KeyRole.AUDITOR),
        log=None if log is None else LogTerms(load_log_policy(log.policy)),
    )


def ended(found: Verification) -> list[tuple[CheckStatus, str]]:
    return [
        (CheckStatus(one.status), one.detail)
        for one in found.checks
        if one.name.startswith(f"{CheckName.AUDIT} ")
    ]


AFTER = {"revoked_at": "2026-03-01T00:00:00Z"}


@pytest.mark.parametrize("verdict", [AuditVerdict.CONFIRMED, AuditVerdict.REFUTED])
def test_an_audit_by_a_revoked_key_is_nobodys(
    bundle: Path, golden: Path, verdict: AuditVerdict
) -> None:
    """Whoever stole the key can refute as well as confirm."""
    receipt = Bundle(bundle).receipt_envelope.digest
    start = announce(receipt)
    audited(bundle, start, report(receipt, start.digest, verdict))
    found = verified(bundle, golden, AFTER)
    assert found.audits == ()
    assert not found.failed
    for status, detail in ended(found):
        assert status is CheckStatus.NOT_CHECKED
        assert detail.startswith("no signature of a trusted auditor counts: key ")
        assert "was revoked at 2026-03-01T00:00:00Z, and nothing shows" in detail
    assert verified(bundle, golden, {}).audits


def test_an_audit_that_was_logged_before_the_revocation(
    bundle: Path, golden: Path, tmp_path: Path
) -> None:
    receipt = Bundle(bundle).receipt_envelope.digest
    start = announce(receipt)
    files = audited(bundle, start, report(receipt, start.digest))
    log = ClockedLog(tmp_path / "witnessed")
    log.show(bundle, "2025-12-31T00:00:00Z", PLAN, RECEIPT)
    log.show(bundle, "2026-02-02T00:00:00Z", *files)
    found = verified(bundle, golden, AFTER, log)
    assert [audit.status for audit in found.audits] == [CheckStatus.PASSED]
    assert [status for status, _ in ended(found)] == [CheckStatus.PASSED] * 2
    logged = next(one for one in found.checks if one.name == CheckName.AUDITS_LOGGED)
    assert logged.status is CheckStatus.PASSED
    # Only the announcement was seen in time: it counts, and its result does not.
    found = verified(bundle, golden, {"revoked_at": "2026-02-02T00:00:00Z"}, log)
    assert (found.audits, found.unfinished_audits) == ((), ())


def test_a_result_that_nobody_saw_in_time(bundle: Path, golden: Path, tmp_path: Path) -> None:
    receipt = Bundle(bundle).receipt_envelope.digest
    start = announce(receipt)
    announced, _ = audited(bundle, start, report(receipt, start.digest))
    log = ClockedLog(tmp_path / "witnessed")
    log.show(bundle, "2025-12-31T00:00:00Z", PLAN, RECEIPT)
    log.show(bundle, "2026-02-02T00:00:00Z", announced)
    found = verified(bundle, golden, AFTER, log)
    assert found.audits == ()
    assert [one.digest for one in found.unfinished_audits] == [start.digest]


def test_an_audit_before_its_key(bundle: Path, golden: Path) -> None:
    """The announcement is of the day before the key, the result of the first."""
    receipt = Bundle(bundle).receipt_envelope.digest
    start = announce(receipt)
    audited(bundle, start, report(receipt, start.digest))
    assert verified(bundle, golden, {"valid_from": "2026-02-01T00:00:00Z"}).audits
    found = verified(bundle, golden, {"valid_from": "2026-02-01T00:30:00Z"})
    reasons = [detail for status, detail in ended(found) if status is CheckStatus.NOT_CHECKED]
    assert any("and this is of 2026-02-01T00:00:00Z" in one for one in reasons)
    assert found.failed, "a result without its announcement"


def test_an_evaluators_key_is_no_auditors(
    receipts: Receipts, bundle: Path, golden: Path, make_golden: Any
) -> None:
    """One file for both options: each takes the keys of its role."""
    receipt = Bundle(bundle).receipt_envelope.digest
    own = make_golden.EVALUATOR
    start = announce(receipt, own)
    audited(bundle, start, report(receipt, start.digest, signer=own))
    (bundle.parent / "auditor.pub").write_bytes(AUDITOR.public.pem())
    trust = trust_file(
        bundle.parent / "trust.yaml",
        {"pem": own.public.pem().decode()},
        {"file": "auditor.pub", "roles": ["auditor"]},
    )
    words = ("--trust", trust, "--trust-auditor", trust, "--json")
    found = json.loads(receipts("verify", bundle, *words).out)
    details = {c["detail"] for c in found["checks"] if c["name"].startswith("audit ")}
    assert details == {"not signed by a trusted auditor (--trust-auditor)"}
    assert found["verdict"] == "passed"
    # And an auditor's key signs no receipts.
    only = trust_file(trust, {"file": "auditor.pub", "roles": ["auditor"]})
    refused = receipts("verify", bundle, "--trust", only)
    assert refused.code == 2
    assert "no key has the role evaluator" in refused.err
