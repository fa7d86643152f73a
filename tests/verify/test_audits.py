"""Audits that hang on a receipt: whose count, and what they must say to count."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from receipts.bundle import AUDITS, Bundle, BundleWriter
from receipts.canonical import Sha256
from receipts.dsse import Envelope, sign
from receipts.keys import Signer, TrustSet, generate
from receipts.model.audit import (
    AuditedRate,
    AuditMethod,
    AuditPredicate,
    AuditStartPredicate,
    AuditTerms,
    AuditVerdict,
    Budget,
    Challenge,
    ChallengeKind,
    Direction,
    IdentityTest,
    RateVerdict,
)
from receipts.model.check import Check, CheckLevel, CheckStatus
from receipts.model.point import Outcome
from receipts.model.receipt import DigestReference
from receipts.model.statement import (
    AUDIT_START_TYPE,
    AUDIT_TYPE,
    STATEMENT_TYPE,
    AuditStartStatement,
    AuditStatement,
    subject,
)
from receipts.synthetic import ENVIRONMENT
from verify.checks import Verdict, Verification
from verify.draws import GENERATED, Kind, points_in_order
from verify.hypotheses import hypothesis_of
from verify.integrity import verify_bundle
from verify.risk_limit import ConfirmingTest, RefutingTest, p_string

AUDITOR, EVALUATOR_KEY = generate(), "ed25519.pub"
GOLDEN = Path(__file__).parent.parent / "golden" / "0.1" / "good" / "ed25519"
BASELINE = Bundle(GOLDEN).receipt.statement.predicate.baseline
NONCE = "ab" * 32
CONDITION, RATE = BASELINE.condition, BASELINE.compliance_rate
"""A condition of the golden bundle, and its sealed rate."""


def terms(receipt: Sha256) -> dict[str, Any]:
    """Return what announcement and result share."""
    return {
        "receipt": DigestReference(digest=receipt),
        "challenge": Challenge(kind=ChallengeKind.NONCE, nonce=NONCE, beacon=None),
        "epsilon": "0.05",
        "alpha": "0.05",
        "expected_flip_rate": "0.005",
        "calibration": None,
        "budget": Budget(max_points=None),
        "method": AuditMethod.REPLAY,
        "identity_points": 3,
    }


def announce(receipt: Sha256, signer: Signer = AUDITOR) -> Envelope:
    """Return a signed audit-start."""
    predicate = AuditStartPredicate(
        **terms(receipt),
        auditor="an institute",
        started_at="2026-02-01T00:00:00Z",
        rates=(AuditedRate(condition=CONDITION, direction=Direction.NOT_UNDERSTATED),),
        tool="test",
    )
    statement = AuditStartStatement(
        type=STATEMENT_TYPE,
        subject=subject("receipt", receipt),
        predicate_type=AUDIT_START_TYPE,
        predicate=predicate,
    )
    return sign(statement.to_wire(), signer)


def rate_verdict(verdict: AuditVerdict) -> RateVerdict:
    """Return a rate's verdict with draws that say so."""
    rate = AuditedRate(condition=CONDITION, direction=Direction.NOT_UNDERSTATED)
    tested = hypothesis_of(BASELINE.counts, rate.direction, AuditTerms(**terms(Sha256("0" * 64))))
    confirming = ConfirmingTest(tested.recorded, tested.hidden, tested.expected)
    refuting = RefutingTest(tested.recorded, tested.hidden)
    refuted = verdict is AuditVerdict.REFUTED
    while True:
        confirming.add(contradicted=refuted)
        refuting.add(hard=refuted)
        done = refuting.refuted(0.01) if refuted else confirming.confirmed(0.05)
        if done or verdict is AuditVerdict.INCONCLUSIVE:
            break
    draws = confirming.draws
    numbers = tuple(range(1, draws + 1)) if refuted else ()
    return RateVerdict(
        id=CONDITION,
        direction=rate.direction,
        recorded_rate=RATE,
        recorded=tested.recorded,
        hidden=tested.hidden,
        draws=draws,
        contradictions=len(numbers),
        implausible=0,
        ambiguous=0,
        missing=0,
        hard_contradictions=len(numbers),
        p_value=p_string(confirming.p_value),
        refuting_p_value=p_string(refuting.p_value),
        verdict=verdict,
        reason=None,
        contradicted=numbers,
        hard=numbers,
    )


