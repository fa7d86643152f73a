"""``verify --log-policy``: what proofs and copies of logs show of a receipt, and what not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from audit_statements import AUDITOR, announce, report
from transparency import ORIGIN, WitnessedLog, make_log, now, witnessed_log

from safety_receipts.receipts.beacon.chains import QUICKNET
from safety_receipts.receipts.bundle import AUDITS, PLAN, PROOFS, RECEIPT, Bundle, BundleWriter
from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.dsse import Envelope, sign
from safety_receipts.receipts.errors import IncompleteError, IntegrityError, UsageError
from safety_receipts.receipts.events.synthetic import (
    ENVIRONMENT,
    EVENT,
    Mixture,
    synthetic_plan,
    synthetic_points,
)
from safety_receipts.receipts.keys import (
    PublicKey,
    Signer,
    TrustSet,
    generate_key,
    write_key_pair,
)
from safety_receipts.receipts.log.bundle_proofs import proof_path
from safety_receipts.receipts.log.folder import LogFolder, init_log
from safety_receipts.receipts.log.formats.entry import entry_of
from safety_receipts.receipts.log.formats.policy import load_log_policy
from safety_receipts.receipts.log.recording import RecordedEntry
from safety_receipts.receipts.log.sources import FolderSource
from safety_receipts.receipts.model.audit import AuditVerdict
from safety_receipts.receipts.model.check import CheckStatus
from safety_receipts.receipts.model.plan import BeaconRound, EvidenceAccess, PlanPredicate
from safety_receipts.receipts.model.receipt import BeaconValue
from safety_receipts.receipts.seal import plan_statement, seal_event, seal_plan
from safety_receipts.verify.checks import VerificationCheck
from safety_receipts.verify.integrity import verify_bundle
from safety_receipts.verify.levels.times.logged import LogTerms

LATER, EARLIER = "2999-01-01T00:00:00Z", "2026-01-01T00:00:00Z"
NAMES = ("plan-logged", "receipt-logged", "audits-logged", "best-of-n", "audits-complete")
Receipts = Callable[..., Any]


@pytest.fixture
def logged(tmp_path: Path) -> Iterator[WitnessedLog]:
    """A log with two witnesses."""
    with witnessed_log(tmp_path / "logged") as made:
        yield made


class Event:
    """An event that is sealed, and logged, step by step."""

    def __init__(self, folder: Path, log: WitnessedLog, **changes: Any) -> None:
        self.folder, self.log = folder, log
        self.signer = generate_key()
        mixtures = [Mixture(0, 0, None), Mixture(2, 0, None)]
        access = changes.pop("access", EvidenceAccess.AUDITORS)
        plan = synthetic_plan(mixtures, {"alpha": 3}, evidence_access=access)
        self.plan: PlanPredicate = plan.model_copy(update=changes)
        self.envelope = seal_plan(self.plan, self.signer)
        BundleWriter(folder).write_plan(self.envelope)

    def record(self, name: str) -> RecordedEntry:
        """Log the statement in a file of the bundle."""
        envelope = Envelope.from_json((self.folder / name).read_bytes())
        return self.log.own.record(envelope, self.folder / name, self.folder)

    def run(self, at: str = LATER) -> Sha256:
        """Seal the receipt of a run that began then."""
        beacon, said = self.plan.beacon, None
        if beacon is not None:
            value = Sha256("ab" * 32)
            said = BeaconValue(chain=beacon.chain, round=beacon.round, value=value, signature=None)
        return seal_event(
            self.folder,
            plan_envelope=self.envelope,
            points=synthetic_points(self.plan, self.envelope.digest, said and said.value),
            event=EVENT.model_copy(
                update={
                    "started_at": at,
                    "finished_at": max(at, EVENT.finished_at),
                    "beacon": said,
                }
            ),
            environment=ENVIRONMENT,
            signer=self.signer,
        ).digest

    def add_audit(self, envelope: Envelope) -> Path:
        """Put an audit into the bundle, and log it."""
        path = BundleWriter(self.folder).write_audit(envelope)
        self.record(f"{AUDITS}/{path.name}")
        return path

    def checks(
        self, *, copy: bool = True, policy: Path | None = None
    ) -> dict[str, VerificationCheck]:
        """Return the checks of logs, and that nothing else failed."""
        return checked(self.folder, self.log, self.signer, copy=copy, policy=policy)


def checked(
    folder: Path,
    log: WitnessedLog,
    signer: Signer,
    *,
    copy: bool = True,
    policy: Path | None = None,
) -> dict[str, VerificationCheck]:
    source = FolderSource(log.folder) if copy else None
    found = verify_bundle(
        Bundle(folder),
        evaluators=TrustSet([signer.public]),
        auditors=TrustSet([AUDITOR.public]),
        log=LogTerms(load_log_policy(policy or log.policy), source),
    )
    return {str(check.name): check for check in found.checks if check.name in NAMES}


def said(checks: dict[str, VerificationCheck]) -> list[str]:
    """Return the statuses, in the order of the names."""
    return [checks[name].status.value for name in NAMES]


def test_all_that_a_log_can_show(logged: WitnessedLog, tmp_path: Path) -> None:
    event = Event(tmp_path / "bundle", logged)
    assert event.record(PLAN).proof.index == 0
    receipt = event.run()
    assert event.record(RECEIPT).proof.index == 1
    found = event.checks()
    assert said(found) == ["passed", "passed", "not_applicable", "passed", "passed"]
    assert "before the run began" in found["plan-logged"].detail
    assert "the only plan of this checkpoint by a key you trust" in found["best-of-n"].detail
    start = announce(receipt)
    event.add_audit(start)
    event.add_audit(report(receipt, start.digest))
    found = event.checks()
    assert said(found) == ["passed"] * 5
    assert found["audits-complete"].detail.endswith("announced in the log: 1 audit")
    # Without a copy of the log nobody knows what else is in it.
    offline = event.checks(copy=False)
    assert said({"audits-complete": found["best-of-n"], **offline})[:4] == ["passed"] * 3 + [
        "not_checked"
    ]
    assert "audits-complete" not in offline


def test_a_plan_that_was_logged_after_its_run_began(logged: WitnessedLog, tmp_path: Path) -> None:
    event = Event(tmp_path / "bundle", logged)
    event.record(PLAN)
    event.run(EARLIER)
    found = event.checks()["plan-logged"]
    assert found.status is CheckStatus.FAILED
    assert f"and the run began at {EARLIER}" in found.detail


@pytest.mark.parametrize(("ahead", "status"), [(1_000_000, "passed"), (-10, "failed")])
def test_a_plan_was_logged_before_its_beacons_round(
    logged: WitnessedLog, tmp_path: Path, ahead: int, status: str
) -> None:
    """Whoever logs when the round is out could have sealed many plans, and chosen."""
    newest = QUICKNET.round_at(now())
    beacon = BeaconRound(chain=QUICKNET.name, round=newest + ahead)
    event = Event(tmp_path / "bundle", logged, beacon=beacon)
    event.record(PLAN)
    event.run()
    found = event.checks()["plan-logged"]
    assert found.status.value == status
    if status == "failed":
        assert f"when round {newest + ahead:,} of its beacon was out" in found.detail


def other_plan(event: Event, number: int, signer: Signer) -> Envelope:
    """Return another plan of the same checkpoint."""
    purpose = event.plan.model_copy(update={"name": f"try {number}"})
    return sign(plan_statement(purpose).to_wire(), signer)


def test_the_best_of_many_plans_is_found(logged: WitnessedLog, tmp_path: Path) -> None:
    event = Event(tmp_path / "bundle", logged)
    event.record(PLAN)
    event.run()
    event.record(RECEIPT)
    stranger = generate_key()
    write_plan_elsewhere(logged, other_plan(event, 0, stranger), tmp_path / "stranger")
    found = event.checks()["best-of-n"]
    assert found.status is CheckStatus.PASSED
    assert found.detail.endswith("; 1 plan by other key ids")
    write_plan_elsewhere(logged, other_plan(event, 1, event.signer), tmp_path / "second")
    found = event.checks()["best-of-n"]
    assert found.status is CheckStatus.NOT_CHECKED
    assert (
        "2 plans of this checkpoint by keys you trust, of which 1 beside this one" in found.detail
    )


def test_a_second_receipt_of_a_plan_is_found(logged: WitnessedLog, tmp_path: Path) -> None:
    event = Event(tmp_path / "bundle", logged)
    event.record(PLAN)
    event.run()
    event.record(RECEIPT)
    (event.folder / PROOFS / "receipt.tlog-proof").unlink()
    (event.folder / RECEIPT).unlink()
    event.run("2998-01-01T00:00:00Z")
    event.record(RECEIPT)
    found = event.checks()["best-of-n"]
    assert found.status is CheckStatus.NOT_CHECKED
    assert "the log holds 2 receipts of this plan" in found.detail


def write_plan_elsewhere(log: WitnessedLog, envelope: Envelope, folder: Path) -> None:
    """Log a plan that lies in another folder."""
    BundleWriter(folder).write_plan(envelope)
    log.own.record(envelope, folder / PLAN, folder)


def test_an_invented_key_id_hides_no_other_plan(logged: WitnessedLog, tmp_path: Path) -> None:
    """Ids of keys are hints: the only plan under an id of one's own is not the only one."""
    event = Event(tmp_path / "bundle", logged)
    written = json.loads((event.folder / PLAN).read_bytes())
    written["signatures"][0]["keyid"] = "f" * 64
    (event.folder / PLAN).write_text(json.dumps(written), encoding="utf-8")
    event.record(PLAN)
    event.run()
    write_plan_elsewhere(logged, other_plan(event, 1, event.signer), tmp_path / "second")
    found = event.checks()["best-of-n"]
    assert found.status is CheckStatus.NOT_CHECKED
    assert "not in the log under its key's id" in found.detail