def report(
    receipt: Sha256,
    start: Sha256,
    verdict: AuditVerdict = AuditVerdict.CONFIRMED,
    signer: Signer = AUDITOR,
    changes: dict[str, Any] | None = None,
) -> Envelope:
    """Return a signed audit; ``changes`` are made to its JSON, by dotted path."""
    rate = rate_verdict(verdict)
    kind: Kind = (CONDITION, Outcome.REFUSED)
    orders = points_in_order(
        Bundle(GOLDEN),
        Bundle(GOLDEN).receipt.statement.predicate,
        [kind, GENERATED],
        (receipt, NONCE),
    )
    predicate = AuditPredicate(
        **terms(receipt),
        start=DigestReference(digest=start),
        finished_at="2026-02-01T01:00:00Z",
        verdict=verdict,
        conditions=(rate,),
        identity=IdentityTest(
            statistic="mean clipped margin",
            responses=2,
            p_value="0.5",
            level="0.01",
            power=None,
            passed=True,
            mean="0.000000",
            powers=(),
        ),
        known_starts=1,
        beacon_value=None,
        drawn=tuple(one.id for one in orders[kind][: rate.draws]),
        identity_drawn=tuple(one.id for one in orders[GENERATED][:3]),
        points_total=264,
        checks=(),
        environment=ENVIRONMENT,
        guarantee="none: this is a test",
        assumptions=(),
    )
    statement = AuditStatement(
        type=STATEMENT_TYPE,
        subject=subject("receipt", receipt),
        predicate_type=AUDIT_TYPE,
        predicate=predicate,
    ).to_wire()
    for path, value in (changes or {}).items():
        *steps, last = path.split(".")
        part = statement["predicate"]
        for step in steps:
            part = part[int(step)] if step.isdecimal() else part[step]
        if isinstance(part, list):
            part[int(last)] = value
        else:
            part[last] = value
    return sign(statement, signer)


@pytest.fixture
def verify(bundle: Path, golden: Path) -> Any:
    """Write audits into the bundle and verify, trusting the auditor."""
    from receipts.keys import load_public_key

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


@pytest.mark.parametrize(
    ("verdict", "status", "overall"),
    [
        (AuditVerdict.CONFIRMED, CheckStatus.PASSED, Verdict.PASSED),
        (AuditVerdict.CONSISTENT_WITH, CheckStatus.PASSED, Verdict.PASSED),
        (AuditVerdict.INCONCLUSIVE, CheckStatus.NOT_CHECKED, Verdict.PASSED),
        (AuditVerdict.REFUTED, CheckStatus.FAILED, Verdict.FAILED),
    ],
)
def test_a_trusted_audit(
    verdict: AuditVerdict, status: CheckStatus, overall: Verdict, verify: Any, receipt: Sha256
) -> None:
    start = announce(receipt)
    verification, audits = verify(start, report(receipt, start.digest, verdict))
    assert sorted(c.status for c in audits) == sorted([CheckStatus.PASSED, status])
    assert verification.verdict is overall
    assert any(verdict.value.replace("refuted", "refutes") in c.detail for c in audits)


def test_an_untrusted_audit_is_shown_and_ignored(verify: Any, receipt: Sha256) -> None:
    other = generate()
    start = announce(receipt, other)
    audit = report(receipt, start.digest, AuditVerdict.REFUTED, other)
    verification, audits = verify(start, audit)
    assert [c.status for c in audits] == [CheckStatus.NOT_CHECKED] * 2
    assert verification.verdict is Verdict.PASSED


def test_an_audit_of_another_receipt_is_ignored(verify: Any) -> None:
    """Anybody can copy a file: it must not turn a good bundle bad."""
    other = Sha256("1" * 64)
    start = announce(other)
    audit = report(other, start.digest, AuditVerdict.REFUTED)
    verification, audits = verify(start, audit)
    assert {c.status for c in audits} == {CheckStatus.NOT_CHECKED}
    assert all("another receipt" in c.detail for c in audits)
    assert verification.verdict is Verdict.PASSED


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"pointsTotal": 5}, "another number of points"),
        ({"start": {"digest": "2" * 64}}, "announcement"),
        ({"verdict": "splendid"}, "not readable"),
        ({"drawn": None}, "not readable"),
        ({"epsilon": "0.5"}, "epsilon is not what was announced"),
        ({"challenge.nonce": "cd" * 32}, "challenge is not what was announced"),
        ({"drawn": ["a" * 64] * 2}, "drawn twice"),
        ({"drawn": ["a" * 64]}, "not the points drawn"),
        ({"drawn.0": "a" * 64}, "not those that the challenge draws"),
        ({"identityDrawn.0": "a" * 64}, "identity test are not those that the challenge draws"),
        ({"identityDrawn": []}, "identity test are not those that the challenge draws"),
        ({"conditions.0.recordedRate": "0.999999"}, "not the receipt's rate"),
        ({"conditions.0.contradictions": 3000}, "counts do not fit"),
        ({"conditions.0.hardContradictions": 1}, "counts do not fit"),
        ({"conditions.0.recorded": 10_000}, "another number of points than the receipt counts"),
        ({"conditions.0.hidden": 100}, "would put its rate off"),
        ({"conditions.0.contradictions": 1}, "not those it counts"),
        ({"conditions.0.contradicted": [100_000]}, "not those it counts"),
        ({"conditions.0.pValue": "0.000000001"}, "p is 0.0"),
        ({"conditions.0.refutingPValue": "0.5"}, "the refuting p is 1"),
        (
            {"conditions.0.contradictions": 1, "conditions.0.contradicted": [1]},
            "p is",
        ),
        ({"conditions.0.id": "h0-b4"}, "not the announced ones"),
        ({"conditions.0.verdict": "inconclusive"}, "not in every rate"),
        ({"conditions.0.verdict": "refuted"}, "not in every rate"),
        ({"identity": None}, "not in every rate and the model's identity"),
        ({"identity.passed": False}, "not in every rate and the model's identity"),
        ({"verdict": "refuted"}, "refuted as a whole"),
        ({"verdict": "refuted", "conditions.0.verdict": "refuted"}, "do not refute it"),
    ],
)
def test_a_trusted_audit_that_does_not_hold_together(
    changes: dict[str, Any], words: str, verify: Any, receipt: Sha256
) -> None:
    start = announce(receipt)
    verification, audits = verify(start, report(receipt, start.digest, changes=changes))
    assert any(words in c.detail for c in audits if c.status is CheckStatus.FAILED)
    assert verification.verdict is Verdict.FAILED