def test_a_plan_that_is_logged_again_under_the_true_id_hides_no_other_plan(
    logged: WitnessedLog, tmp_path: Path
) -> None:
    """Many plans under an id of one's own before their runs, and the best one's again after."""
    event = Event(tmp_path / "bundle", logged)
    (event.folder / PLAN).write_bytes(under_another_id(event.envelope).to_json())
    event.record(PLAN)
    other = under_another_id(other_plan(event, 1, event.signer))
    write_plan_elsewhere(logged, other, tmp_path / "second")
    event.run()
    write_plan_elsewhere(logged, event.envelope, tmp_path / "again")
    found = event.checks()
    assert found["plan-logged"].status is CheckStatus.PASSED
    assert found["best-of-n"].status is CheckStatus.NOT_CHECKED
    assert "not in the log under its key's id" in found["best-of-n"].detail


def under_another_id(envelope: Envelope) -> Envelope:
    """Return an envelope whose signature holds, and names another key."""
    (signature,) = envelope.signatures
    return replace(envelope, signatures=(replace(signature, keyid="f" * 64),))


def test_a_refuted_audit_that_was_dropped_is_missed(logged: WitnessedLog, tmp_path: Path) -> None:
    event = Event(tmp_path / "bundle", logged)
    event.record(PLAN)
    receipt = event.run()
    # Announced before the receipt is logged: it is found wherever the receipt stands.
    start = announce(receipt)
    path = event.add_audit(start)
    result = event.add_audit(report(receipt, start.digest, AuditVerdict.REFUTED))
    event.record(RECEIPT)
    assert event.checks()["audits-complete"].status is CheckStatus.PASSED
    path.unlink()
    result.unlink()
    found = event.checks()
    assert found["audits-complete"].status is CheckStatus.FAILED
    assert start.digest[:12] in found["audits-complete"].detail


def test_an_audit_that_the_reader_does_not_trust_fails_nothing(
    logged: WitnessedLog, tmp_path: Path
) -> None:
    """Whoever may add to a log could otherwise fail every receipt in it."""
    event = Event(tmp_path / "bundle", logged)
    event.record(PLAN)
    start = announce(event.run())
    path = event.add_audit(start)
    event.record(RECEIPT)
    for auditors in ((), (generate_key().public,)):
        found = completeness(event, auditors)
        assert found.status is CheckStatus.PASSED, found
    path.unlink()
    for auditors in ((), (generate_key().public,)):
        found = completeness(event, auditors)
        assert found.status is CheckStatus.NOT_CHECKED
        assert f"no trusted auditor's, and not here: 1 audit ({start.digest[:12]})" in found.detail
    # The bytes of an announcement without its auditor's signature are none that counts.
    (signature,) = start.signatures
    unsigned = replace(start, signatures=(replace(signature, sig=bytes(64)),))
    path.write_bytes(unsigned.to_json())
    found = completeness(event, (AUDITOR.public,))
    assert found.status is CheckStatus.FAILED


def completeness(event: Event, auditors: Sequence[PublicKey]) -> VerificationCheck:
    """Return the check of announced audits, of a reader who trusts some auditors."""
    found = verify_bundle(
        Bundle(event.folder),
        evaluators=TrustSet([event.signer.public]),
        auditors=TrustSet(auditors),
        log=LogTerms(load_log_policy(event.log.policy), FolderSource(event.log.folder)),
    )
    return next(check for check in found.checks if str(check.name) == "audits-complete")