def test_an_audit_cannot_confirm_what_its_draws_do_not(verify: Any, receipt: Sha256) -> None:
    start = announce(receipt)
    claimed = {"verdict": "confirmed", "conditions.0.verdict": "confirmed"}
    few = report(receipt, start.digest, AuditVerdict.INCONCLUSIVE, changes=claimed)
    verification, audits = verify(start, few)
    assert any("its draws do not say so" in c.detail for c in audits)
    assert verification.verdict is Verdict.FAILED


def test_an_announcement_without_a_result(verify: Any, receipt: Sha256) -> None:
    """Unfinished audits count: a lone announcement is no green tick."""
    verification, [audit] = verify(announce(receipt))
    assert audit.status is CheckStatus.NOT_CHECKED
    assert "no result" in audit.detail
    assert verification.verdict is Verdict.PASSED


def test_somebody_elses_announcement_does_not_count(verify: Any, receipt: Sha256) -> None:
    """Neither another receipt's, nor an audit in its place, nor another auditor's."""
    elsewhere = announce(Sha256("1" * 64))
    verification, _ = verify(elsewhere, report(receipt, elsewhere.digest))
    assert verification.verdict is Verdict.FAILED


def test_an_audit_is_no_announcement(verify: Any, receipt: Sha256) -> None:
    start = announce(receipt)
    first = report(receipt, start.digest)
    verification, audits = verify(start, first, report(receipt, first.digest))
    assert [c.status for c in audits].count(CheckStatus.FAILED) == 1
    assert verification.verdict is Verdict.FAILED


def test_a_copy_is_not_counted_twice(verify: Any, bundle: Path, receipt: Sha256) -> None:
    start = announce(receipt)
    audit = report(receipt, start.digest)
    (bundle / AUDITS).mkdir()
    (bundle / AUDITS / "zz.dsse.json").write_bytes(audit.to_json())
    _, audits = verify(start, audit)
    assert [c.status for c in audits].count(CheckStatus.PASSED) == 2
    assert any("copy" in c.detail for c in audits)


def test_without_trusted_auditors_nothing_is_parsed(bundle: Path, receipt: Sha256) -> None:
    BundleWriter(bundle).write_audit(announce(receipt))
    verification = verify_bundle(Bundle(bundle), evaluators=TrustSet())
    [audit] = [c for c in verification.checks if c.level is CheckLevel.REPLAYED]
    assert "no trusted auditor was given" in audit.detail


def test_files_that_are_no_audits(verify: Any, bundle: Path, receipt: Sha256) -> None:
    """Whatever their names and contents, they are shown safely and ignored."""
    folder = bundle / AUDITS
    folder.mkdir()
    (folder / "\x1b[31mred.dsse.json").write_text("{}")
    (folder / "empty.dsse.json").write_text("")
    (folder / "link.dsse.json").symlink_to("/etc/passwd")
    (folder.joinpath(b"\xff.dsse.json".decode("utf-8", "surrogateescape"))).write_text("[]")
    verification, audits = verify()
    assert [c.status for c in audits] == [CheckStatus.NOT_CHECKED] * 4
    assert all(c.name.isprintable() for c in audits)
    assert verification.verdict is Verdict.PASSED


def test_a_self_audit_is_named_as_such(
    bundle: Path, golden: Path, make_golden: Any, receipt: Sha256
) -> None:
    own = make_golden.EVALUATOR
    BundleWriter(bundle).write_audit(announce(receipt, own))
    verification = verify_bundle(
        Bundle(bundle),
        evaluators=TrustSet([own.public]),
        auditors=TrustSet([own.public]),
    )
    [audit] = [c for c in verification.checks if c.level is CheckLevel.REPLAYED]
    assert audit.detail.startswith("self-audit: ")