def test_a_log_that_shows_two_views_is_found(logged: WitnessedLog, tmp_path: Path) -> None:
    """A reader who holds proofs of one view, and a copy of the other, sees both."""
    event = Event(tmp_path / "bundle", logged)
    event.record(PLAN)
    event.run()
    event.record(RECEIPT)
    signer = logged.own.own
    assert signer is not None
    shutil.rmtree(logged.folder)
    init_log(logged.folder, signer.signer)
    forked = LogFolder(logged.folder, signer.signer.public)
    forked.add([b"another entry", b"and one more"], signer.signer)
    found = event.checks()
    for name in ("best-of-n", "audits-complete"):
        assert found[name].status is CheckStatus.FAILED
        assert "shows two views" in found[name].detail
    # And no witness cosigns what does not grow from what it saw.
    with pytest.raises(IncompleteError, match="too few witnesses have seen it"):
        write_plan_elsewhere(logged, other_plan(event, 1, event.signer), tmp_path / "second")


def test_a_copy_that_no_witness_has_seen_shows_nothing_to_be_missing(
    logged: WitnessedLog, tmp_path: Path
) -> None:
    """From the last proof on a log can grow one way for a reader, and another way for others."""
    event = Event(tmp_path / "bundle", logged)
    event.record(PLAN)
    receipt = event.run()
    event.record(RECEIPT)
    shutil.copytree(logged.folder, tmp_path / "shown")
    event.add_audit(announce(receipt)).unlink()
    write_plan_elsewhere(logged, other_plan(event, 1, event.signer), tmp_path / "second")
    assert said(event.checks())[3:] == ["not_checked", "failed"]
    own = logged.own.own
    assert own is not None
    LogFolder(tmp_path / "shown", own.signer.public).add([b"a", b"b", b"c"], own.signer)
    found = checked(event.folder, replace(logged, folder=tmp_path / "shown"), event.signer)
    assert said(found)[3:] == ["not_checked", "not_checked"]
    for name in NAMES[3:]:
        assert "too few witnesses of the policy have seen this copy" in found[name].detail


def test_proofs_that_do_not_hold(logged: WitnessedLog, tmp_path: Path) -> None:
    event = Event(tmp_path / "bundle", logged)
    event.record(PLAN)
    event.run()
    event.record(RECEIPT)
    plan, receipt = (event.folder / PROOFS / f"{one}.tlog-proof" for one in ("plan", "receipt"))
    good = receipt.read_bytes()
    receipt.write_bytes(plan.read_bytes())
    found = event.checks()["receipt-logged"]
    assert (found.status, found.detail) == (
        CheckStatus.FAILED,
        "the proof does not lead to the root of its checkpoint",
    )
    for damaged in (b"", b"no proof\n", good[:-3] + b"A=\n", good + good):
        receipt.write_bytes(damaged)
        assert event.checks()["receipt-logged"].status is CheckStatus.FAILED
    # The log's own signature without the witnesses': nobody else has seen it.
    lines = good.splitlines(keepends=True)
    receipt.write_bytes(b"".join(line for line in lines if "example.com/w" not in line.decode()))
    found = event.checks()["receipt-logged"]
    assert found.status is CheckStatus.FAILED
    assert "too few have seen" in found.detail
    receipt.unlink()
    found = event.checks()["receipt-logged"]
    assert (found.status, found.detail) == (
        CheckStatus.NOT_CHECKED,
        f"there is no {PROOFS}/receipt.tlog-proof",
    )


def test_a_log_that_the_policy_does_not_name(logged: WitnessedLog, tmp_path: Path) -> None:
    event = Event(tmp_path / "bundle", logged)
    event.record(PLAN)
    event.run()
    event.record(RECEIPT)
    found = event.checks(policy=make_log(tmp_path / "other").policy)
    assert said(found)[:2] == ["failed", "failed"]
    assert f"the log {ORIGIN} did not sign this checkpoint" in found["plan-logged"].detail


def test_a_policy_that_asks_for_no_witness_shows_no_time(tmp_path: Path) -> None:
    log = make_log(tmp_path / "logged")
    event = Event(tmp_path / "bundle", log)
    event.record(PLAN)
    event.run()
    event.record(RECEIPT)
    found = event.checks()
    assert said(found) == ["not_checked", "passed", "not_applicable", "passed", "passed"]
    assert "nothing shows that it was there before the run" in found["plan-logged"].detail


def test_a_time_that_no_calendar_knows_is_late(tmp_path: Path) -> None:
    with witnessed_log(tmp_path / "logged") as log:
        event = Event(tmp_path / "bundle", log)
        event.record(PLAN)
        event.run()
    with witnessed_log(tmp_path / "far", clock=lambda: 2**62) as far:
        own = far.own.own
        assert own is not None
        entry = entry_of(event.envelope, event.folder / PLAN)
        own.folder.add([entry.leaf()], own.signer)
        with pytest.raises(UsageError, match="clocks of the witnesses are"):
            far.own.record(event.envelope, event.folder / PLAN, tmp_path / "elsewhere")
        proof_path(event.folder, entry).write_bytes(
            proof_path(tmp_path / "elsewhere", entry).read_bytes()
        )
        found = checked(event.folder, far, event.signer)["plan-logged"]
    assert found.status is CheckStatus.FAILED
    assert "long after the year 9999" in found.detail


def test_a_log_that_cannot_be_reached_decides_nothing(
    receipts: Receipts, logged: WitnessedLog, tmp_path: Path
) -> None:
    event = Event(tmp_path / "bundle", logged)
    event.record(PLAN)
    event.run()
    event.record(RECEIPT)
    write_key_pair(tmp_path / "key", event.signer)
    words = ("verify", event.folder, "--trust", tmp_path / "key.pub", "--json")
    done = receipts(*words, "--log-policy", logged.policy, "--log", "http://127.0.0.1:9/log")
    found = {check["name"]: check for check in json.loads(done.out)["checks"]}
    assert found["plan-logged"]["status"] == "passed"
    assert found["best-of-n"]["status"] == found["audits-complete"]["status"] == "not_checked"
    assert "127.0.0.1:9/log" in found["best-of-n"]["detail"]
    alone = receipts(*words, "--log", logged.folder)
    assert alone.code == 2
    assert "--log needs --log-policy" in alone.out


@pytest.mark.parametrize("access", list(EvidenceAccess))
def test_published_copies_keep_the_proofs_of_what_is_published(
    receipts: Receipts, logged: WitnessedLog, tmp_path: Path, access: EvidenceAccess
) -> None:
    event = Event(tmp_path / "bundle", logged, access=access)
    event.record(PLAN)
    receipt = event.run()
    event.record(RECEIPT)
    start = announce(receipt)
    event.add_audit(start)
    event.add_audit(report(receipt, start.digest))
    proofs = event.folder / PROOFS
    good = (proofs / "plan.tlog-proof").read_bytes()
    (proofs / "other.tlog-proof").write_bytes(good)
    (proofs / f"audit-{'0' * 64}.tlog-proof").write_bytes(good)
    first, rest = good.split(b"\n", 1)
    told = first + b"\nextra c29tZSB0ZXh0\n" + rest
    (proofs / "receipt.tlog-proof").write_bytes(told)
    done = receipts("publish", event.folder, "--out", tmp_path / "public", "--json")
    assert done.code == 0, done.err
    document = json.loads(done.out)
    copied = {name for name in document["copied"] if name.startswith(PROOFS)}
    named = {f"{PROOFS}/plan.tlog-proof", f"{PROOFS}/audit-start-{start.digest}.tlog-proof"}
    assert named <= copied
    full = [name for name in copied if name.startswith(f"{PROOFS}/audit-") and name not in named]
    assert len(full) == (access is EvidenceAccess.PUBLIC)
    left = {one["file"]: one["why"] for one in document["leftOut"]}
    assert "holds more than a proof" in left[f"{PROOFS}/receipt.tlog-proof"]
    assert "is named after no" in left[f"{PROOFS}/other.tlog-proof"]
    assert "is named after no" in left[f"{PROOFS}/audit-{'0' * 64}.tlog-proof"]


def test_proofs_of_audits_that_lie_elsewhere_are_found_there(
    logged: WitnessedLog, tmp_path: Path
) -> None:
    event = Event(tmp_path / "bundle", logged)
    event.record(PLAN)
    start = announce(event.run())
    event.record(RECEIPT)
    elsewhere = tmp_path / "auditor"
    path = BundleWriter(elsewhere).write_audit(start)
    logged.own.record(start, path, elsewhere)
    for folder in (elsewhere, elsewhere / AUDITS):
        found = verify_bundle(
            Bundle(event.folder, audits=[folder]),
            evaluators=TrustSet([event.signer.public]),
            auditors=TrustSet([AUDITOR.public]),
            log=LogTerms(load_log_policy(logged.policy), FolderSource(logged.folder)),
        )
        checks = {str(check.name): check for check in found.checks}
        assert checks["audits-logged"].status is CheckStatus.PASSED
        assert checks["audits-complete"].status is CheckStatus.PASSED


def test_a_proof_in_the_way_is_kept(logged: WitnessedLog, tmp_path: Path) -> None:
    event = Event(tmp_path / "bundle", logged)
    other = make_log(tmp_path / "other")
    other.own.record(event.envelope, event.folder / PLAN, event.folder)
    path = event.folder / PROOFS / "plan.tlog-proof"
    before = path.read_bytes()
    with pytest.raises(IntegrityError, match="is no proof that is accepted here"):
        event.record(PLAN)
    assert path.read_bytes() == before
    assert logged.log.size == 0
